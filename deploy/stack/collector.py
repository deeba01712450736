"""The OpenTelemetry Collector with an OTLP receiver and the Kafka exporter, built from the modules in collector/."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from deploy.stack.artifacts import Say, cached, run_logged
from deploy.stack.http_probe import answer
from deploy.stack.layout import HOST, Layout, Ports
from deploy.stack.server import Launch
from libs.errors import Unavailable
from paramedic.toolchain import go

_SOURCE: Final = Path(__file__).resolve().parent / "collector"


class Collector:
    """The Collector.

    Args:
        layout: Folders and ports.
        versions: Of deploy/versions.toml.
    """

    name = "collector"
    ready_within_s = 90.0

    def __init__(self, layout: Layout, versions: Mapping[str, str]) -> None:
        self._layout = layout
        self._versions = versions

    @property
    def version(self) -> str:
        """Version of the Collector's modules."""
        return self._versions["collector"]

    @property
    def addresses(self) -> Mapping[str, str]:
        """OTLP/HTTP endpoint."""
        return {"collector": f"http://{HOST}:{self._layout.ports.collector}"}

    def listens_on(self) -> Sequence[int]:
        """OTLP/HTTP."""
        return (self._layout.ports.collector,)

    def obstacle(self) -> str:
        """Go is needed, unless it was built before."""
        if self._program().exists():
            return ""
        tool = go()
        return "" if tool.path else f"Go: {tool.detail}; {tool.advice}"

    def fetch(self, say: Say) -> Path:
        """Build it; go.sum holds the checksums of every module."""

        def build(folder: Path) -> None:
            tool = go()
            if tool.path is None:
                raise Unavailable(self.obstacle())
            log = self._layout.logs_dir / "collector-build.log"
            say(f"collector {self.version}: building (about 80 s); progress in {log}")
            sources = folder / "source"
            shutil.copytree(_SOURCE, sources)
            command = [str(tool.path), "build", "-trimpath", "-ldflags=-s -w", "-o", str(folder / "otelcol"), "."]
            run_logged(command, log, cwd=sources, env={"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"})

        return cached(self._layout.cache_dir / f"collector-{self.version}", build)

    def configure(self) -> Launch:
        """Write its pipelines; YAML reads JSON."""
        home = self._layout.data_dir / "collector"
        home.mkdir(parents=True, exist_ok=True)
        config = home / "config.yaml"
        config.write_text(json.dumps(pipelines(self._layout.ports), indent=2))
        return Launch(command=[str(self._program()), "--config", f"file:{config}"], folder=home)

    def is_ready(self) -> bool:
        """Whether an empty OTLP request is accepted."""
        url = f"{self.addresses['collector']}/v1/metrics"
        return answer(url, body={"resourceMetrics": []}) is not None

    def _program(self) -> Path:
        return self._layout.cache_dir / f"collector-{self.version}" / "otelcol"


def pipelines(ports: Ports) -> dict[str, object]:
    """OTLP/HTTP in; out to the broker's topics otlp_metrics, otlp_logs and otlp_spans, the exporter's own names."""
    signals = {"metrics": "otlp_metrics", "logs": "otlp_logs", "traces": "otlp_spans"}
    exporter: dict[str, object] = {
        "brokers": [f"{HOST}:{ports.kafka}"],
        **{signal: {"topic": topic, "encoding": "otlp_proto"} for signal, topic in signals.items()},
    }
    return {
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"{HOST}:{ports.collector}"}}}},
        "exporters": {"kafka": exporter},
        "service": {
            "telemetry": {"metrics": {"level": "none"}},  # its own metrics would take one more port
            "pipelines": {signal: {"receivers": ["otlp"], "exporters": ["kafka"]} for signal in signals},
        },
    }
