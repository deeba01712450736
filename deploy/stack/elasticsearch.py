"""Elasticsearch, one node: the vendor's own stripped distribution for integration tests (see docs/stack.md)."""

import os
import pwd
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from deploy.stack.artifacts import Say, cached, copy_artifact, open_to_all, unpack, write_checksums
from deploy.stack.http_probe import answer
from deploy.stack.layout import HOST, Layout, Ports
from deploy.stack.server import Launch
from libs.errors import Unavailable
from paramedic.toolchain import java

_JAVA_OPTIONS: Final = "-Xms512m -Xmx512m -XX:TieredStopAtLevel=1"  # a test stack starts often


class Elasticsearch:
    """The search engine.

    Args:
        layout: Folders and ports.
        versions: Of deploy/versions.toml.
    """

    name = "elasticsearch"
    ready_within_s = 300.0

    def __init__(self, layout: Layout, versions: Mapping[str, str]) -> None:
        self._layout = layout
        self._versions = versions
        self._home = layout.data_dir / "elasticsearch"

    @property
    def version(self) -> str:
        """Version of the server."""
        return self._versions["elasticsearch"]

    @property
    def addresses(self) -> Mapping[str, str]:
        """Base URL."""
        return {"elasticsearch": f"http://{HOST}:{self._layout.ports.elasticsearch}"}

    def listens_on(self) -> Sequence[int]:
        """REST and transport."""
        return (self._layout.ports.elasticsearch, self._layout.ports.elasticsearch_transport)

    def obstacle(self) -> str:
        """Java is needed, and a user other than root."""
        tool = java()
        if tool.path is None:
            return f"Java: {tool.detail}; {tool.advice}"
        if os.geteuid() == 0:
            try:
                pwd.getpwnam(self._layout.user)
            except KeyError:
                return f"refuses to run as root and user {self._layout.user} does not exist; set PARAMEDIC_STACK_USER"
        return ""

    def fetch(self, say: Say) -> Path:
        """The distribution, unpacked."""

        def download(folder: Path) -> None:
            log = self._layout.logs_dir / "elasticsearch-download.log"
            say(f"elasticsearch {self.version}: downloading (98 MB); progress in {log}")
            coordinates = f"org.elasticsearch.distribution.integ-test-zip:elasticsearch:{self.version}:zip"
            archive = copy_artifact(coordinates, folder, self._versions["maven-dependency-plugin"], log)
            write_checksums(folder)
            unpack(archive, folder)
            archive.unlink()
            home = self._distribution(folder)
            (home / "plugins").mkdir(exist_ok=True)
            for program in (home / "bin").iterdir():  # zip members lose their mode
                program.chmod(0o755)
            open_to_all(folder)

        return cached(self._layout.cache_dir / f"elasticsearch-{self.version}", download)

    def configure(self) -> Launch:
        """Write elasticsearch.yml beside the distribution's other configuration."""
        program = java().path
        if program is None:
            raise Unavailable(self.obstacle())
        distribution = self._distribution(self._layout.cache_dir / f"elasticsearch-{self.version}")
        config, temporary = self._home / "config", self._home / "tmp"
        for folder in (config, temporary, self._home / "data", self._home / "logs"):
            folder.mkdir(parents=True, exist_ok=True)
        for name in ("jvm.options", "log4j2.properties"):
            shutil.copyfile(distribution / "config" / name, config / name)
        (config / "elasticsearch.yml").write_text(elasticsearch_yml(self._layout.ports, self._home))
        user = self._layout.user if os.geteuid() == 0 else ""
        if user:
            self._hand_over(user)
        environment = {
            "ES_JAVA_HOME": str(program.parent.parent),
            "ES_JAVA_OPTS": _JAVA_OPTIONS,
            "ES_PATH_CONF": str(config),
            "ES_TMPDIR": str(temporary),
        }
        return Launch(
            command=[str(distribution / "bin" / "elasticsearch")], environment=environment, folder=self._home, user=user
        )

    def is_ready(self) -> bool:
        """Whether the cluster is yellow or green."""
        health = answer(f"{self.addresses['elasticsearch']}/_cluster/health")
        return isinstance(health, dict) and health.get("status") in ("yellow", "green")

    def _distribution(self, folder: Path) -> Path:
        return folder / f"elasticsearch-{self.version}"

    def _hand_over(self, user: str) -> None:
        """Give the files to the user that it runs as; `Unavailable` names a folder closed to that user."""
        account = pwd.getpwnam(user)
        for path in (self._home, *self._home.rglob("*")):
            os.chown(path, account.pw_uid, account.pw_gid)
        for wanted in (self._home, self._layout.cache_dir):
            closed = [folder for folder in wanted.parents if not folder.stat().st_mode & 0o001]
            if closed:
                raise Unavailable(
                    f"elasticsearch runs as {user}, who cannot enter {closed[-1]}; set PARAMEDIC_STACK_DATA and "
                    "PARAMEDIC_STACK_CACHE to folders that everybody can enter"
                )


def elasticsearch_yml(ports: Ports, home: Path) -> str:
    """Configuration of a single node on loopback, without security."""
    return (
        "cluster.name: paramedic-stack\n"
        "discovery.type: single-node\n"
        f"network.host: {HOST}\n"
        f"http.port: {ports.elasticsearch}\n"
        f"transport.port: {ports.elasticsearch_transport}\n"
        f"path.data: {home / 'data'}\n"
        f"path.logs: {home / 'logs'}\n"
        "xpack.security.enabled: false\n"
        "xpack.security.autoconfiguration.enabled: false\n"
        "cluster.routing.allocation.disk.threshold_enabled: false\n"  # a full laptop disk must not make tests red
    )
