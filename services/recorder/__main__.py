"""Run the recorder service: `python -m services.recorder`."""

import sys

from libs.service.run import run_service
from services.recorder.service import build

if __name__ == "__main__":
    sys.exit(run_service("recorder", build))
