"""docker-compose.yml and the images: valid, pinned in one place, on loopback, made of nothing but what they need."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from libs.service.settings import Settings
from paramedic.supervisor import SERVICES

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DECLARED: dict[str, Any] = COMPOSE["services"]
VERSIONS = tomllib.loads((ROOT / "deploy" / "versions.toml").read_text())["images"]
DOCKERFILES = sorted(
    [
        *(ROOT / "services").glob("*/Dockerfile"),
        *(ROOT / "deploy" / "images").glob("*/Dockerfile"),
        *(ROOT / "examples").glob("*/Dockerfile"),
    ]
)
RUN = sorted({*SERVICES, "console"})
IMAGES = {
    "kafka": "apache/kafka",
    "elasticsearch": "docker.elastic.co/elasticsearch/elasticsearch",
    "kibana": "docker.elastic.co/kibana/kibana",
    "apicurio": "apicurio/apicurio-registry-kafkasql",
    "collector": "otel/opentelemetry-collector-contrib",
    "prometheus": "prom/prometheus",
    "grafana": "grafana/grafana",
}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_file_follows_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    found = subprocess.run([*command, "docker-compose.yml"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


def test_every_foreign_image_is_pinned_in_versions_toml() -> None:
    foreign = {service["image"] for service in DECLARED.values() if not service["image"].startswith("paramedic/")}
    assert foreign == {f"{image}:{VERSIONS[name]}" for name, image in IMAGES.items()}


def test_every_service_of_the_platform_is_declared() -> None:
    for service in RUN:
        assert DECLARED[service]["build"]["dockerfile"] == f"services/{service}/Dockerfile"
        assert DECLARED[service]["profiles"] == ["core"]


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_ports_are_published_on_loopback_only(name: str) -> None:
    assert all(str(port).startswith("127.0.0.1:") for port in DECLARED[name].get("ports", []))


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_every_server_has_a_health_check(name: str) -> None:
    service = DECLARED[name]
    if name in {"setup", "collector"}:  # a job that ends; an image without any program but the Collector itself
        return
    checked = "healthcheck" in service
    if "build" in service:
        checked = "HEALTHCHECK --interval" in (ROOT / service["build"]["dockerfile"]).read_text()
    assert checked


@pytest.mark.parametrize("name", sorted(DECLARED))
def test_settings_mounts_and_dependencies_exist(name: str) -> None:
    service = DECLARED[name]
    environment = service.get("environment", {})
    settings = {f"PARAMEDIC_{field.upper()}" for field in Settings.model_fields}
    assert {key for key in environment if key.startswith("PARAMEDIC_")} <= settings
    for mount in service.get("volumes", []):
        source = mount.split(":")[0]
        assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"]
    assert set(service.get("depends_on", {})) <= set(DECLARED)
    if "build" in service:
        assert (ROOT / service["build"]["dockerfile"]).is_file()


@pytest.mark.parametrize("name", [name for name in sorted(DECLARED) if "build" in DECLARED[name]])
def test_our_containers_give_up_what_they_do_not_need(name: str) -> None:
    service = DECLARED[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_the_linter_accepts_every_dockerfile() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([hadolint, *DOCKERFILES], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("path", DOCKERFILES, ids=named)
def test_an_image_runs_as_nobody_from_the_pinned_base(path: Path) -> None:
    text = path.read_text()
    bases = re.findall(r"^FROM (\S+)", text, re.MULTILINE)
    assert set(bases) == {f"python:{VERSIONS['python']}"}
    assert re.findall(r"^USER (\S+)", text, re.MULTILINE) == ["10001"]
    assert "requirements.lock" in text


@pytest.mark.parametrize("path", sorted((ROOT / "services").glob("*/Dockerfile")), ids=named)
def test_a_services_image_holds_only_libs_schemas_and_itself(path: Path) -> None:
    service, text = path.parent.name, path.read_text()
    last = text[text.rindex("FROM ") :]
    copied = {line.split()[1] for line in last.splitlines() if line.startswith("COPY ") and "--from" not in line}
    assert copied == {"schemas", "libs", "services/__init__.py", f"services/{service}"}
    assert f'ENTRYPOINT ["python", "-m", "services.{service}"]' in last
    extras = set(re.findall(r"--extra (\S+)", text))
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert service in extras
    assert extras <= set(known)


def test_prometheus_reads_every_service() -> None:
    wanted = yaml.safe_load((ROOT / "deploy" / "observability" / "prometheus.yml").read_text())
    targets = wanted["scrape_configs"][0]["static_configs"][0]["targets"]
    assert sorted(targets) == [f"{service}:9464" for service in RUN]


def test_the_dashboard_draws_metrics_that_exist() -> None:
    board = (ROOT / "deploy" / "observability" / "grafana" / "dashboards" / "paramedic.json").read_text()
    sources = [path.read_text() for folder in ("libs", "services") for path in (ROOT / folder).rglob("*.py")]
    declared = set(re.findall(r'"(paramedic_[a-z_]+)"', "".join(sources)))
    drawn = set(re.findall(r"paramedic_[a-z_]+", board))
    assert drawn
    assert drawn <= declared
