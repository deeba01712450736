"""Run the recommender service: `python -m services.recommender`."""

import sys

from libs.service.run import run_service
from services.recommender.service import build

if __name__ == "__main__":
    sys.exit(run_service("recommender", build))
