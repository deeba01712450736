"""Run the shop from the command line: `python -m examples.shop --endpoint http://127.0.0.1:4318 --fault slow-query`."""

import argparse
import math
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from types import FrameType

from examples.shop.control import DEFAULT_OTLP_ENDPOINT, DEFAULT_PORT
from examples.shop.faults import FAULTS
from examples.shop.shop import Shop, ShopNotReady
from examples.shop.tally import LoadStats

_REPORT_EVERY_S = 5.0


def main() -> int:
    """Start the shop, make a fault happen when one is named, report what users see until Ctrl-C."""
    told = _arguments()
    ended = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    directory = told.directory or Path(tempfile.mkdtemp(prefix="shop-"))
    print(f"shop in {directory}", flush=True)
    try:
        shop = Shop.start(
            told.endpoint,
            directory,
            rate_per_s=told.rate,
            seed=told.seed,
            control_host=told.control_host,
            control_port=told.control_port,
            releases=told.releases,
            progress=lambda text: print(text, flush=True),
        )
    except ShopNotReady as error:
        print(error, file=sys.stderr)
        return 1
    with shop:
        fault_due_s = time.monotonic() + told.after if told.fault else math.inf
        while not ended.wait(_REPORT_EVERY_S):
            if time.monotonic() >= fault_due_s:
                fault_due_s = math.inf
                print(f"fault: {shop.inject(told.fault).description}", flush=True)
            print(_line(shop.load_stats(_REPORT_EVERY_S)), flush=True)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m examples.shop", description=__doc__)
    parser.add_argument("--endpoint", default=os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", DEFAULT_OTLP_ENDPOINT))
    parser.add_argument("--rate", type=float, default=12.0, help="requests of users per second")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--directory", type=Path, default=None, help="databases and logs; a temporary one if left out")
    parser.add_argument(
        "--control-host", default="127.0.0.1", help="address of the control API; it asks for no password"
    )
    parser.add_argument("--control-port", type=int, default=DEFAULT_PORT, help="0 for any free port")
    parser.add_argument("--releases", type=Path, default=None, help="folders below this one may be deployed: runs code")
    parser.add_argument("--fault", choices=sorted(FAULTS), default=None)
    parser.add_argument("--after", type=float, default=20.0, help="seconds of calm before the fault")
    return parser.parse_args()


def _line(stats: LoadStats) -> str:
    total = stats.total
    return (
        f"{total.requests / stats.window_s:5.1f} requests/s  {total.failed_ratio:6.1%} failed  "
        f"p50 {total.p50_s * 1000:5.0f} ms  p95 {total.p95_s * 1000:5.0f} ms  "
        f"{len(stats.users_affected)} users affected"
    )


if __name__ == "__main__":
    sys.exit(main())
