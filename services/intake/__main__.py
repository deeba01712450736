"""Run the intake service: `python -m services.intake`."""

import sys

from libs.service.run import run_service
from services.intake.service import build

if __name__ == "__main__":
    sys.exit(run_service("intake", build))
