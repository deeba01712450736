"""Apicurio Registry, which speaks the Confluent Schema Registry API; it keeps its schemas in memory."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.stack.artifacts import Say, cached, copy_artifact, unpack, write_checksums
from deploy.stack.http_probe import answer
from deploy.stack.kafka import QUICK_START
from deploy.stack.layout import HOST, Layout
from deploy.stack.server import Launch
from libs.errors import Unavailable
from paramedic.toolchain import java


class Apicurio:
    """The Schema Registry.

    Args:
        layout: Folders and ports.
        versions: Of deploy/versions.toml.
    """

    name = "registry"
    ready_within_s = 240.0

    def __init__(self, layout: Layout, versions: Mapping[str, str]) -> None:
        self._layout = layout
        self._versions = versions

    @property
    def version(self) -> str:
        """Version of Apicurio."""
        return self._versions["apicurio"]

    @property
    def addresses(self) -> Mapping[str, str]:
        """Base URL for Confluent clients."""
        return {"registry": f"http://{HOST}:{self._layout.ports.registry}/apis/ccompat/v7"}

    def listens_on(self) -> Sequence[int]:
        """REST."""
        return (self._layout.ports.registry,)

    def obstacle(self) -> str:
        """Java is needed."""
        tool = java()
        return "" if tool.path else f"Java: {tool.detail}; {tool.advice}"

    def fetch(self, say: Say) -> Path:
        """The application, unpacked."""

        def download(folder: Path) -> None:
            log = self._layout.logs_dir / "registry-download.log"
            say(f"registry (Apicurio {self.version}): downloading (142 MB); progress in {log}")
            coordinates = f"io.apicurio:apicurio-registry-app:{self.version}:tar.gz:all"
            archive = copy_artifact(coordinates, folder, self._versions["maven-dependency-plugin"], log)
            write_checksums(folder)
            unpack(archive, folder)
            archive.unlink()

        return cached(self._layout.cache_dir / f"apicurio-{self.version}", download)

    def configure(self) -> Launch:
        """Everything is on the command line."""
        program = java().path
        if program is None:
            raise Unavailable(self.obstacle())
        (jar,) = (self._layout.cache_dir / f"apicurio-{self.version}").rglob("apicurio-registry-app-*-runner.jar")
        home = self._layout.data_dir / "registry"
        home.mkdir(parents=True, exist_ok=True)
        address = (f"-Dquarkus.http.host={HOST}", f"-Dquarkus.http.port={self._layout.ports.registry}")
        return Launch(command=[str(program), "-Xmx384m", *QUICK_START, *address, "-jar", str(jar)], folder=jar.parent)

    def is_ready(self) -> bool:
        """Whether the subjects are listed."""
        return isinstance(answer(f"{self.addresses['registry']}/subjects"), list)
