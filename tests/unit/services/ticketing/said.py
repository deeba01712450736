"""Commands that people give, and the lines that the ticket log has written, for the tests of the handler."""

import json
from collections.abc import Callable
from datetime import datetime
from typing import Any

from libs.contracts.command import Command, CommandKind

Moment = Callable[[float], datetime]
World = Any


def command(kind: CommandKind, target: str, moment: Moment, **arguments: str) -> Command:
    return Command(
        id=f"command-{kind.value}", kind=kind, target=target, actor="ada", reason="because",
        arguments=arguments, issued_at=moment(60),
    )  # fmt: skip


def log_lines(world: World) -> list[dict[str, Any]]:
    path = world.settings.data_dir / "logs" / "tickets.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]
