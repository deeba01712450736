"""Run the console: `python -m services.console`."""

import sys

from libs.service.run import run_service
from services.console.service import build

if __name__ == "__main__":
    sys.exit(run_service("console", build))
