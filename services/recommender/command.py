"""`paramedic recommendations run`: look now, beside the running service, and keep nothing."""

from libs.service.platform import Platform
from libs.service.settings import Settings
from services.recommender.analysis import Analyst, Report, scheduled
from services.recommender.configuration import load_configuration


def look_now(platform: Platform, settings: Settings) -> Report:
    """One analysis up to the newest telemetry, with patches proven but nothing stored, told or branched.

    Raises:
        ConfigurationError: the configuration file is wrong.
        Unavailable: the telemetry store is down.
    """
    configuration = load_configuration(settings.recommendations_file)
    analyst = Analyst(telemetry=platform.telemetry, configuration=configuration)
    return analyst.run(scheduled(platform.telemetry.watermark_ns(), configuration.sources.window_s), {})
