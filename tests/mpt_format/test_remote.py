"""Archives behind a URL, from a real HTTP server that knows ranges and from fsspec's memory."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import pytest
import torch
from mpt_format import (
    Archive,
    ArchiveContent,
    ArchiveNotFoundError,
    CorruptArchiveError,
    MissingExtraError,
    RemoteReadError,
    collect_state,
    open_archive,
    write_archive,
)


class RangeServer(ThreadingHTTPServer):
    """Serves bytes by path and counts what it sent."""

    files: dict[str, bytes]
    sent: int
    knows_ranges: bool

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{name}"


class Handler(BaseHTTPRequestHandler):
    server: RangeServer

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        data = self.server.files.get(self.path.lstrip("/"))
        if data is None:
            self.send_error(404)
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        part = data
        if asked and self.server.knows_ranges:
            first, last = int(asked[1]), min(int(asked[2]), len(data) - 1)
            part = data[first : last + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(part)))
        self.send_header("Accept-Ranges", "bytes" if self.server.knows_ranges else "none")
        self.end_headers()
        if body:
            self.server.sent += len(part)
            self.wfile.write(part)

    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def server() -> Iterator[RangeServer]:
    with RangeServer(("127.0.0.1", 0), Handler) as running:
        running.files, running.sent, running.knows_ranges = {}, 0, True
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MPT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def module() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(700, 700), torch.nn.BatchNorm1d(700))


@pytest.fixture
def data(module: torch.nn.Module, tmp_path: Path) -> bytes:
    content = ArchiveContent(
        state=collect_state(module), architecture={"kind": "x", "schema_version": 1, "config": {}}, game_rules={"a": 1}
    )
    return write_archive(tmp_path / "local.mpt", content).path.read_bytes()


def test_inspecting_reads_a_few_kilobytes_by_range(server: RangeServer, data: bytes) -> None:
    server.files["run.mpt"] = data
    with open_archive(server.url("run.mpt")) as archive:
        assert archive.size_bytes == len(data) > 1_900_000
        assert archive.architecture["kind"] == "x"
        assert archive.game_rules == {"a": 1}
        archive.verify("quick")
    assert server.sent <= 4 * 16_384


def test_loading_streams_to_the_cache_once(
    server: RangeServer, data: bytes, module: torch.nn.Module, cache: Path
) -> None:
    server.files["run.mpt"] = data
    for _ in range(2):
        with open_archive(server.url("run.mpt")) as archive:
            state = archive.read_state_dict()
        for name, tensor in module.state_dict().items():
            assert torch.equal(state[name], tensor)
    assert server.sent < 1.3 * len(data)
    (copy,) = cache.iterdir()
    assert copy.read_bytes() == data


def test_damage_on_the_way_is_seen_and_nothing_is_kept(server: RangeServer, data: bytes, cache: Path) -> None:
    damaged = bytearray(data)
    damaged[-5000] ^= 1
    server.files["run.mpt"] = bytes(damaged)
    with open_archive(server.url("run.mpt")) as archive, pytest.raises(CorruptArchiveError):
        archive.read_tensors()
    assert not list(cache.iterdir())


def test_what_is_not_there_is_not_found(server: RangeServer) -> None:
    with pytest.raises(ArchiveNotFoundError) as caught:
        open_archive(server.url("nothing.mpt"))
    assert caught.value.path == server.url("nothing.mpt")


def test_a_server_without_ranges_is_named(server: RangeServer, data: bytes) -> None:
    server.files["run.mpt"] = data
    server.knows_ranges = False
    with pytest.raises(RemoteReadError) as caught:
        open_archive(server.url("run.mpt"))
    assert not isinstance(caught.value, CorruptArchiveError)


def test_any_file_system_of_fsspec_will_do(data: bytes, module: torch.nn.Module) -> None:
    with fsspec.open("memory://bucket/run.mpt", "wb") as stream:
        stream.write(data)
    with open_archive("memory://bucket/run.mpt") as archive:
        assert isinstance(archive, Archive)
        archive.verify("full")
        assert torch.equal(archive.read_tensors()["0.weight"], module.state_dict()["0.weight"])


def test_an_unknown_scheme_is_refused() -> None:
    with pytest.raises((ArchiveNotFoundError, MissingExtraError)):
        open_archive("nonsense://x/run.mpt")
