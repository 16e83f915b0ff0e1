"""Package indexes over HTTP, each a folder of wheels of its own, which remember who asked them for what."""

from __future__ import annotations

import base64
import hashlib
import http.server
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest


@dataclass
class IndexServer:
    """A running index.

    Attributes:
        url: of its simple API, without credentials.
        asked: every path that it was asked for, with the credentials that came along.
        redirects: where a path leads instead of to a file.
        password: what ``user:password`` it wants, None for none.
        announce: whether its pages carry digests.
    """

    url: str
    asked: list[tuple[str, str]] = field(default_factory=list)
    redirects: dict[str, str] = field(default_factory=dict)
    password: str | None = None
    announce: bool = True

    def with_credentials(self) -> str:
        return self.url.replace("://", f"://{self.password}@")


ServeWheels = Callable[[Sequence[Path]], IndexServer]


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServeWheels]:
    """Return a starter of indexes; uv's cache is this test's own, so that nothing is remembered."""
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    running: list[http.server.ThreadingHTTPServer] = []

    def start(wheels: Sequence[Path]) -> IndexServer:
        folder = tmp_path / f"index{len(running)}"
        folder.mkdir()
        for wheel in wheels:
            shutil.copy(wheel, folder)

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                given = self.headers.get("Authorization", "")
                decoded = base64.b64decode(given.removeprefix("Basic ")).decode() if given else ""
                state.asked.append((self.path, decoded))
                if state.password is not None and decoded != state.password:
                    self.answer(401, b"", ("WWW-Authenticate", 'Basic realm="index"'))
                elif self.path in state.redirects:
                    self.answer(302, b"", ("Location", state.redirects[self.path]))
                elif self.path.startswith("/simple/"):
                    self.page(self.path.strip("/").rpartition("/")[2])
                else:
                    file = folder / self.path.partition("?")[0].rpartition("/")[2]
                    self.answer(200 if file.is_file() else 404, file.read_bytes() if file.is_file() else b"")

            do_HEAD = do_GET

            def page(self, project: str) -> None:
                found = [f for f in sorted(folder.glob("*.whl")) if f.name.startswith(project.replace("-", "_") + "-")]
                links = []
                for file in found:
                    mark = f"#sha256={hashlib.sha256(file.read_bytes()).hexdigest()}" if state.announce else ""
                    links.append(f'<a href="/files/{file.name}{mark}">{file.name}</a>')
                self.answer(200 if found else 404, "\n".join(links).encode(), ("Content-Type", "text/html"))

            def answer(self, code: int, body: bytes, *headers: tuple[str, str]) -> None:
                self.send_response(code)
                for header in (*headers, ("Content-Length", str(len(body)))):
                    self.send_header(*header)
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                return

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        state = IndexServer(url=f"http://127.0.0.1:{server.server_port}/simple")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.append(server)
        return state

    yield start
    for server in running:
        server.shutdown()
        server.server_close()
