"""DIV2K from its home page: downloads that go on where they stopped, checked, unpacked.

The archives' SHA-256 are known for the HR pictures; for the LR pictures the ZIP's own checksums are what is checked,
unless the user names a list of SHA-256 (as sha256sum writes it).
"""

from __future__ import annotations

import hashlib
import http.client
import json
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

from sr_train.atomic_file import atomic_file
from sr_train.errors import DownloadError
from sr_train.record import write_text
from sr_train.state import save_safely

__all__ = ["ADDRESS", "DIV2K", "Archive", "fetch", "read_checksums"]

ADDRESS = "https://data.vision.ee.ethz.ch/cvl/DIV2K"
TIMEOUT_SECONDS = 60.0
CHUNK = 1 << 20  # bytes
DONE = "fetched.json"  # which archives have been unpacked, with their SHA-256


@dataclass(frozen=True)
class Archive:
    """A ZIP file to fetch."""

    name: str
    sha256: str | None = None  # None: not known


DIV2K = (
    Archive("DIV2K_train_HR.zip", "9d0b9c463f6e35b6c62cc6a930ee2224f670b34c1df841a57670f9acf0f6c335"),
    Archive("DIV2K_train_LR_bicubic_X4.zip"),
    Archive("DIV2K_valid_HR.zip", "20dd31fd84d777bc1cf5d6b7654a3f569c0aec74458ae094122ad1d0489900fc"),
    Archive("DIV2K_valid_LR_bicubic_X4.zip"),
)


def fetch(
    archives: tuple[Archive, ...],
    folder: Path,
    address: str,
    checksums: Mapping[str, str],
    say: Callable[[str], None],
    *,
    keep: bool = False,
) -> None:
    """Download and unpack what is not there yet into `folder`; `keep`: the archives too.

    `checksums` (SHA-256 by file name) go before the built-in ones. Raises DownloadError, SaveFailed; what was
    downloaded stays, and the same call goes on from there.
    """
    done = _read_done(folder / DONE)
    for archive in archives:
        if archive.name in done:
            say(f"{archive.name}: already there")
            continue
        target = folder / archive.name
        if not target.is_file():
            say(f"{archive.name}: downloading from {address}")
            save_safely(target, partial(_download, f"{address.rstrip('/')}/{archive.name}"))
        found = _sha256(target)
        wanted = checksums.get(archive.name, archive.sha256)
        if wanted is not None and found != wanted.lower():
            target.unlink()
            raise DownloadError(
                f"{archive.name}: its SHA-256 is {found} instead of {wanted}; it was removed, fetch it again"
            )
        say(f"{archive.name}: unpacking")
        _unpack(target, folder)
        done[archive.name] = found
        save_safely(folder / DONE, lambda path: write_text(path, json.dumps(done, indent=1)))
        if not keep:
            target.unlink()


def read_checksums(path: Path) -> dict[str, str]:
    """SHA-256 by file name, from a list as sha256sum writes it. Raises DownloadError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        pairs = [line.split(maxsplit=1) for line in lines if line.strip()]
        return {name.lstrip("*"): checksum for checksum, name in pairs}
    except (OSError, ValueError) as error:
        raise DownloadError(f"{path}: is not a list of SHA-256 and file names ({error}); check the file") from error


def _read_done(path: Path) -> dict[str, str]:
    try:
        done: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return done


def _download(address: str, target: Path) -> None:
    """To `target`, by way of `target`.part, which a call that fails leaves for the next one. Raises OSError."""
    begun = target.with_name(target.name + ".part")
    have = begun.stat().st_size if begun.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            goes_on = answer.status == http.HTTPStatus.PARTIAL_CONTENT
            total = _total(answer.headers, have if goes_on else 0)
            with begun.open("ab" if goes_on else "wb") as file:
                while block := answer.read(CHUNK):
                    file.write(block)
    except urllib.error.HTTPError as error:
        if error.code != http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise DownloadError(f"{address}: the server answers {error.code} {error.reason}; check --url") from error
        total = have  # all of it is here already
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ValueError) as error:
        raise DownloadError(f"{address}: {error}; the same command goes on from what is here already") from error
    if total is not None and begun.stat().st_size != total:
        raise DownloadError(
            f"{address}: broke off after {begun.stat().st_size} of {total} bytes; the same command goes on from there"
        )
    begun.replace(target)


def _total(headers: Any, before: int) -> int | None:
    """Bytes of the whole file, if the server says so."""
    length = headers.get("Content-Length")
    return None if length is None else before + int(length)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unpack(path: Path, folder: Path) -> None:
    """Every file of a ZIP, atomically; what is there in full is not written again."""
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                inside = PurePosixPath(member.filename)
                if inside.is_absolute() or ".." in inside.parts:
                    raise DownloadError(f"{path}: names the file {member.filename}, outside its folder; do not use it")
                target = folder / inside
                if member.is_dir() or (target.is_file() and target.stat().st_size == member.file_size):
                    continue
                save_safely(target, partial(_write_member, archive, member))
    except (zipfile.BadZipFile, EOFError) as error:
        path.unlink()
        raise DownloadError(f"{path.name}: is damaged ({error}); it was removed, fetch it again") from error


def _write_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    with atomic_file(target) as unfinished, archive.open(member) as source, unfinished.open("wb") as file:
        while block := source.read(CHUNK):
            file.write(block)
