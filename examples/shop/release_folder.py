"""Versions that are deployed from a folder: which folders are allowed, and their schema's way into the database."""

import asyncio
import logging
import sys
from pathlib import Path

from examples.shop.fleet import NotAccepted, ServiceState
from examples.shop.processes import NotReady, environment_of
from examples.shop.schema import has_schema

logger = logging.getLogger("shop.release_folder")

_SCHEMA_WITHIN_S = 15.0


class ReleaseFolder:
    """The one folder below which code may be run; a deploy from a folder runs whatever lies in it.

    Args:
        root: That folder; None allows none.
        databases: Where the databases lie.
    """

    def __init__(self, root: Path | None, databases: Path) -> None:
        self._root = None if root is None else root.resolve()
        self._databases = databases

    def checked(self, state: ServiceState, version: str, source: str) -> Path:
        """The folder of a version, resolved.

        Raises:
            NotAccepted: it is not allowed, holds no such service, or the version is another one's name.
        """
        name = state.spec.name
        if self._root is None:
            raise NotAccepted("no folder can be deployed: the control was started without --releases DIR")
        asked = Path(source)
        if "\0" in source or not asked.is_absolute():
            raise NotAccepted("source is not an absolute path")
        folder = asked.resolve()
        if not folder.is_relative_to(self._root):
            raise NotAccepted(f"source is not below {self._root}")
        # without the first of them Python would look for `examples` elsewhere and run the code that runs already
        for needed in ("examples/__init__.py", "examples/shop/__init__.py", f"examples/shop/{name}.py"):
            if not (folder / needed).is_file():
                raise NotAccepted(f"source has no {needed}: give the folder that holds examples/shop")
        if version in state.versions and state.sources.get(version) != folder:
            raise NotAccepted(f"{name} {version} is another build: choose a version that is not taken")
        return folder

    async def bring_up_database(self, name: str, folder: Path) -> None:
        """Create in a service's database what the folder's schema has more than it.

        Raises:
            NotReady: a statement failed; the schema stays as far as it came, which the running version does not mind.
        """
        if not has_schema(name):
            return
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "examples.shop.schema",
            *("--service", name, "--directory", str(self._databases)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            cwd=folder,
            env=environment_of(folder),
        )
        try:
            _, complaint = await asyncio.wait_for(process.communicate(), _SCHEMA_WITHIN_S)
        except TimeoutError as error:
            process.kill()
            await process.wait()
            raise NotReady(f"the schema of {name} was not applied within {_SCHEMA_WITHIN_S:g} s") from error
        if process.returncode != 0:
            words = complaint.decode(errors="replace").strip().splitlines()
            raise NotReady(f"the schema of {name} was not applied: {words[-1][:300] if words else 'no reason given'}")
