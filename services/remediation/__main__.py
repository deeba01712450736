"""Run the remediation service: `python -m services.remediation`."""

import sys

from libs.service.run import run_service
from services.remediation.service import build

if __name__ == "__main__":
    sys.exit(run_service("remediation", build))
