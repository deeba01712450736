"""What a process of the shop is told at its start."""

import argparse
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """Identity and surroundings of one process.

    Attributes:
        service: `service.name`.
        version: `service.version`.
        instance: `service.instance.id`.
        directory: Where databases, endpoints and flags lie.
        parent_pid: Process to die with; 0 for none.
    """

    service: str
    version: str
    instance: str
    directory: Path
    parent_pid: int = 0

    def arguments(self) -> list[str]:
        """The command line that `parse_launch` reads."""
        return [
            "--version",
            self.version,
            "--instance",
            self.instance,
            "--directory",
            str(self.directory),
            "--parent-pid",
            str(self.parent_pid),
        ]


def parse_launch(service: str) -> Launch:
    """Read the command line of a service's process."""
    parser = argparse.ArgumentParser(prog=f"python -m examples.shop.{service}")
    parser.add_argument("--version", required=True)
    parser.add_argument("--instance", required=True)
    parser.add_argument("--directory", type=Path, required=True)
    parser.add_argument("--parent-pid", type=int, default=0)
    told = parser.parse_args()
    return Launch(
        service=service,
        version=told.version,
        instance=told.instance,
        directory=told.directory,
        parent_pid=told.parent_pid,
    )
