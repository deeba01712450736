"""The recommender's one configuration file (TOML), checked whole; an error names its key."""

import sys
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from libs.errors import ConfigurationError
from services.recommender.rule import Thresholds, load_rules

PYTHON: Final = "{python}"
_VERSION: Final = "{version}"
_MOST_BYTES: Final = 262_144


class Table(BaseModel):
    """A table of the file: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Sources(Table):
    """Which telemetry is read."""

    window_s: Annotated[
        float, Field(ge=10, le=86_400, description="How much telemetry a scheduled run looks at, seconds.")
    ] = 600.0
    incident_before_s: Annotated[
        float, Field(ge=0, le=86_400, description="How much before an incident's beginning a run around it looks at.")
    ] = 60.0
    least_requests: Annotated[
        int, Field(ge=1, description="Requests that an operation must have had at the deployed version to be judged.")
    ] = 30
    most_spans: Annotated[int, Field(ge=100, le=500_000, description="Most spans read in a run, newest first.")] = (
        30_000
    )
    services: Annotated[
        tuple[str, ...], Field(description="Services that are judged, as patterns (`*`, `shop-*`).")
    ] = ("*",)
    exclude: Annotated[tuple[str, ...], Field(description="Services that are not, as patterns.")] = ()


class Schedule(Table):
    """When a run happens."""

    every_s: Annotated[
        float, Field(ge=1, description="Event time between two scheduled runs, seconds; the first is due at once.")
    ] = 60.0
    on_incident: Annotated[bool, Field(description="Whether a finished investigation starts a run around it.")] = True


class Repository(Table):
    """Where the code of some services lies."""

    name: Annotated[str, Field(min_length=1, max_length=200, description="Name in recommendations.")]
    path: Annotated[
        Path, Field(description="Folder on this machine: a git checkout, or plain files; relative to this file.")
    ]
    services: Annotated[
        tuple[str, ...], Field(min_length=1, description="Services whose code it holds, as patterns; first match wins.")
    ]
    root: Annotated[
        str,
        Field(description="What `code.file.path` begins with and the repository does not: it is taken off (`/app/`)."),
    ] = ""
    prefix: Annotated[
        str, Field(description="Folder in the repository that paths of the telemetry are relative to.")
    ] = ""
    ref: Annotated[
        str, Field(min_length=1, max_length=200, description="Git revision of a version; `{version}` stands for it.")
    ] = "HEAD"
    schemas: Annotated[
        tuple[str, ...],
        Field(description="Files that hold CREATE TABLE statements (SQL, or Python strings), as glob patterns."),
    ] = ("**/*.sql",)
    test: Annotated[
        tuple[str, ...],
        Field(description="Command that tests a patch, as a list; `{python}` is this interpreter. Empty: no tests."),
    ] = ()
    tests: Annotated[
        dict[str, tuple[str, ...]], Field(description="The same for one service, in place of `test`.")
    ] = {}
    test_s: Annotated[float, Field(gt=0, le=3600, description="Longest run of the tests, seconds.")] = 120.0

    @field_validator("ref")
    @classmethod
    def _no_option(cls, ref: str) -> str:
        if ref.startswith("-") or any(part in ref for part in ("..", " ", "\n")):
            raise ValueError("is not a git revision")
        return ref

    def holds(self, service: str) -> bool:
        """Whether a service's code is in here."""
        return any(fnmatchcase(service, pattern) for pattern in self.services)

    def test_of(self, service: str) -> tuple[str, ...]:
        """The command that tests a service, () for none."""
        command = self.tests.get(service, self.test)
        return tuple(sys.executable if part == PYTHON else part for part in command)

    def ref_of(self, version: str) -> str:
        """Git revision of a deployed version."""
        return self.ref.replace(_VERSION, version)


class Delivery(Table):
    """Where recommendations go."""

    event: Annotated[bool, Field(description="Whether they are written to the topic `recommendations`.")] = True
    branch: Annotated[
        bool, Field(description="Whether a patch is also committed to a branch of its own in the local repository.")
    ] = False
    branch_prefix: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*/$", max_length=60, description="What its name begins with."),
    ] = "paramedic/"


class Caps(Table):
    """How much at most."""

    open_per_service: Annotated[int, Field(ge=0, description="Open recommendations of one service.")] = 8
    per_run: Annotated[int, Field(ge=0, description="New recommendations of one run, the most certain first.")] = 10
    diff_lines: Annotated[int, Field(ge=1, le=5_000, description="Lines of a diff; a longer one is left out.")] = 200
    run_s: Annotated[
        float, Field(gt=0, description="Seconds of a run after which no further patch is begun; the next run goes on.")
    ] = 120.0


class Configuration(Table):
    """The whole file.

    `rules` holds the thresholds of every registered rule by name, whether the file mentions it or not.
    """

    sources: Sources = Sources()
    schedule: Schedule = Schedule()
    rules: dict[str, Thresholds] = {}
    repositories: tuple[Repository, ...] = ()
    delivery: Delivery = Delivery()
    caps: Caps = Caps()

    def repository_of(self, service: str) -> Repository | None:
        """Where a service's code lies, None when the file does not say."""
        return next((one for one in self.repositories if one.holds(service)), None)


def load_configuration(path: Path | None) -> Configuration:
    """Read the file, or take the defaults without one.

    Raises:
        ConfigurationError: the file cannot be read, or a key is wrong; the text names file and key.
    """
    if path is None:
        return _checked({}, Path(), "defaults")
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ConfigurationError(f"PARAMEDIC_RECOMMENDATIONS_FILE={path}: larger than {_MOST_BYTES} bytes")
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigurationError(f"PARAMEDIC_RECOMMENDATIONS_FILE={path}: {error}") from error
    return _checked(fields, path.resolve().parent, str(path))


def _checked(fields: dict[str, Any], folder: Path, where: str) -> Configuration:
    given = fields.pop("rules", {})
    try:
        configuration = Configuration.model_validate(fields)
    except ValidationError as error:
        raise ConfigurationError(f"{where}: {_problems(error)}") from error
    placed = tuple(
        one.model_copy(update={"path": (folder / one.path.expanduser()).resolve()})
        for one in configuration.repositories
    )
    for one in placed:
        if not one.path.is_dir():
            raise ConfigurationError(f"{where}: repositories.{one.name}.path: no folder {one.path}")
    names = [one.name for one in placed]
    if len(set(names)) != len(names):
        raise ConfigurationError(f"{where}: repositories: two have the same name")
    return configuration.model_copy(update={"repositories": placed, "rules": _rules(given, where)})


def _rules(given: object, where: str) -> dict[str, Thresholds]:
    known = load_rules()
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"{where}: rules: must be a table")
    unknown = sorted(set(given) - set(known.names()))
    if unknown:
        raise ConfigurationError(f"{where}: rules.{unknown[0]}: no such rule; there are {', '.join(known.names())}")
    found: dict[str, Thresholds] = {}
    for name, rule in known:
        try:
            found[name] = rule.thresholds.model_validate(given.get(name, {}))
        except ValidationError as error:
            raise ConfigurationError(f"{where}: {_problems(error, f'rules.{name}.')}") from error
    return found


def _problems(error: ValidationError, before: str = "") -> str:
    return "; ".join(
        f"{before}{'.'.join(str(part) for part in problem['loc'])}: {problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors()
    )
