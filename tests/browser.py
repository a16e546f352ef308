"""A headless Chromium, driven through its DevTools protocol: what a page looks like, logs and asks the network for."""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from websockets.sync.client import ClientConnection, connect

from tests.waiting import PATIENCE

CHROMIUM = (
    shutil.which("chromium")
    or shutil.which("chromium-browser")
    or shutil.which("google-chrome")
)
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--remote-debugging-port=0",
)


class Page:
    """One page, and all that it logged and asked for since it was opened."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._number = 0
        self.logged: list[str] = []
        self.requested: list[str] = []
        self._loaded = False
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask for something, and take in what happens until it is answered."""
        self._number += 1
        self._connection.send(
            json.dumps({"id": self._number, "method": method, "params": params})
        )
        while True:
            told = json.loads(self._connection.recv(timeout=PATIENCE))
            if told.get("id") == self._number:
                if "error" in told:
                    raise RuntimeError(f"{method}: {told['error']}")
                result: dict[str, Any] = told["result"]
                return result
            self._note(told)

    def _note(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])
        elif method in {
            "Runtime.exceptionThrown",
            "Runtime.consoleAPICalled",
            "Log.entryAdded",
        }:
            self.logged.append(json.dumps(params))
        elif method == "Page.loadEventFired":
            self._loaded = True

    def open(
        self, file: Path | str, *, width: int, dark: bool = False, height: int = 900
    ) -> None:
        """Show a file or an address in a window this many CSS pixels wide."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.logged, self.requested, self._loaded = [], [], False
        self.call("Page.navigate", url=file if isinstance(file, str) else file.as_uri())
        self._load()

    def _load(self) -> None:
        while not self._loaded:
            self._note(json.loads(self._connection.recv(timeout=PATIENCE)))

    def follow(self, script: str) -> None:
        """Do what leads to another page, such as a click on a link, and wait until it is loaded."""
        self._loaded = False
        self.call("Runtime.evaluate", expression=script, userGesture=True)
        self._load()

    def value(self, script: str) -> Any:
        """What a JavaScript expression gives in the page, as JSON."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    def wait(self, script: str) -> None:
        """Wait until a JavaScript expression is true in the page."""
        look = (
            f"const look = () => ({script}) ? done(true) : setTimeout(look, 10); look()"
        )
        self.call(
            "Runtime.evaluate",
            expression=f"new Promise(done => {{ {look} }})",
            awaitPromise=True,
        )

    def press(self, key: str, *, control: bool = False) -> None:
        """Press and release a key, such as `Tab`, in the page."""
        code = {"Tab": 9, "Enter": 13}[key]
        typed = {
            "key": key,
            "code": key,
            "windowsVirtualKeyCode": code,
            "modifiers": 2 if control else 0,
        }
        for kind in ("rawKeyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, **typed)


@contextmanager
def browser() -> Iterator[Page]:
    """A tab of a browser of its own, which ends with it."""
    if CHROMIUM is None:
        raise RuntimeError("there is no chromium on this machine")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "about:blank"]
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            with connect(
                _page_address(process), max_size=None, open_timeout=PATIENCE
            ) as connection:
                yield Page(connection)
        finally:
            process.kill()
            process.wait()
            if process.stderr:
                process.stderr.close()


def _page_address(process: "subprocess.Popen[str]") -> str:
    """Where the first tab listens; the browser says its own address on standard error."""
    if process.stderr is None:
        raise RuntimeError("standard error is not read")
    for line in process.stderr:
        if "DevTools listening on " in line:
            address = line.rpartition(" ")[2].strip()
            break
    else:
        raise RuntimeError("chromium ended before it listened")
    with connect(address, max_size=None, open_timeout=PATIENCE) as connection:
        connection.send(json.dumps({"id": 1, "method": "Target.getTargets"}))
        targets = json.loads(connection.recv(timeout=PATIENCE))["result"]["targetInfos"]
    page = next(one["targetId"] for one in targets if one["type"] == "page")
    return f"{address.partition('/devtools/')[0]}/devtools/page/{page}"
