"""Laws of every investigation tool: found by name, bounded, honest about nothing, refusing what it does not know."""

from collections.abc import Callable
from pathlib import Path

import pytest

from libs.contracts.incident import IncidentChanged
from libs.contracts.investigation import StepStatus
from libs.errors import ConfigurationError
from libs.runbooks import SHIPPED, load_runbooks
from services.investigator import tools as package
from services.investigator.scene import Scene
from services.investigator.tools.tool import Answer, Tool, register, tools
from tests.unit.services.investigator.shop_telemetry import Fault, incident

SceneFor = Callable[[Fault, IncidentChanged], Scene]
NOT_TOOLS = {"demand", "__init__", "tool", "span_set", "instances", "per_request", "log_shape", "red_metrics"}


@pytest.fixture
def scene(scene_for: SceneFor) -> Scene:
    return scene_for(Fault(slow_ms={"catalog": 300}), incident("gateway", "catalog"))


def test_every_file_of_the_package_that_is_a_tool_is_registered_by_its_name() -> None:
    files = {path.stem for path in Path(str(package.__file__)).parent.glob("*.py")}
    assert set(tools()) == files - NOT_TOOLS


@pytest.mark.parametrize("name", sorted(tools()))
def test_a_tool_answers_with_a_bounded_finding(scene: Scene, name: str) -> None:
    result = tools()[name].run(scene)
    assert result.step.status in (StepStatus.SUCCESS, StepStatus.NO_DATA)
    assert 0 < len(result.step.finding) <= 600
    assert result.step.query
    assert result.step.duration_s >= 0


@pytest.mark.parametrize("name", sorted(tools()))
def test_a_tool_refuses_an_argument_that_it_does_not_have(scene: Scene, name: str) -> None:
    assert tools()[name].run(scene, {"shell": "rm"}).step.status is StepStatus.ERROR


@pytest.mark.parametrize("name", sorted(name for name, tool in tools().items() if "service" in tool.arguments))
def test_a_tool_says_when_a_service_is_unknown(scene: Scene, name: str) -> None:
    step = tools()[name].run(scene, {"service": "nowhere"}).step
    assert step.status is StepStatus.ERROR
    assert "nowhere" in step.finding


def test_a_name_is_taken_once() -> None:
    with pytest.raises(ConfigurationError, match="red"):
        register(Tool(name="red", title="another", ask=lambda *_: Answer(found=False, finding="", query="", part=None)))


def test_every_step_of_the_shipped_runbooks_names_a_tool() -> None:
    asked = {step.tool for runbook in load_runbooks(SHIPPED) for step in runbook.steps}
    assert asked <= set(tools())
