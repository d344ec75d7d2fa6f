"""Headless Chromium on a pipe: open a page at a width and in a colour scheme, and tell what it did."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--remote-debugging-pipe",
)
PATIENCE = 300
"""Seconds for all that is done in one browser before it is given up; a page takes about one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What came of opening a page.

    Attributes:
        requests: what the browser asked for, the page itself not counted.
        said: what stands in its console.
        found: what the script returned.
        picture: the whole page as PNG.
    """

    requests: list[str]
    said: list[str]
    found: Any
    picture: bytes


class Browser:
    """A browser that answers commands of the DevTools protocol."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands = os.fdopen(commands, "wb")
        self._answers = os.fdopen(answers, "rb")
        self._number = 0
        self._rest = b""
        self._events: list[dict[str, Any]] = []
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def open(self, page: Path, *, width: int, scheme: str, script: str) -> Opened:
        """Open a page and run a script in it."""
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self._call("Emulation.setEmulatedMedia", features=[feature])
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=width < 500
        )
        self._events.clear()
        self._call("Page.navigate", url=page.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self._events):
            self._events.append(self._next())
        found = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        picture = self._call("Page.captureScreenshot", captureBeyondViewport=True)["data"]
        told = [(event["method"], event["params"]) for event in self._events]
        asked = [params["request"]["url"] for method, params in told if method == "Network.requestWillBeSent"]
        return Opened(
            requests=[url for url in asked if url != page.as_uri()],
            said=[
                json.dumps(params)
                for method, params in told
                if method in ("Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded")
            ],
            found=found["result"].get("value"),
            picture=base64.b64decode(picture),
        )

    def _call(self, method: str, **params: object) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": params}
        if hasattr(self, "_session"):
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        self._commands.flush()
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self._events.append(answer)

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = self._answers.read1()
            if not more:
                raise RuntimeError("Chromium has ended")
            self._rest += more
        message, _, self._rest = self._rest.partition(b"\0")
        return json.loads(message)


def program() -> str | None:
    """Return the path of Chromium; None where there is none."""
    return next((path for path in map(shutil.which, NAMES) if path), None)


@contextmanager
def browser(path: str) -> Iterator[Browser]:
    """Start Chromium with a fresh profile, and end it."""
    commands, to_browser = os.pipe()
    from_browser, answers = os.pipe()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile, Path(os.devnull).open("wb") as nowhere:
        process = os.posix_spawn(
            path,
            [path, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, nowhere.fileno(), 2),
                (os.POSIX_SPAWN_DUP2, commands, 3),  # where the protocol says that Chromium listens
                (os.POSIX_SPAWN_DUP2, answers, 4),
            ],
            setpgroup=0,
        )
        os.close(commands)
        os.close(answers)
        signal.signal(signal.SIGALRM, lambda *_: os.killpg(process, signal.SIGKILL))
        signal.alarm(PATIENCE)
        try:
            yield Browser(to_browser, from_browser)
        finally:
            signal.alarm(0)
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
