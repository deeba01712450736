"""What `paramedic doctor` looks at; each check is a function from settings to findings."""

import importlib.util
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import psutil

from libs.contracts.topics import topics
from libs.errors import ConfigurationError, Unavailable
from libs.service.open_registry import open_registry
from libs.service.platform import open_platform
from libs.service.settings import Settings
from libs.stores.elastic_options import is_elastic
from paramedic.schema_registration import SubjectState, compare
from paramedic.supervisor import SERVICES, is_ready, run_file
from paramedic.toolchain import go, java, maven

_LEAST_FREE_BYTES: Final = 1 << 30
_MIB: Final = 1 << 20


class Status(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the doctor.

    Attributes:
        check: What was looked at.
        status: How it is.
        detail: What was found.
        advice: What to do, "" when nothing.
    """

    check: str
    status: Status = Status.OK
    detail: str
    advice: str = ""


def examine(settings: Settings) -> list[Finding]:
    """Run every check."""
    return [finding for check in CHECKS for finding in check(settings)]


def _python(settings: Settings) -> Iterator[Finding]:
    version = ".".join(str(part) for part in sys.version_info[:3])
    yield Finding(check="python", detail=version)  # older ones cannot install the package


def _packages(settings: Settings) -> Iterator[Finding]:
    wanted = {
        "intake": "fastapi",
        "detector": "faust",
        "ticketing": "fastapi",
        "investigator": "langchain",
        "remediation": "httpx",
    }
    missing = sorted(extra for extra, module in wanted.items() if importlib.util.find_spec(module) is None)
    if missing:
        advice = f'pip install -e ".[{",".join(missing)}]"'
        yield Finding(check="packages", status=Status.WRONG, detail=f"missing for {', '.join(missing)}", advice=advice)
    else:
        yield Finding(check="packages", detail="every service's libraries are installed")


def _ports(settings: Settings) -> Iterator[Finding]:
    for service, host, port, variable in (
        ("intake", settings.intake_host, settings.intake_port, "PARAMEDIC_INTAKE_PORT"),
        ("ticketing", settings.api_host, settings.api_port, "PARAMEDIC_API_PORT"),
        ("console", settings.console_host, settings.console_port, "PARAMEDIC_CONSOLE_PORT"),
    ):
        url = run_file(settings, service).get("url")
        if is_ready(settings, service):
            yield Finding(check=f"port {port}", detail=f"{service} listens on {url}")
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                advice = f"stop what listens there, or set {variable}"
                yield Finding(
                    check=f"port {port}",
                    status=Status.WRONG,
                    detail=f"{service} cannot bind {host}: {error.strerror}",
                    advice=advice,
                )
            else:
                yield Finding(check=f"port {port}", detail=f"free for {service}")


def _broker(settings: Settings) -> Iterator[Finding]:
    platform = open_platform("doctor", settings)
    try:
        names = platform.broker.topic_names(timeout_s=3.0)
    except ConfigurationError as error:
        yield Finding(check="broker", status=Status.WARNING, detail="not running", advice=str(error))
        return
    except Unavailable as error:
        advice = "start it, or correct PARAMEDIC_BROKER"
        yield Finding(check="broker", status=Status.WRONG, detail=str(error), advice=advice)
        return
    missing = sorted(set(topics()) - names)
    yield Finding(check="broker", detail=f"{platform.bootstrap} answers, {len(names)} topics")
    if missing:
        advice = "create them with `paramedic topics apply`"
        yield Finding(check="topics", status=Status.WRONG, detail=f"missing: {', '.join(missing)}", advice=advice)


def _registry(settings: Settings) -> Iterator[Finding]:
    if not settings.schema_registry:
        yield Finding(check="schema registry", detail="none configured; ids fixed in schemas/ids.toml are used")
        return
    try:
        subjects = compare(open_registry(settings))
    except (ConfigurationError, Unavailable) as error:
        advice = "start it, or correct PARAMEDIC_SCHEMA_REGISTRY"
        yield Finding(check="schema registry", status=Status.WRONG, detail=str(error), advice=advice)
        return
    yield Finding(check="schema registry", detail=f"{settings.schema_registry} answers")
    waiting = [subject.name for subject in subjects if subject.state is not SubjectState.REGISTERED]
    if waiting:
        advice = "`paramedic schemas check` shows why, `paramedic schemas register` registers them"
        detail = f"not as today's schemas are: {', '.join(waiting)}"
        yield Finding(check="schemas", status=Status.WRONG, detail=detail, advice=advice)


def _real_servers(settings: Settings) -> Iterator[Finding]:
    """Only development and CI need these tools, so a missing one is no fault."""
    for tool in (java(), maven(), go()):
        yield Finding(
            check=f"{tool.name} for make stack-up",
            status=Status.OK if tool.path else Status.WARNING,
            detail=tool.detail if tool.path else f"{tool.detail}; needed for: {tool.needed_for}",
            advice=tool.advice,
        )


def _stores(settings: Settings) -> Iterator[Finding]:
    platform = open_platform("doctor", settings)
    for name, address in (("incident", settings.incident_store), ("telemetry", settings.telemetry_store)):
        if not is_elastic(address) and not settings.data_dir.exists():
            detail = f"{settings.data_dir} does not exist yet; it is made at the first start"
            yield Finding(check=f"{name} store", detail=detail)
            continue
        try:
            if name == "incident":
                platform.incidents.state("doctor")
                platform.incidents.close()
            else:
                platform.telemetry.watermark_ns()
                platform.telemetry.close()
        except (Unavailable, ConfigurationError) as error:
            advice = f"correct PARAMEDIC_{name.upper()}_STORE"
            yield Finding(check=f"{name} store", status=Status.WRONG, detail=str(error), advice=advice)
        else:
            yield Finding(check=f"{name} store", detail=f"{address} opens")


def _disk(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir if settings.data_dir.exists() else settings.data_dir.absolute().parent
    free = shutil.disk_usage(folder).free
    if free < _LEAST_FREE_BYTES:
        advice = "free some, or set PARAMEDIC_DATA_DIR to another disk"
        yield Finding(check="disk", status=Status.WRONG, detail=f"{free / _MIB:.0f} MiB free", advice=advice)
    else:
        yield Finding(check="disk", detail=f"{free / (1 << 30):.0f} GiB free in {folder}")


def _processes(settings: Settings) -> Iterator[Finding]:
    sizes: dict[str, float] = {}
    for service in SERVICES:
        pid = run_file(settings, service).get("pid")
        if not isinstance(pid, int) or not psutil.pid_exists(pid):
            yield Finding(
                check=service,
                status=Status.WARNING,
                detail="not running",
                advice=f"`paramedic up`, or `paramedic run {service}`",
            )
            continue
        sizes[service] = psutil.Process(pid).memory_info().rss / _MIB
        state = "ready" if is_ready(settings, service) else "not ready"
        advice = "" if state == "ready" else f"look at {settings.data_dir / 'logs' / (service + '.log')}"
        status = Status.OK if state == "ready" else Status.WARNING
        yield Finding(
            check=service, status=status, detail=f"{state}, pid {pid}, {sizes[service]:.0f} MiB resident", advice=advice
        )
    if sizes:
        largest = max(sizes, key=lambda name: sizes[name])
        why = LARGEST_BECAUSE.get(largest, "")
        yield Finding(
            check="memory",
            detail=f"{sum(sizes.values()):.0f} MiB in all; largest is {largest} ({sizes[largest]:.0f} MiB){why}",
        )


LARGEST_BECAUSE: Final = {
    "detector": ": scikit-learn, numba with LLVM and the state arrays of every series",
    "investigator": ": the telemetry window of an investigation and the ranking's arrays",
    "recorder": ": SQLite's page cache and the batch in hand",
    "intake": ": the web server and the state that turns counters into rates",
}

CHECKS: Final[tuple[Callable[[Settings], Iterator[Finding]], ...]] = (
    _python,
    _packages,
    _ports,
    _disk,
    _broker,
    _registry,
    _stores,
    _processes,
    _real_servers,
)
