"""Run the detector service: `python -m services.detector`."""

import sys

from libs.service.run import run_service
from services.detector.service import build

if __name__ == "__main__":
    sys.exit(run_service("detector", build))
