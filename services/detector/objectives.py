"""Service level objectives from a TOML file.

    [[slo]]
    service = "checkout"        # "*" for every service without one of its own
    objective = 0.999           # good requests over all requests
    latency_s = 0.5             # optional: slower requests are not good either
    least_events = 100          # requests below which nothing is said

Source: Google, "The Site Reliability Workbook", chapter 5, "Alerting on SLOs".
"""

from pathlib import Path
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from services.detector.toml_entries import read_entries


class Objective(BaseModel):
    """One objective of a service."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    service: Annotated[str, Field(min_length=1)] = "*"
    objective: Annotated[float, Field(gt=0, lt=1)] = 0.999
    latency_s: Annotated[float | None, Field(gt=0)] = None
    least_events: Annotated[int, Field(ge=1)] = 100


DEFAULT_OBJECTIVE: Final = Objective()


def load_objectives(path: Path | None) -> tuple[Objective, ...]:
    """Objectives of a file, or availability of 99.9 % for every service; `ConfigurationError` says what is wrong."""
    if path is None:
        return (DEFAULT_OBJECTIVE,)
    return tuple(read_entries(path, "slo", Objective))


def objective_of(objectives: tuple[Objective, ...], service: str) -> Objective | None:
    """A service's own objective, else the one for "*", else none."""
    by_service = {objective.service: objective for objective in objectives}
    return by_service.get(service) or by_service.get("*")
