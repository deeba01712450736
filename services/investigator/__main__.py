"""Run the investigator service: `python -m services.investigator`."""

import sys

from libs.service.run import run_service
from services.investigator.service import build

if __name__ == "__main__":
    sys.exit(run_service("investigator", build))
