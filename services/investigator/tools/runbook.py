"""The runbook that fits the leading hypothesis, and its read-only questions."""

from collections.abc import Mapping, Sequence
from typing import Final

from libs.contracts.investigation import Hypothesis
from libs.runbooks.matching import match
from libs.runbooks.runbook import Runbook
from services.investigator.scene import Scene
from services.investigator.tools.tool import Answer, Tool, register


def _ask(scene: Scene, _: Mapping[str, str]) -> Answer[tuple[Runbook, ...]]:
    told = "; ".join(f"{runbook.name}: {runbook.title}" for runbook in scene.runbooks)
    return Answer(
        found=bool(scene.runbooks),
        finding=f"{len(scene.runbooks)} known patterns: {told}." if told else "no runbook is known.",
        query="known patterns",
        part=scene.runbooks,
    )


def runbook_for(scene: Scene, hypotheses: Sequence[Hypothesis]) -> Runbook | None:
    """The runbook of the leading hypothesis, or None."""
    return match(scene.runbooks, hypotheses[0], scene.incident) if hypotheses else None


TOOL: Final = register(Tool(name="runbook", title="Known patterns of failure and their fixes", ask=_ask))
