"""A Hugging Face hub on this machine with one model, which holds back the second half of the weights."""

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

COMMIT = "1" * 40
CHUNK = 1 << 20


@dataclass(slots=True)
class FakeHub:
    """Serves the files of `folder` as the model `repo`; after `released` is set, also the end of its largest one."""

    folder: Path
    repo: str
    released: threading.Event = field(default_factory=threading.Event)
    paths: list[str] = field(default_factory=list)
    _server: ThreadingHTTPServer = field(init=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: Any) -> None:
                pass

            def do_HEAD(self) -> None:
                hub.answer(self, body=False)

            def do_GET(self) -> None:
                hub.answer(self, body=True)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()

    def answer(self, handler: BaseHTTPRequestHandler, *, body: bool) -> None:
        path = unquote(urlsplit(handler.path).path)
        self.paths.append(f"{handler.command} {path}")
        files = {file.name: file for file in self.folder.iterdir() if file.is_file()}
        prefix, tree = f"/{self.repo}/resolve/", f"/api/models/{self.repo}/tree/"
        if path.startswith(prefix) and (file := files.get(path.rpartition("/")[2])):
            self._send_file(handler, file, body=body)
        elif path.startswith(tree):
            listed = [
                {"type": "file", "oid": "0" * 40, "size": file.stat().st_size, "path": name}
                for name, file in files.items()
            ]
            self._send_json(handler, 200, listed, body=body)
        elif path.startswith(f"/api/models/{self.repo}"):
            siblings = [{"rfilename": name} for name in files]
            info = {
                "_id": "0",
                "id": self.repo,
                "modelId": self.repo,
                "sha": COMMIT,
                "siblings": siblings,
                "private": False,
                "tags": [],
            }
            self._send_json(handler, 200, info, body=body)
        else:
            self._send_json(
                handler, 404, {"error": "Entry not found"}, body=body, headers={"X-Error-Code": "EntryNotFound"}
            )

    def _send_json(
        self,
        handler: BaseHTTPRequestHandler,
        status: int,
        value: object,
        *,
        body: bool,
        headers: dict[str, str] | None = None,
    ) -> None:
        data = json.dumps(value).encode()
        handler.send_response(status)
        for name, text in {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            handler.send_header(name, text)
        handler.end_headers()
        if body:
            handler.wfile.write(data)

    def _send_file(self, handler: BaseHTTPRequestHandler, file: Path, *, body: bool) -> None:
        size = file.stat().st_size
        asked = handler.headers.get("Range")
        first, _, last = (asked or "bytes=0-").removeprefix("bytes=").partition("-")
        begin, end = int(first), min(int(last) + 1, size) if last else size
        handler.send_response(206 if asked else 200)
        etag = hashlib.sha256(file.name.encode()).hexdigest()
        for name, text in (
            ("X-Repo-Commit", COMMIT),
            ("ETag", f'"{etag}"'),
            ("Content-Length", str(end - begin)),
            ("Accept-Ranges", "bytes"),
            *([("Content-Range", f"bytes {begin}-{end - 1}/{size}")] if asked else []),
        ):
            handler.send_header(name, text)
        handler.end_headers()
        if not body:
            return
        with file.open("rb") as source:
            source.seek(begin)
            while data := source.read(min(CHUNK, end - source.tell())):
                if source.tell() > size // 2 > 10 * CHUNK:
                    self.released.wait(120)
                handler.wfile.write(data)
