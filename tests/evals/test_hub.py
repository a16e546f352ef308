"""The hub over HTTP: which commit a task gets. A small server speaks the hub's protocol."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytestmark = pytest.mark.process
COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "README.md": b"---\nlicense: mit\n---\n# Own\n",
    "test.jsonl": b'{"problem": "What is 6 x 7?", "solution": "So \\\\boxed{42}."}\n',
}


class Hub(ThreadingHTTPServer):
    """A hub with the data set own/set, at one commit."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def _send(self, content: object, *, code: int = 200, **headers: str) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(code)
        known = {
            "X-Repo-Commit": COMMIT,
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
        }
        for name, value in (known | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if "/resolve/" in path:
            content = FILES.get(path.rpartition("/")[2])
            if content is None:
                return self._send({}, code=404, **{"X-Error-Code": "EntryNotFound"})
            return self._send(content, ETag=f'"{hashlib.sha1(content).hexdigest()}"')
        if "/tree/" in path:
            return self._send(
                [
                    {
                        "type": "file",
                        "path": name,
                        "size": len(content),
                        "oid": hashlib.sha1(content).hexdigest(),
                    }
                    for name, content in FILES.items()
                ]
            )
        return self._send(
            {
                "id": "own/set",
                "sha": COMMIT,
                "siblings": [{"rfilename": name} for name in FILES],
            }
        )

    do_HEAD = do_GET  # noqa: N815


@pytest.fixture
def hub() -> Iterator[Hub]:
    server = Hub()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def said(hub: Hub, folder: Path, code: str, **more: str) -> str:
    """What Python code prints that takes the server for the hub."""
    known = {
        "HF_HOME": str(folder / "hf"),
        "HF_ENDPOINT": f"http://127.0.0.1:{hub.server_port}",
        "HF_TOKEN": "hf_own",
        "HF_HUB_OFFLINE": "0",
    }
    line, environment = (
        [sys.executable, "-W", "ignore", "-c", code],
        os.environ | known | more,
    )
    ended = subprocess.run(line, capture_output=True, text=True, env=environment)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


def test_a_run_records_the_commit_that_it_got_also_from_the_cache(
    hub: Hub, tmp_path: Path
) -> None:
    code = (
        "from reasoner.registry import build;"
        "d = build('task', 'hf:own/set,columns=[question:problem,answer:solution]').load();"
        "print(d.source.origin, d.items[0].gold)"
    )
    assert said(hub, tmp_path, code) == f"hub own/set test @ {COMMIT} 42"
    assert (
        said(hub, tmp_path, code, HF_HUB_OFFLINE="1")
        == f"hub own/set test @ {COMMIT} 42"
    )
