"""A headless Chromium on a pipe (Chrome DevTools Protocol): opens a page, waits for it, reads it, takes its picture.

Uses whatever Chromium or Chrome is on the PATH and installs none.
"""

import base64
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MISSING = f"no Chromium is on the PATH (one of {', '.join(NAMES)}); on Debian: apt-get install chromium"
_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--hide-scrollbars",
    "--no-first-run",
    "--disable-dev-shm-usage",
)
_PIPED = ("--remote-debugging-pipe", "about:blank")
_CLOSE_LIMIT_S = 20


def find() -> str | None:
    """The executable, if there is one."""
    return next((path for name in NAMES if (path := shutil.which(name)) is not None), None)


class Browser:
    """One browser with one page. Use as a context manager."""

    def __init__(self, executable: str, *flags: str) -> None:
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        commands_read, commands_write = os.pipe()
        answers_read, answers_write = os.pipe()

        def as_three_and_four() -> None:
            # Chromium reads commands from descriptor 3 and writes answers to 4; neither end may be overwritten first.
            ours = os.dup(commands_read), os.dup(answers_write)
            os.dup2(ours[0], 3)
            os.dup2(ours[1], 4)

        self._process = subprocess.Popen(
            [executable, *_FLAGS, *flags, f"--user-data-dir={self._profile.name}", *_PIPED],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            close_fds=False,
            preexec_fn=as_three_and_four,
        )
        os.close(commands_read)
        os.close(answers_write)
        self._commands, self._answers = commands_write, answers_read
        self._unread = b""
        self._last_id = 0
        self._loaded = False
        self._session: str | None = None
        self.problems: list[str] = []
        """What the page logged as an error, refusals by its content security policy among them."""
        self._asked: dict[str, str] = {}
        """What the page asked for, by the browser's id of the request."""
        self._answered: list[tuple[str, int]] = []
        """Such an id, and the status; the one may be known before the other."""
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    def open(self, url: str, width: int, height: int, *, dark: bool = False) -> None:
        """Shows a page in a window of this size."""
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])
        self._loaded = False
        self._call("Page.navigate", url=url)
        while not self._loaded:
            self._note(self._next())

    def wait_for(self, expression: str) -> None:
        """Until an expression of the page is true."""
        promise = (
            f"new Promise(done => {{ const look = () => ({expression}) ? done(true) : setTimeout(look, 30); look(); }})"
        )
        self.read(promise)

    def read(self, expression: str) -> Any:
        """The value of an expression of the page."""
        answer = self._call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def answers(self, origin: str, count: int) -> list[int]:
        """The status of so many answers of an origin, also of those that the page was not given."""

        def found() -> list[int]:
            return [status for asked, status in self._answered if self._asked.get(asked, "").startswith(origin)]

        while len(found()) < count:
            self._note(self._next())
        return found()

    def picture(self, *, whole: bool = False) -> bytes:
        """A PNG of the window, or of the whole page."""
        clip: dict[str, Any] = {}
        if whole:
            height = self.read("document.documentElement.scrollHeight")
            width = self.read("document.documentElement.clientWidth")
            clip = {
                "captureBeyondViewport": True,
                "clip": {"x": 0, "y": 0, "width": width, "height": height, "scale": 1},
            }
        return base64.b64decode(self._call("Page.captureScreenshot", format="png", **clip)["data"])

    def _call(self, method: str, **parameters: Any) -> Any:
        self._last_id += 1
        message: dict[str, Any] = {"id": self._last_id, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._last_id:
                assert "error" not in answer, answer
                return answer["result"]
            self._note(answer)

    def _note(self, event: dict[str, Any]) -> None:
        self._loaded |= event.get("method") == "Page.loadEventFired"
        if event.get("method") == "Log.entryAdded" and event["params"]["entry"]["level"] == "error":
            self.problems.append(event["params"]["entry"]["text"])
        if event.get("method") == "Network.responseReceivedExtraInfo":
            self._answered.append((event["params"]["requestId"], event["params"]["statusCode"]))
        if event.get("method") == "Network.requestWillBeSent":
            self._asked[event["params"]["requestId"]] = event["params"]["request"]["url"]
        if event.get("method") == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(event["params"]["exceptionDetails"])[:500])

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            data = os.read(self._answers, 1 << 20)
            assert data, "Chromium has ended"
            self._unread += data
        line, _, self._unread = self._unread.partition(b"\0")
        return json.loads(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session = None
        try:
            os.write(self._commands, json.dumps({"id": 0, "method": "Browser.close"}).encode() + b"\0")
            self._process.wait(_CLOSE_LIMIT_S)  # all its processes are gone then, and nobody writes to the profile
        except (subprocess.TimeoutExpired, BrokenPipeError):
            self._process.kill()
            self._process.wait()
        os.close(self._commands)
        os.close(self._answers)
        self._profile.cleanup()


def save(png: bytes, path: Path) -> None:
    """Writes a picture with 256 colours, which a page of flat colours does not show."""
    import io

    from PIL import Image

    image = Image.open(io.BytesIO(png)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    image.save(path, optimize=True)
