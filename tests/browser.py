"""Headless Chromium, driven over its DevTools protocol through a pair of pipes.

https://chromedevtools.github.io/devtools-protocol/; `apt-get install chromium` on Debian.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

CHROMIUM = shutil.which("chromium")
TIMEOUT_S = 30.0
OPTIONS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
    "--hide-scrollbars", "--remote-debugging-pipe",
)  # fmt: skip
KEYS = {"Tab": 9, "Enter": 13, " ": 32}
# Chromium's answer about a page that made way for another one meanwhile.
NAVIGATED = "Inspected target navigated or closed"


class Navigated(Exception):
    """The page that was asked is no longer there."""


class Browser:
    """One page; `events` holds Chromium's events: requests, console, exceptions, file choosers.

    Args:
        options: Chromium's options, besides OPTIONS.
    """

    def __init__(self, profile: Path, *options: str) -> None:
        assert CHROMIUM is not None
        commands, self._commands = os.pipe()
        self._messages, messages = os.pipe()

        def at_3_and_4() -> None:  # where --remote-debugging-pipe reads and writes
            for number, end in enumerate([os.dup(commands), os.dup(messages)], 3):
                os.dup2(end, number)

        self._process = subprocess.Popen(
            [CHROMIUM, *OPTIONS, *options, f"--user-data-dir={profile}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            preexec_fn=at_3_and_4, pass_fds=(3, 4),
        )  # fmt: skip
        os.close(commands)
        os.close(messages)
        self._buffer = b""
        self._number = 0
        self._session: str | None = None
        self.events: list[dict[str, Any]] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.call(f"{domain}.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._process.terminate()
        self._process.wait(TIMEOUT_S)
        os.close(self._commands)
        os.close(self._messages)

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """The result of a command."""
        self._number += 1
        command = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            command["sessionId"] = self._session
        os.write(self._commands, json.dumps(command).encode() + b"\0")
        while True:
            message = self._next()
            if message.get("id") == self._number:
                if message.get("error", {}).get("message") == NAVIGATED:
                    raise Navigated
                assert "error" not in message, (method, message)
                result: dict[str, Any] = message["result"]
                return result
            self.events.append(message)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            assert select.select([self._messages], [], [], TIMEOUT_S)[0], "Chromium does not answer"
            data = os.read(self._messages, 1 << 20)
            assert data, "Chromium has ended"
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        return message

    def open(self, url: str, width: int = 1280, height: int = 800, dark: bool = False) -> None:
        """Load a page in a window of this width in pixels; below 500 it is a phone's."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 500,
        )  # fmt: skip
        self.call("Emulation.setTouchEmulationEnabled", enabled=width < 500)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.events.clear()
        self.call("Page.navigate", url=url)
        self.wait_for("document.readyState === 'complete' && location.href !== 'about:blank'")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; of a promise, the value that it resolves to."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until an expression is true, of this page or the one that comes after it."""
        deadline = time.monotonic() + TIMEOUT_S
        while not self._is_true(expression):
            assert time.monotonic() < deadline, f"{expression}: {self.evaluate('document.body.innerText')}"
            time.sleep(0.02)

    def _is_true(self, expression: str) -> bool:
        try:
            return bool(self.evaluate(expression))
        except Navigated:
            return False

    def press(self, key: str) -> None:
        """Press a key of KEYS."""
        text = {"Enter": "\r", " ": " "}.get(key, "")
        code = {"key": key, "code": key.replace(" ", "Space"), "windowsVirtualKeyCode": KEYS[key]}
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **code)
        self.call("Input.dispatchKeyEvent", type="keyUp", **code)

    def drop(self, files: list[Path], x: int, y: int) -> None:
        """Drag files from outside to a point of the page and drop them."""
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def told(self, *methods: str) -> list[dict[str, Any]]:
        """The parameters of the events of these kinds, since the page was opened."""
        self.evaluate("0")  # reads the events so far
        return [event["params"] for event in self.events if event["method"] in methods]

    def complaints(self) -> list[dict[str, Any]]:
        """What a developer would see in red: exceptions, console lines, refused and failed requests."""
        return self.told("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded")

    def requests(self) -> list[str]:
        """The addresses that the page requested, including its own."""
        found = [event["request"]["url"] for event in self.told("Network.requestWillBeSent")]
        return [url for url in found if not url.startswith(("data:", "blob:"))]

    def screenshot(self, file: Path) -> None:
        """The whole page as a PNG."""
        picture = self.call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        file.write_bytes(base64.b64decode(picture))
