"""Run the ticketing service: `python -m services.ticketing`."""

import sys

from libs.service.run import run_service
from services.ticketing.service import build

if __name__ == "__main__":
    sys.exit(run_service("ticketing", build))
