"""What the stack knows about each of its servers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from deploy.stack.artifacts import Say


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a server is started.

    Attributes:
        command: Program and arguments.
        environment: Added to this process's environment.
        folder: Working directory.
        user: System user to run as, "" for the present one.
    """

    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    folder: Path
    user: str = ""


class Server(Protocol):
    """One real server."""

    @property
    def name(self) -> str:
        """Name on the command line and of its log."""
        ...

    @property
    def version(self) -> str:
        """Version, from deploy/versions.toml."""
        ...

    @property
    def ready_within_s(self) -> float:
        """How long a start may take."""
        ...

    @property
    def addresses(self) -> Mapping[str, str]:
        """What is published when it is up; becomes PARAMEDIC_STACK_<KEY> in capitals."""
        ...

    def listens_on(self) -> Sequence[int]:
        """Its ports."""
        ...

    def obstacle(self) -> str:
        """Why it cannot run on this machine and what to do, "" when it can."""
        ...

    def fetch(self, say: Say) -> Path:
        """Download or build it unless the cache has it; its folder in the cache."""
        ...

    def configure(self) -> Launch:
        """Write its configuration and say how it is started."""
        ...

    def is_ready(self) -> bool:
        """Whether a real call is answered."""
        ...
