"""The terminal: one rich console for every command."""

from typing import Final

from rich.console import Console

console: Final = Console(highlight=False)
