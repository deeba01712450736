"""Health check of a service in a container: `python -m libs.service.health SERVICE` exits 0 when it is ready.

It finds the service by the run file that the service published, and asks its /readyz.
"""

import json
import sys
from collections.abc import Sequence
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from libs.errors import ConfigurationError
from libs.service.settings import Settings, load_settings

_TIMEOUT_S = 3.0


def readiness(settings: Settings, service: str) -> tuple[bool, str]:
    """Whether a service of this data folder is ready, and what it says about itself."""
    path = settings.run_dir / f"{service}.json"
    try:
        address = json.loads(path.read_text())["health"]
    except (OSError, ValueError, KeyError, TypeError):
        return False, f"{service} is not running: {path} does not say where"
    try:
        with urlopen(f"{address}/readyz", timeout=_TIMEOUT_S) as answer:
            return True, answer.read().decode(errors="replace")
    except HTTPError as error:
        return False, error.read().decode(errors="replace")
    except (URLError, OSError) as error:
        return False, f"{address}/readyz: {error}"


def main(arguments: Sequence[str]) -> int:
    """Print what the service says; 0 ready, 1 not ready, 2 a wrong call."""
    if len(arguments) != 1:
        print("usage: python -m libs.service.health SERVICE")
        return 2
    try:
        ready, text = readiness(load_settings(), arguments[0])
    except ConfigurationError as error:
        print(error)
        return 2
    print(text)
    return 0 if ready else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
