"""The terminal: one rich console for every command."""

import os
import sys
from typing import Final

from rich.console import Console

# Rich takes 80 columns where there is no terminal (a file, a pipe, CI), which cuts tables that people read later.
_FILE_COLUMNS: Final = 160


def new_console() -> Console:
    """As wide as the terminal; wide enough for tables where output goes to a file, unless COLUMNS says otherwise."""
    fixed = None if sys.stdout.isatty() or "COLUMNS" in os.environ else _FILE_COLUMNS
    return Console(highlight=False, width=fixed)


console: Final = new_console()
