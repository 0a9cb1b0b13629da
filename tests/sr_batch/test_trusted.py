"""What a person with a hundred thousand photos relies on: nothing is lost, nothing else is touched, nothing grows."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import shutil
import struct
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sr_batch.events import Summary
from sr_batch.folders import JOURNAL, Job, Naming, PhotoJob, find_jobs
from sr_batch.journal import open_journals
from sr_batch.photos import PhotoFormat
from sr_batch.pipeline import Settings, run_batch
from tests.conftest import random_pixels
from tests.sr_batch.conftest import Command, totals
from tests.sr_batch.stubs import repeat_4x
from tests.sr_batch.test_pipeline import Recorder

SETTINGS = Settings(scale=4, tile=64, halo=4)


def _encoded(kind: str, seed: int, side: int = 24) -> bytes:
    file = io.BytesIO()
    Image.fromarray(random_pixels(side, side, seed)).save(file, kind)
    return file.getvalue()


def _truncated(kind: str) -> Callable[[int], bytes]:
    """At a random place, in a picture whose pixels are not over by then."""

    def make(seed: int) -> bytes:
        whole = _encoded(kind, seed, 96)
        return whole[: int(len(whole) * np.random.default_rng(seed).uniform(0.3, 0.7))]

    return make


def _png(width: int, height: int, pixels: bytes) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def _zip(_seed: int) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.txt", "text")
    return file.getvalue()


def _overwritten(seed: int) -> bytes:
    """A PNG with 200 bytes of its pixels replaced, as a failing disk does."""
    whole = bytearray(_encoded("PNG", seed, 96))
    middle = len(whole) // 2
    whole[middle : middle + 200] = np.random.default_rng(seed).bytes(200)
    return bytes(whole)


CONTENTS: dict[str, Callable[[int], bytes]] = {
    "empty.png": lambda _: b"",
    "text.jpg": lambda _: b"this is not a photo\n",
    "page.jpg": lambda _: b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
    "archive.png": _zip,
    "pickle.webp": lambda _: pickle.dumps({"a": 1}),
    "video.jpg": lambda _: b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41" + bytes(64),
    "zeros.jpg": lambda _: bytes(5000),
    "noise.png": lambda seed: np.random.default_rng(seed).bytes(3000),
    "truncated.jpg": _truncated("JPEG"),
    "truncated.png": _truncated("PNG"),
    "truncated.webp": _truncated("WEBP"),
    "truncated.tif": _truncated("TIFF"),
    "truncated.gif": _truncated("GIF"),
    "truncated.avif": _truncated("AVIF"),
    "header only.png": lambda seed: _encoded("PNG", seed)[:33],
    "overwritten.png": _overwritten,
    "bomb.png": lambda _: _png(60000, 60000, zlib.compress(bytes(10**6))),
    "no width.png": lambda _: _png(0, 10, zlib.compress(b"")),
    "short.png": lambda _: _png(100, 100, zlib.compress(bytes(100))),
}


def _broken_folder(folder: Path) -> set[str]:
    """Files and other things that are broken in all these ways; their names."""
    folder.mkdir(parents=True)
    for seed, (name, make) in enumerate(CONTENTS.items()):
        (folder / name).write_bytes(make(seed))
    (folder / "folder.jpg").mkdir()
    (folder / "dangling.png").symlink_to("nowhere.png")
    (folder / "circle.png").symlink_to("circle.png")
    names = {*CONTENTS, "folder.jpg", "dangling.png", "circle.png"}
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "pipe.png")
        names.add("pipe.png")
    return names


@pytest.mark.slow
def test_twenty_broken_photos_among_a_thousand_are_named_and_all_others_are_done(
    sr_batch: Command, tmp_path: Path
) -> None:
    bad = _broken_folder(tmp_path / "p" / "bad")
    assert len(bad) >= 20
    contents = [(kind, _encoded(kind, seed, 8 + seed)) for kind in ("PNG", "JPEG", "WEBP") for seed in range(5)]
    good = 1000 - len(bad)
    for number in range(good):
        kind, content = contents[number % len(contents)]
        path = tmp_path / "p" / str(number % 7) / f"{number}.{kind.lower()}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    (tmp_path / "p" / "0" / "misnamed.jpg").write_bytes(contents[0][1])  # a PNG: what is in it counts
    code, _, err = sr_batch(tmp_path / "p")
    assert code == 1
    assert totals(err).items() >= {"done": str(good + 1), "failed": str(len(bad))}.items(), err[-2000:]
    failed = dict(line.removeprefix("failed: ").rsplit("/", 1)[1].split(": ", 1) for line in err.splitlines()
        if line.startswith("failed: "))  # fmt: skip
    assert failed.keys() == bad
    assert all(len(reason) > 10 and "Error" not in reason and "unexpected" not in reason for reason in failed.values())
    results = [path for path in (tmp_path / "p_x4").rglob("*") if path.is_file() and path.name != JOURNAL]
    assert len(results) == good + 1
    for path in results[::50]:
        with Image.open(path) as image:
            image.load()
    code, _, err = sr_batch(tmp_path / "p")
    assert code == 1
    assert totals(err).items() >= {"done": "0", "already done": str(good + 1), "failed": str(len(bad))}.items()


@pytest.fixture
def own_folder() -> Iterator[Path]:
    """A folder of a user who is not root: this process is that user meanwhile."""
    folder = Path(tempfile.mkdtemp())
    root = hasattr(os, "geteuid") and os.geteuid() == 0
    if root:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    yield folder
    if root:
        os.seteuid(0)
    shutil.rmtree(folder)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are others there")
def test_what_must_not_be_read_is_named_and_the_rest_is_done(own_folder: Path) -> None:
    jobs = _photos(own_folder / "p", ["a.png", "b.png", "secret/c.png"])
    jobs[0].source.chmod(0)
    (own_folder / "p" / "secret").chmod(0)
    work, summary = find_jobs([own_folder / "p"], Naming("_x4")), Summary()
    run_batch(work.photos(), repeat_4x, SETTINGS, Recorder(), summary)
    assert [path.name for path, _ in work.failures] == ["secret"]
    assert summary.done == 1
    assert [failure.source.name for failure in summary.failures] == ["a.png"]
    assert all("Permission denied" in reason for reason in (work.failures[0][1], summary.failures[0].reason))
    (own_folder / "p" / "secret").chmod(0o700)


def _photos(folder: Path, names: list[str]) -> list[PhotoJob]:
    """Photos with these names, to be done into the folder `out` beside theirs."""
    jobs = []
    for seed, name in enumerate(names):
        source = folder / name
        source.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random_pixels(8, 8, seed)).save(source, "PNG")
        out = folder.parent / "out"
        jobs.append(PhotoJob(source, out / name, PhotoFormat.PNG, root=out))
    return jobs


def _everything_in(folder: Path) -> dict[str, tuple[str, int]]:
    """Content and date of all that is in a folder, links as what they are."""
    found = {}
    for path in folder.rglob("*"):
        file = path.read_bytes() if path.is_file() else b""
        content = os.fsencode(path.readlink()) if path.is_symlink() else file
        digest = hashlib.sha256(content).hexdigest()
        found[str(path.relative_to(folder))] = (digest, path.lstat().st_mtime_ns)
    return found


def _run(jobs: list[PhotoJob], *, overwrite: bool = False) -> Summary:
    summary = Summary()
    with open_journals({job.root for job in jobs if job.root}, "a") as journals:
        run_batch(jobs, repeat_4x, Settings(4, 64, 4, overwrite=overwrite), Recorder(), summary, journals)
    return summary


@pytest.mark.parametrize("overwrite", [False, True])
def test_links_in_the_output_folder_lead_nothing_out_of_it(tmp_path: Path, overwrite: bool) -> None:
    jobs = _photos(tmp_path / "p", ["a.png", "sub/b.png", "deep/er/c.png", "d.png"])
    others = tmp_path / "others"
    others.mkdir()
    (others / "mine.png").write_bytes(b"mine")
    (others / ".0123456789ab.999999999.sr-partial.png").write_bytes(b"looks like a leftover of ours")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.png").symlink_to(others / "mine.png")
    (tmp_path / "out" / "sub").symlink_to(others)
    (tmp_path / "out" / "deep").symlink_to(others)
    (tmp_path / "out" / "d.png").symlink_to(jobs[3].source)
    before = _everything_in(others), _everything_in(tmp_path / "p")
    summary = _run(jobs, overwrite=overwrite)
    assert (_everything_in(others), _everything_in(tmp_path / "p")) == before
    assert [failure.source.name for failure in summary.failures] == ["b.png", "c.png"]
    assert all("a link that leads out of" in failure.reason for failure in summary.failures)
    assert (summary.done, summary.skipped) == ((2, 0) if overwrite else (0, 2))


def test_a_journal_that_is_a_link_is_not_written_through(tmp_path: Path) -> None:
    jobs = _photos(tmp_path / "p", ["a.png"])
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / JOURNAL).symlink_to(jobs[0].source)
    before = _everything_in(tmp_path / "p")
    assert _run(jobs).done == 1
    assert _everything_in(tmp_path / "p") == before


@pytest.mark.parametrize("name", ["-n.png", "$(touch x).png", "a;b.png", "..png", "...png", "a\\b.png", "%s%n.png",
    "a\x1b[31m.png", "con.png", " .png", "é\udce9.png"])  # fmt: skip
def test_names_are_only_names(tmp_path: Path, name: str) -> None:
    (job,) = _photos(tmp_path / "p", [name])
    before = _everything_in(tmp_path / "p")
    found: list[Job] = list(find_jobs([tmp_path / "p"], Naming("_x4", tmp_path / "out"))) if name[0] != "." else [job]
    assert [each.target.parent for each in found] == [tmp_path / "out"]
    assert _run([each for each in found if isinstance(each, PhotoJob)]).done == 1
    assert _everything_in(tmp_path / "p") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "p"]


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_memory_does_not_grow_over_two_thousand_photos(tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    for number in range(2000):
        path = tmp_path / "p" / str(number % 10) / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        side = 16 + number % 24
        Image.fromarray(noise.integers(0, 256, (side, side, 3), np.uint8)).save(path)
    at: dict[int, int] = {}

    class Watched(Recorder):
        def finished(self, _job: Job, _done: object) -> None:
            self.pixels += 1
            if self.pixels in (200, 2000):
                at[self.pixels] = _resident_bytes()

        def started(self, job: Job, _size: object) -> None:
            """Nothing is kept."""

        def advanced(self, pixels: int) -> None:
            """Photos are counted."""

    work, summary = find_jobs([tmp_path / "p"], Naming("_x4")), Summary()
    with open_journals(work.roots, "a") as journals:
        run_batch(work.photos(), repeat_4x, SETTINGS, Watched(), summary, journals)
    assert (summary.done, summary.failures) == (2000, [])
    assert at[2000] - at[200] < 50e6
