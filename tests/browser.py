"""Headless Chromium for the tests that need a browser.

They are skipped where it is not installed, unless the environment has REQUIRE_BROWSER=1: then they fail.
"""

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest


def browse(page: Path, budget: int = 5000, window: str = "1200,900") -> str:
    """The document that Chromium makes of a file, after its scripts have run.

    budget: virtual milliseconds for the scripts; window: width and height in pixels.
    """
    return subprocess.run([*command(page.parent / "profile"), f"--window-size={window}",
                           f"--virtual-time-budget={budget}", "--dump-dom", page.as_uri()],
                          capture_output=True, text=True, timeout=180).stdout


def command(profile: Path) -> list[str]:
    """Chromium without a window, with its own profile folder."""
    chromium = shutil.which("chromium")
    if chromium is None:
        if os.environ.get("REQUIRE_BROWSER") == "1":
            pytest.fail("REQUIRE_BROWSER=1, but chromium is not installed")
        pytest.skip("chromium is not installed")
    return [chromium, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
            "--allow-file-access-from-files", f"--user-data-dir={profile}"]


class Tab:
    """One tab in Chromium, driven over a pipe by the DevTools protocol: real mouse and key events, and pictures.

    Leave the `with` block to end the browser.
    """

    def __init__(self, profile: Path) -> None:
        program = [*command(profile), "--remote-debugging-pipe", "about:blank"]
        import fcntl  # after Windows has skipped the test

        read, theirs_out = os.pipe()
        theirs_in, write = os.pipe()

        def rename() -> None:  # the descriptors that Chromium expects, in the child
            os.dup2(fcntl.fcntl(theirs_in, fcntl.F_DUPFD, 10), 3)
            os.dup2(fcntl.fcntl(theirs_out, fcntl.F_DUPFD, 10), 4)

        self.process = subprocess.Popen(program, close_fds=False, preexec_fn=rename, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        os.close(theirs_in)
        os.close(theirs_out)
        self.pipes = os.fdopen(read, "rb"), os.fdopen(write, "wb", buffering=0)
        self.left, self.number, self.session, self.events = b"", 0, "", list[dict[str, Any]]()
        target = next(one for one in self.send("Target.getTargets")["targetInfos"] if one["type"] == "page")
        self.session = self.send("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def open(self, page: Path, size: tuple[int, int] = (1200, 900)) -> None:
        """Load a page, in the light theme, and forget the events before it.  size: width and height in CSS pixels."""
        self.events.clear()
        self.send("Emulation.setDeviceMetricsOverride", width=size[0], height=size[1], deviceScaleFactor=1,
                  mobile=size[0] < 500)
        self.theme("light")
        self.send("Page.navigate", url=page.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.receive()

    def __enter__(self) -> "Tab":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in self.pipes:
            pipe.close()

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to one command of the protocol."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        message |= {"sessionId": self.session} if self.session else {}
        self.pipes[1].write(json.dumps(message).encode() + b"\0")
        while (answer := self.receive()).get("id") != self.number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def theme(self, name: str) -> None:
        """name: light or dark."""
        self.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def receive(self) -> dict[str, Any]:
        """The next message; events are kept."""
        while b"\0" not in self.left:
            part = os.read(self.pipes[0].fileno(), 1 << 20)
            assert part, "Chromium has ended"
            self.left += part
        message, _, self.left = self.left.partition(b"\0")
        read = json.loads(message)
        if "method" in read:
            self.events.append(read)
        return read

    def run(self, expression: str) -> Any:
        """The value of an expression, a promise's value included."""
        answer = self.send("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def mouse(self, kind: str, x: float, y: float) -> None:
        """kind: mousePressed, mouseMoved or mouseReleased, with the left button."""
        self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)

    def key(self, key: str) -> None:
        """Press and release one key by its name."""
        codes = {"Tab": 9, "Enter": 13, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Home": 36}
        text = {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            self.send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=codes[key],
                      **(text if kind == "keyDown" else {}))

    def picture(self, path: Path, height: int | None = None) -> None:
        """The page as a PNG: the whole of it, or its first rows."""
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        data = self.send("Page.captureScreenshot", captureBeyondViewport=True, clip={
            "x": 0, "y": 0, "width": size["width"], "height": height or size["height"], "scale": 1})["data"]
        path.write_bytes(base64.b64decode(data))
