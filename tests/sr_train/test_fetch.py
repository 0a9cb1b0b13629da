"""Downloads against a server on this machine: resume, checksums, damage."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sr_train.errors import DownloadError
from sr_train.fetch import Archive, fetch, read_checksums


def _zip(names: list[str]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in names:
            archive.writestr(name, name * 5000)
    return file.getvalue()


class Server(ThreadingHTTPServer):
    """Serves `files`, with ranges; an answer breaks off after `limit` bytes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.limit = 10**9
        self.asked: list[str | None] = []  # the Range of each request

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Server)
        asked = self.headers.get("Range")
        server.asked.append(asked)
        if (data := server.files.get(self.path.lstrip("/"))) is None:
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        if asked and start >= len(data):
            self.send_error(416)
            return
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start : start + server.limit])

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _fetch(server: Server, folder: Path, sha256: str | None = None) -> list[str]:
    said: list[str] = []
    fetch((Archive("photos.zip", sha256),), folder, server.address, {}, said.append)
    return said


def test_archive_is_fetched_unpacked_and_not_fetched_again(server: Server, tmp_path: Path) -> None:
    server.files["photos.zip"] = data = _zip(["HR/0001.png", "HR/0002.png"])
    _fetch(server, tmp_path, hashlib.sha256(data).hexdigest())
    assert (tmp_path / "HR/0002.png").read_text() == "HR/0002.png" * 5000
    assert not list(tmp_path.glob("photos.zip*"))
    assert "already there" in _fetch(server, tmp_path)[0]
    assert len(server.asked) == 1


def test_download_that_broke_off_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.files["photos.zip"] = data = _zip(["HR/0001.png"])
    server.limit = 1000
    with pytest.raises(DownloadError, match="goes on from"):
        _fetch(server, tmp_path)
    begun = (tmp_path / "photos.zip.part").stat().st_size
    assert 0 < begun <= 1000
    server.limit = 10**9
    _fetch(server, tmp_path, hashlib.sha256(data).hexdigest())
    assert server.asked == [None, f"bytes={begun}-"]
    assert (tmp_path / "HR/0001.png").is_file()


def test_complete_part_is_used(server: Server, tmp_path: Path) -> None:
    server.files["photos.zip"] = data = _zip(["HR/0001.png"])
    (tmp_path / "photos.zip.part").write_bytes(data)
    _fetch(server, tmp_path)
    assert (tmp_path / "HR/0001.png").is_file()


def test_wrong_checksum_removes_the_file(server: Server, tmp_path: Path) -> None:
    server.files["photos.zip"] = _zip(["HR/0001.png"])
    with pytest.raises(DownloadError, match="SHA-256"):
        _fetch(server, tmp_path, "0" * 64)
    assert not list(tmp_path.iterdir())


def test_damaged_archive_is_an_error(server: Server, tmp_path: Path) -> None:
    server.files["photos.zip"] = _zip(["HR/0001.png"])[:-40]
    with pytest.raises(DownloadError, match="damaged"):
        _fetch(server, tmp_path)


def test_archive_that_leaves_its_folder_is_refused(server: Server, tmp_path: Path) -> None:
    server.files["photos.zip"] = _zip(["../outside.png"])
    with pytest.raises(DownloadError, match="outside its folder"):
        _fetch(server, tmp_path / "in")
    assert not (tmp_path / "outside.png").exists()


def test_missing_archive_names_the_option(server: Server, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"404.*--url"):
        _fetch(server, tmp_path)


def test_checksums_of_a_list_go_first(server: Server, tmp_path: Path) -> None:
    server.files["photos.zip"] = data = _zip(["HR/0001.png"])
    (tmp_path / "list").write_text(f"{hashlib.sha256(data).hexdigest()} *photos.zip\n")
    checksums = read_checksums(tmp_path / "list")
    fetch((Archive("photos.zip", "0" * 64),), tmp_path, server.address, checksums, lambda _: None)
    assert (tmp_path / "HR/0001.png").is_file()
