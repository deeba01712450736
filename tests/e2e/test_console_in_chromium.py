"""People decide in a real browser: the approval goes through the page, by mouse, keyboard and telephone.

Broker, ticketing, remediation and console run in this process on real sockets; the deployment system is a control API
that really keeps versions. Skipped where no Chromium is installed (Debian: apt-get install chromium).
"""

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from libs.contracts.codec import Codec, ns_from_utc
from libs.contracts.columns import pack_float64, pack_int32, pack_int64
from libs.contracts.document import Section
from libs.contracts.records import Record
from libs.contracts.telemetry import MetricBatch, MetricSeries
from libs.contracts.topics import ANOMALIES, INVESTIGATIONS
from libs.observability.log import Logger
from libs.observability.metrics import ServiceMetrics
from libs.service.platform import Platform
from libs.service.run import Runnable
from libs.service.settings import Settings
from libs.stores.incidents import IncidentQuery
from libs.streaming.embedded import EmbeddedBroker
from libs.streaming.kafka import KafkaBroker
from services.console import service as console
from services.remediation import service as remediation
from services.ticketing import service as ticketing
from tests.unit.services.console import filled
from tests.unit.services.console.chromium import Chromium, find_chromium
from tests.unit.services.remediation.control_server import ControlServer
from tests.waiting import until

BINARY = find_chromium()
PATIENCE_S = 30.0
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(BINARY is None, reason="NO CHROMIUM ON THIS MACHINE: the page was not tried in a real browser"),
]
CODEC = Codec()


class Stage:
    """Ticketing, remediation and the console beside a broker and a deployment system."""

    def __init__(self, folder: Path, bootstrap: str, control: ControlServer) -> None:
        self.control = control
        self._broker = KafkaBroker(bootstrap, extra={"session.timeout.ms": 1000, "heartbeat.interval.ms": 200})
        fields: dict[str, Any] = {
            "data_dir": folder, "api_port": 0, "console_port": 0, "executor_url": control.url, "window_s": 0.2,
            "lateness_s": 0.2, "hold_s": 1.0, "verify_s": 30.0, "modes": {"roll-back-deploy": "approve"},
            "_env_file": None,
        }  # fmt: skip
        self.settings = Settings(**fields)
        self._platforms: list[Platform] = []
        self._running: list[tuple[Runnable, threading.Thread]] = []

    def __enter__(self) -> "Stage":
        for name, module in (("ticketing", ticketing), ("remediation", remediation), ("console", console)):
            platform = Platform(
                service=name, settings=self.settings, log=Logger(name, stream=StringIO()), metrics=ServiceMetrics(),
                codec=CODEC,
            )  # fmt: skip
            platform.__dict__["broker"] = self._broker
            self._platforms.append(platform)
            runnable = module.build(self.settings, platform)
            thread = threading.Thread(target=runnable.run, name=name)
            thread.start()
            self._running.append((runnable, thread))
        served = self._running[-1][0]
        assert isinstance(served, console.ConsoleService)
        self.url = served.url
        until(lambda: all(runnable.state == "ready" for runnable, _ in self._running), PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        for runnable, thread in reversed(self._running):
            runnable.stop()
            thread.join(20.0)
            assert not thread.is_alive()
        for platform in self._platforms:
            platform.incidents.close()
            platform.telemetry.close()

    def send(self, topic: str, record: Record, key: str) -> None:
        """Publish a record."""
        producer = self._broker.producer()
        producer.send(topic, key=key.encode(), value=CODEC.encode(topic, record))
        producer.flush()
        producer.close()

    def break_catalog(self) -> str:
        """A bad deploy half a minute ago is detected and investigated; number of the ticket."""
        store, telemetry = self._platforms[0].incidents, self._platforms[0].telemetry
        now = datetime.now(UTC)
        began = now - timedelta(seconds=30)
        change = replace(filled.DEPLOY, timestamp=began - timedelta(seconds=70))
        point = MetricBatch(
            service="catalog",
            observed_at=now,
            series=(MetricSeries(name="process.memory.usage", unit="By"),),
            series_index=pack_int32([0]),
            timestamps=pack_int64([ns_from_utc(now)]),
            values=pack_float64([1.0]),
        )
        telemetry.write(metrics=[point], changes=[change])
        anomaly = filled.an_anomaly(started_at=began, detected_at=began, updated_at=began, trace_ids=())
        self.send(ANOMALIES, anomaly, "catalog")
        core = until(lambda: store.search(IncidentQuery(services=("catalog",))).incidents, PATIENCE_S)[0]
        found = filled.an_investigation(core.id, as_of=now, started_at=now)
        store.put(core.id, Section.INVESTIGATION, found)
        self.send(INVESTIGATIONS, found, core.id)
        return core.number

    def version(self) -> str:
        """What runs in production."""
        with self.control._lock:
            return self.control.production.versions[-1]

    def audit(self) -> str:
        """The audit trail of tickets."""
        return (self.settings.data_dir / "logs" / "tickets.jsonl").read_text()


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with EmbeddedBroker() as broker, ControlServer() as control, Stage(tmp_path, broker.bootstrap, control) as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Chromium]:
    assert BINARY is not None
    with Chromium(BINARY) as opened:
        yield opened


@pytest.fixture(autouse=True)
def forgotten(browser: Chromium) -> None:
    """Every test begins with a browser that knows nobody."""
    browser.send("Network.clearBrowserCookies")
    browser.requests.clear()
    browser.console.clear()
    browser.look()


def test_an_approval_goes_from_the_click_to_production_within_two_seconds(stage: Stage, browser: Chromium) -> None:
    """The page is open before anything breaks; the incident and the approval appear on it by themselves."""
    browser.open(f"{stage.url}/")
    browser.until("document.querySelector('.live.on') !== null")
    number = stage.break_catalog()
    browser.until(f"document.querySelector('#approvals a[href^=\"/incidents/{number}\"]') !== null")
    browser.press("a")
    browser.press("Enter")
    browser.until("document.querySelector('.run.waits form') !== null")
    assert "start 1 instance(s) of catalog 2.3.0" in browser.evaluate("document.querySelector('.plan').innerText")
    assert stage.version() == "2.4.0"
    browser.write(".run.waits input[name=actor]", "ada")
    browser.write(".run.waits input[name=reason]", "the plan is right")
    begun = time.monotonic()
    browser.click(".run.waits button.go")
    until(lambda: stage.version() == "2.3.0", PATIENCE_S, 0.005)
    took_s = time.monotonic() - begun
    print(f"approval: {took_s * 1e3:.0f} ms from the click to the applied action")
    browser.until("document.querySelector('.run-verifying, .run-holding, .run-succeeded, .run-running') !== null")
    told = until(lambda: next((line for line in stage.audit().splitlines() if "approve" in line), ""), PATIENCE_S)
    assert '"ada"' in told
    assert len(stage.control.production.done) == 1
    assert all(url.startswith(stage.url) for url in browser.requests)
    assert browser.console == []
    assert took_s <= 2.0


def test_a_rejection_by_keyboard_applies_nothing(stage: Stage, browser: Chromium) -> None:
    number = stage.break_catalog()
    browser.open(f"{stage.url}/incidents/{number}")
    browser.until("document.querySelector('.live.on') !== null && document.querySelector('.run.waits form') !== null")
    browser.press("a")
    assert browser.evaluate("document.activeElement.name") == "actor"
    browser.send("Input.insertText", text="ada")
    browser.press("Tab")
    browser.send("Input.insertText", text="wrong version")
    browser.press("Tab")
    browser.press("Tab")
    assert browser.evaluate("document.activeElement.innerText") == "Reject"
    browser.press("Enter")
    browser.until("document.querySelector('.run-canceled') !== null")
    browser.until("document.querySelector('main').innerText.includes('wrong version')")
    assert stage.version() == "2.4.0"
    assert stage.control.production.done == []


def test_root_cause_and_resolution_are_decided_on_a_telephone(stage: Stage, browser: Chromium) -> None:
    number = stage.break_catalog()
    browser.look(width=360, height=740, dark=True)
    browser.open(f"{stage.url}/incidents/{number}")
    browser.until("document.querySelector('.live.on') !== null && document.querySelector('.hypothesis') !== null")
    assert browser.evaluate("document.documentElement.scrollWidth") == 360
    browser.click("#confirm summary")
    browser.write("#confirm input[name=actor]", "ada")
    browser.click("#confirm button.go")
    browser.until("document.querySelector('#head .banner.good')?.innerText.includes('deploy 2.4.0 of catalog')")
    assert browser.evaluate("document.querySelector('#act input[name=actor]').value") == "ada"
    browser.click("#act button[formaction$='/resolve']")
    browser.until("document.querySelector('#head strong.state-resolved') !== null")
    browser.open(f"{stage.url}/?q=catalog")
    browser.until(f"document.querySelector('#history').innerText.includes('{number}')")
    assert browser.evaluate("document.documentElement.scrollWidth") == 360


def test_what_somebody_types_survives_the_news(stage: Stage, browser: Chromium) -> None:
    number = stage.break_catalog()
    browser.open(f"{stage.url}/incidents/{number}")
    browser.until("document.querySelector('.live.on') !== null && document.querySelector('.run.waits form') !== null")
    browser.click("#comment summary")
    browser.until("document.querySelector('#comment').open")
    browser.write("#comment textarea", "half a sentence")
    worse = filled.an_anomaly(
        id="a-cart", service="cart", explanation="cart is slow now", started_at=datetime.now(UTC),
        detected_at=datetime.now(UTC), updated_at=datetime.now(UTC), trace_ids=(), peer="catalog",
    )  # fmt: skip
    stage.send(ANOMALIES, worse, "cart")
    browser.until("document.querySelector('#metric').innerText.includes('cart is slow now')")
    assert browser.evaluate("document.querySelector('#comment textarea').value") == "half a sentence"
    assert browser.evaluate("document.querySelector('#comment').open")


def test_every_page_works_without_scripts(stage: Stage, browser: Chromium) -> None:
    number = stage.break_catalog()
    browser.send("Emulation.setScriptExecutionDisabled", value=True)
    try:
        for path in ("/", "/healing", "/recommendations", f"/incidents/{number}"):
            browser.open(f"{stage.url}{path}")
            assert browser.evaluate("document.querySelector('#live-state').innerText") == "Reload for news"
        browser.write("#act input[name=actor]", "ada")
        browser.click("#act button[formaction$='/acknowledge']")
        browser.until("document.querySelector('main > .banner.good')?.innerText === 'You have taken the incident.'")
    finally:
        browser.send("Emulation.setScriptExecutionDisabled", value=False)


def test_the_halt_switch_is_turned_and_shown_on_every_open_page(stage: Stage, browser: Chromium) -> None:
    browser.open(f"{stage.url}/healing")
    browser.until("document.querySelector('.live.on') !== null")
    browser.write("#halt input[name=actor]", "ada")
    browser.write("#halt input[name=reason]", "migration")
    browser.click("#halt button.stop")
    browser.until("document.querySelector('#halt-banner .bad')?.innerText.includes('by ada: migration')")
    # The news of it may be on the page before the answer to the click is: keys go to the page that stays.
    browser.until("document.querySelector('main > .banner.good')?.innerText === 'Self-healing is halted.'")
    browser.press("g")
    browser.press("n")
    browser.until("location.pathname === '/' && document.querySelector('#halt-banner .bad') !== null")
