"""A real, headless Chromium, told what to do over its debugging pipe: mouse, keys, pictures."""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for name in NAMES if (path := shutil.which(name))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
SECONDS = 60.0
KEYS = {
    "Enter": 13,
    "Tab": 9,
    "Escape": 27,
    "ArrowRight": 39,
    "ArrowLeft": 37,
    "ArrowUp": 38,
    "ArrowDown": 40,
}


class Browser:
    """One browser with one page; a context manager.

    Attributes:
        console: what the page wrote to its console, and what it did not catch.
    """

    def __init__(self) -> None:
        assert CHROMIUM is not None
        self.console: list[str] = []
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        theirs_in, self._out = os.pipe()
        self._in, theirs_out = os.pipe()

        def pipes() -> None:  # Chromium reads from 3 and writes to 4
            reading, writing = os.dup(theirs_in), os.dup(theirs_out)
            while reading in (3, 4) or writing in (3, 4):
                reading, writing = os.dup(reading), os.dup(writing)
            os.dup2(reading, 3)
            os.dup2(writing, 4)

        switches = (
            "headless no-sandbox disable-gpu no-first-run disable-background-networking hide-scrollbars"
        )
        switches += " disable-component-update disable-sync remote-debugging-pipe"
        self._process = subprocess.Popen(
            [
                CHROMIUM,
                *(f"--{s}" for s in switches.split()),
                f"--user-data-dir={self._profile.name}",
                "about:blank",
            ],
            preexec_fn=pipes,
            close_fds=False,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._buffer, self._number, self._session = b"", 0, None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._in)
        os.close(self._out)
        self._profile.cleanup()

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Say one command of the DevTools protocol, and wait for its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self._note(answer)

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + SECONDS
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"no word from the browser for {SECONDS:g} seconds"
            read = os.read(self._in, 1 << 20)
            assert read, "the browser has gone"
            self._buffer += read
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get("params", {})
        if event["method"] == "Runtime.consoleAPICalled":
            self.console.append(" ".join(str(a.get("value", a)) for a in params["args"]))
        elif event["method"] == "Runtime.exceptionThrown":
            self.console.append(str(params["exceptionDetails"]))
        elif event["method"] == "Log.entryAdded":
            self.console.append(params["entry"]["text"])

    def open(self, page: Path, width: int = 1200, height: int = 900, dark: bool = False) -> None:
        """Show a file, in a window of that size, to a reader who likes dark colours or not."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=page.as_uri())
        end = time.monotonic() + SECONDS
        while not self.run("document.documentElement?.dataset.ready === 'true'"):
            assert time.monotonic() < end, f"the page did not get to its end: {self.console}"
            time.sleep(0.05)

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def middle(self, element: str) -> tuple[float, float]:
        """Scroll an element (an expression) into sight; where its middle is."""
        script = """(async e => {
            e.scrollIntoView({block: "center", behavior: "instant"});
            // What scrolling brings with it comes before the next frame but one.
            for (let i = 0; i < 2; i++) await new Promise(requestAnimationFrame);
            const b = e.getBoundingClientRect();
            return [b.x + b.width / 2, b.y + b.height / 2];
        })"""
        x, y = self.run(f"{script}({element})")
        return x, y

    def move(self, x: float, y: float) -> None:
        """Move the mouse."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, element: str) -> None:
        """Click on an element (an expression)."""
        x, y = self.middle(element)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Press a key."""
        code = {"key": key, "code": key, "windowsVirtualKeyCode": KEYS[key]}
        text = {"text": "\r"} if key == "Enter" else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **code, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def picture(self, element: str | None = None, margin: float = 0.0) -> bytes:
        """A PNG of an element (an expression), or of the whole page."""
        box = self.run(
            f"(() => {{ const b = ({element or 'document.documentElement'}).getBoundingClientRect();"
            "return [b.x + scrollX, b.y + scrollY, b.width, b.height]; })()"
        )
        x, y, width, height = box
        clip = {
            "x": x - margin,
            "y": y - margin,
            "width": width + 2 * margin,
            "height": height + 2 * margin,
            "scale": 1,
        }
        shot = self.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
        return base64.b64decode(shot["data"])
