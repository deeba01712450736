"""Start one process of the shop, know when it is ready, end it cleanly or by force."""

import asyncio
import json
import logging
import os
import signal
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from examples.shop.launch import Launch

logger = logging.getLogger("shop.processes")

OWN_SOURCE = Path(__file__).resolve().parents[2]
_END_GRACE_S = 5.0  # three for the open answers, two to flush the telemetry


class NotReady(Exception):
    """A process has ended or said nothing before its time was up."""


@dataclass(slots=True, kw_only=True)
class Instance:
    """One running process of a service.

    Attributes:
        launch: Who it is.
        process: Its handle.
        port: Where it listens.
        started_at: When it was ready.
        ending: Whether it was told to end, so that its end is no accident.
    """

    launch: Launch
    process: asyncio.subprocess.Process
    port: int
    started_at: datetime
    ending: bool = False

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def ready(self) -> bool:
        """Whether it runs and takes requests."""
        return self.process.returncode is None and not self.ending

    def as_json(self) -> dict[str, object]:
        """What the control API shows."""
        return {
            "id": self.launch.instance,
            "pid": self.process.pid,
            "port": self.port,
            "version": self.launch.version,
            "ready": self.ready,
            "started_at": self.started_at.isoformat(),
        }


async def start_instance(launch: Launch, *, within_s: float, source: Path = OWN_SOURCE) -> Instance:
    """Start a process and wait until it has announced its port.

    Must run on the main thread: the kernel ends the children of a thread with the thread.

    Args:
        launch: Who it is.
        within_s: How long it may take.
        source: Folder whose `examples/shop` it runs.
    Raises:
        NotReady: it has ended, or has not announced itself within the time.
    """
    log_path = launch.directory / "logs" / f"{launch.instance}.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            f"examples.shop.{launch.service}",
            *launch.arguments(),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            cwd=source,
            env=environment_of(source),
            start_new_session=True,  # Ctrl-C in a terminal reaches only the control, which ends its children in order
        )
    try:
        port = await asyncio.wait_for(_announced_port(process), within_s)
    except (TimeoutError, ValueError, KeyError) as error:
        if process.returncode is None:
            process.kill()
        await process.wait()
        raise NotReady(f"{launch.instance} {launch.version} did not become ready: see {log_path}") from error
    return Instance(launch=launch, process=process, port=port, started_at=datetime.now(UTC))


def environment_of(source: Path) -> dict[str, str]:
    """The environment in which `examples.shop` is the one of a folder, whatever else is installed."""
    others = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(source), others)))}


async def end_instance(instance: Instance) -> None:
    """SIGTERM, then SIGKILL when it has not ended in time (a stopped or deadlocked process never would)."""
    instance.ending = True
    if instance.process.returncode is not None:
        return
    os.kill(instance.process.pid, signal.SIGTERM)
    try:
        await asyncio.wait_for(instance.process.wait(), _END_GRACE_S)
    except TimeoutError:
        logger.warning("%s ignored SIGTERM for %.0f s and was killed", instance.launch.instance, _END_GRACE_S)
        instance.process.kill()
        await instance.process.wait()


async def _announced_port(process: asyncio.subprocess.Process) -> int:
    if process.stdout is None:
        raise ValueError("no stdout")
    line = await process.stdout.readline()
    return int(json.loads(line)["port"])
