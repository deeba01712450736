"""Drive a real Chromium over the DevTools protocol: open pages, press keys and buttons, take pictures.

Source: https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from websockets.sync.client import connect

_NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS: Final = (
    "--headless=new",
    "--remote-debugging-port=0",
    "--no-first-run",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--hide-scrollbars",
)
_START_S: Final = 30.0
_ANSWER_S: Final = 20.0
_PAUSE: Final = threading.Event()  # never set: `wait` is a pause between two looks at a condition


def find_chromium() -> str | None:
    """Path of a Chromium on this machine."""
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


class Chromium:
    """One browser with one tab; a context manager.

    Args:
        binary: Path of the browser.
    """

    def __init__(self, binary: str) -> None:
        self._binary = binary
        self._number = 0
        self._session = ""
        self.requests: list[str] = []
        self.console: list[str] = []

    def __enter__(self) -> "Chromium":
        with ExitStack() as opened:
            self._profile = Path(opened.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
            flags = [*_FLAGS, f"--user-data-dir={self._profile}"]
            if os.geteuid() == 0:
                flags.append("--no-sandbox")  # Chromium refuses its sandbox to root; the pages are our own
            self._process = subprocess.Popen(
                [self._binary, *flags, "about:blank"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            opened.callback(self._end)
            self._socket = opened.enter_context(connect(self._address(), max_size=64_000_000, open_timeout=_START_S))
            target = self.send("Target.createTarget", url="about:blank")["targetId"]
            self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Network", "Log"):
                self.send(f"{domain}.enable")
            self._opened = opened.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def _end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _address(self) -> str:
        port_file = self._profile / "DevToolsActivePort"
        end = time.monotonic() + _START_S
        while time.monotonic() < end:
            assert self._process.poll() is None, "Chromium ended at once"
            lines = port_file.read_text().split() if port_file.exists() else []
            if len(lines) == 2:
                return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
            _PAUSE.wait(0.02)
        raise AssertionError("Chromium did not open its DevTools port")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its result; what happens meanwhile is noted."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while True:
            answer = json.loads(self._socket.recv(timeout=_ANSWER_S))
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer.get('error')}"
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        parameters = event.get("params", {})
        match event.get("method"):
            case "Network.requestWillBeSent":
                self.requests.append(parameters["request"]["url"])
            case "Log.entryAdded":
                self.console.append(parameters["entry"]["text"])
            case "Runtime.exceptionThrown":
                self.console.append(str(parameters["exceptionDetails"]))

    def evaluate(self, script: str) -> Any:
        """Value of an expression in the page."""
        answer = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def open(self, url: str) -> None:
        """Go to a page and wait until it is there."""
        self.send("Page.navigate", url=url)
        self.until(f"document.readyState === 'complete' && location.href.startsWith({json.dumps(url.split('#')[0])})")

    def until(self, condition: str, timeout_s: float = 15.0) -> Any:
        """Wait until an expression is true in the page; its value."""
        end = time.monotonic() + timeout_s
        while True:
            answer = self.send("Runtime.evaluate", expression=condition, returnByValue=True)
            value = answer["result"].get("value")
            if value and "exceptionDetails" not in answer:
                return value
            assert time.monotonic() < end, f"not in time: {condition}; page: {self.evaluate('document.body.innerText')}"
            _PAUSE.wait(0.01)

    def click(self, selector: str) -> None:
        """Move to the first element and click in its middle, as a mouse does."""
        for _ in range(2):  # what moves until the pointer is there is looked for again
            x, y = self.evaluate(
                f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
                "e.scrollIntoView({block: 'center'}); const r = e.getBoundingClientRect();"
                "return [r.x + r.width / 2, r.y + r.height / 2]; })()"
            )
            self.send("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def write(self, selector: str, text: str) -> None:
        """Put text into a field as a keyboard does."""
        self.evaluate(f"document.querySelector({json.dumps(selector)}).select()")
        self.send("Input.insertText", text=text)

    def press(self, key: str) -> None:
        """Press a key; a letter arrives as text too."""
        codes = {"Enter": 13, "Tab": 9}
        text = {"Enter": "\r", "Tab": ""}.get(key, key)
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, text=text, windowsVirtualKeyCode=codes.get(key, 0))
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=codes.get(key, 0))

    def look(self, *, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Set the size of the window and the colour scheme that the system prefers."""
        self.send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, path: Path, *, whole: bool = True) -> None:
        """Write a PNG of the page."""
        answer = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(answer["data"]))
