"""The pictures of the console in README.md and docs/: a real Chromium over a store with one incident and its history.

`make pictures` writes them to docs/images; the test alone writes them to a temporary folder and looks at each.
"""

import os
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from libs.service.listening import bind
from libs.service.web_server import WebServer
from libs.stores.sqlite_incidents import SqliteIncidentStore
from tests.unit.services.console import filled
from tests.unit.services.console.chromium import Chromium, find_chromium
from tests.unit.services.console.conftest import Console

BINARY = find_chromium()
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(BINARY is None, reason="NO CHROMIUM ON THIS MACHINE: no pictures of the page were taken"),
]
FOLDER: Final = "PARAMEDIC_PICTURES"
_PNG_SIZE: Final = struct.Struct(">8x8xII")  # signature, length and name of IHDR, width, height


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One page in one window."""

    name: str
    path: str
    shows: str
    width: int = 1180
    height: int = 1000
    dark: bool = False
    scroll_to: str = ""


INCIDENT: Final = "INC-000042"
PICTURES: Final = (
    Picture(name="console-now", path="/", shows="Your approval is needed", width=1280),
    Picture(name="console-incident", path=f"/incidents/{INCIDENT}", shows="Approve", height=1080),
    Picture(
        name="console-incident-dark", path=f"/incidents/{INCIDENT}", shows="expected", dark=True, scroll_to="#metric"
    ),
    Picture(name="console-healing-dark", path="/healing", shows="roll-back-deploy", height=1150, dark=True),
    Picture(name="console-recommendations", path="/recommendations", shows="+", height=720),
    Picture(name="console-phone", path=f"/incidents/{INCIDENT}", shows="Approve", width=360, height=1300),
    Picture(
        name="console-phone-dark",
        path=f"/incidents/{INCIDENT}",
        shows="expected",
        width=360,
        dark=True,
        scroll_to="#metric",
    ),
)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Where a console with content answers."""
    folder = tmp_path_factory.mktemp("pictures")
    store = SqliteIncidentStore(folder / "incidents.sqlite")
    filled.put(store, filled.a_document())
    filled.put_history(store)
    filled.put_recommendation(store)
    store.close()
    console = Console(folder)
    filled.put_telemetry(console.telemetry)
    bound = bind("127.0.0.1", 0, remedy="")
    server = WebServer(console.app, bound, name="console", stop_s=1)
    server.start()
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.stop()
        console.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    assert BINARY is not None
    with Chromium(BINARY) as opened:
        yield opened


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_every_page_is_pictured_as_it_looks_now(
    picture: Picture, address: str, browser: Chromium, tmp_path: Path
) -> None:
    browser.look(width=picture.width, height=picture.height, dark=picture.dark)
    browser.open(f"{address}{picture.path}")
    browser.until("document.querySelector('.live.on') !== null")
    assert picture.shows in browser.evaluate("document.querySelector('main').innerText")
    assert browser.evaluate("document.documentElement.scrollWidth") == picture.width
    if picture.scroll_to:
        browser.evaluate(f"document.querySelector('{picture.scroll_to}').scrollIntoView()")
    taken = tmp_path / f"{picture.name}.png"
    browser.picture(taken, whole=False)
    assert _PNG_SIZE.unpack_from(taken.read_bytes()) == (picture.width, picture.height)
    if wanted := os.environ.get(FOLDER):
        shutil.copy(taken, Path(wanted) / taken.name)
