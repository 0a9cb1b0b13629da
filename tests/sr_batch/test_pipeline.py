from __future__ import annotations

import gc
import os
import shutil
import threading
import time
import weakref
from collections.abc import Generator, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from sr_batch import pipeline
from sr_batch.events import Done, Failure, Summary
from sr_batch.folders import Job, PhotoJob
from sr_batch.photos import AlphaChoice, Photo, PhotoFormat, ReadOptions, Size, open_writer
from sr_batch.pipeline import Settings, run_batch
from sr_batch.upscale import Band, Guard, Stream
from sr_export.errors import EngineFailed
from tests.conftest import random_pixels
from tests.sr_batch.stubs import Pixels, enlarge, repeat_4x

SETTINGS = Settings(scale=4, tile=64, halo=4)


class Recorder:
    """Events as a list of words."""

    def __init__(self) -> None:
        self.log: list[tuple[str, str]] = []
        self.pixels = 0

    def started(self, job: Job, _size: Size) -> None:
        self.log.append(("started", job.source.name))

    def advanced(self, pixels: int) -> None:
        self.pixels += pixels

    def frame(self, job: Job, done: int, total: int) -> None:
        pass

    def drawn(self, job: PhotoJob, photo: Photo, band: Band) -> None:
        pass

    def finished(self, job: Job, _done: Done) -> None:
        self.log.append(("finished", job.source.name))

    def skipped(self, job: Job, _reason: str) -> None:
        self.log.append(("skipped", job.source.name))

    def failed(self, failure: Failure) -> None:
        self.log.append(("failed", failure.source.name))

    def of(self, kind: str) -> list[str]:
        return [name for what, name in self.log if what == kind]


def _jobs(folder: Path, *sizes: tuple[int, int], kind: PhotoFormat = PhotoFormat.PNG) -> list[PhotoJob]:
    jobs = []
    for index, (height, width) in enumerate(sizes):
        source = folder / f"{index}.png"
        Image.fromarray(random_pixels(height, width, index)).save(source)
        jobs.append(PhotoJob(source, folder / "out" / f"{index}{kind.suffixes[0]}", kind))
    return jobs


def _names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


def _pixels(path: Path) -> Pixels:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


@pytest.mark.parametrize(
    "settings", [SETTINGS, Settings(4, 64, 4, batch=3, load=3, save=3), Settings(4, 16, 4, save=1)]
)
def test_every_photo_comes_out_right_whatever_the_threads(tmp_path: Path, settings: Settings) -> None:
    jobs = _jobs(tmp_path, (90, 130), (1, 1), (200, 30), (64, 64), (5, 300))
    events, summary = Recorder(), Summary()
    run_batch(jobs, repeat_4x, settings, events, summary)
    for job in jobs:
        assert np.array_equal(_pixels(job.target), enlarge(_pixels(job.source)))
    assert (summary.done, summary.failures) == (5, [])
    assert summary.pixels == events.pixels == 90 * 130 + 1 + 200 * 30 + 64 * 64 + 5 * 300
    assert events.of("finished") == [job.source.name for job in jobs]
    assert _names(tmp_path / "out") == [f"{i}.png" for i in range(5)]


def test_what_is_there_is_not_done_again_unless_asked(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path, (20, 20), (20, 20))
    run_batch(jobs[:1], repeat_4x, SETTINGS, Recorder(), Summary())
    jobs[0].target.write_bytes(b"mine")
    events, summary = Recorder(), Summary()
    run_batch(jobs, repeat_4x, SETTINGS, events, summary)
    assert (summary.done, summary.skipped) == (1, 1)
    assert jobs[0].target.read_bytes() == b"mine"
    run_batch(jobs, repeat_4x, Settings(4, 64, 4, overwrite=True), events, summary)
    assert np.array_equal(_pixels(jobs[0].target), enlarge(_pixels(jobs[0].source)))


def test_broken_photos_are_named_and_the_rest_is_done(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path, *[(20, 20)] * 6)
    jobs[0].source.write_bytes(b"")
    jobs[2].source.write_bytes(jobs[2].source.read_bytes()[:300])
    jobs[5].source.unlink()
    events, summary = Recorder(), Summary()
    run_batch(jobs, repeat_4x, SETTINGS, events, summary)
    assert [failure.source.name for failure in summary.failures] == ["0.png", "2.png", "5.png"]
    assert all(failure.reason for failure in summary.failures)
    assert _names(tmp_path / "out") == ["1.png", "3.png", "4.png"]


def test_the_network_can_enlarge_the_transparency_too(tmp_path: Path) -> None:
    """Its edges are the network's then (here: blocks), and what is fully opaque or transparent stays exactly that."""
    alpha = np.zeros((40, 40), dtype=np.uint8)
    alpha[10:30, 10:30] = 255
    Image.fromarray(np.dstack([random_pixels(40, 40), alpha])).save(tmp_path / "a.png")
    job = PhotoJob(tmp_path / "a.png", tmp_path / "out.png", PhotoFormat.PNG)
    settings = Settings(4, 24, 4, alpha=AlphaChoice.MODEL)
    events = Recorder()
    run_batch([job], repeat_4x, settings, events, Summary())
    assert events.pixels == 40 * 40  # progress counts the photo once
    with Image.open(job.target) as image:
        assert np.array_equal(np.asarray(image.getchannel("A")), alpha.repeat(4, 0).repeat(4, 1))


@pytest.mark.parametrize("keep", [True, False])
def test_a_result_is_dated_like_its_photo_unless_asked_otherwise(tmp_path: Path, keep: bool) -> None:
    jobs = _jobs(tmp_path, (8, 8))
    os.utime(jobs[0].source, (10**9, 10**9))
    run_batch(jobs, repeat_4x, Settings(4, 64, 4, keep_mtime=keep), Recorder(), Summary())
    assert (jobs[0].target.stat().st_mtime == 10**9) is keep


def _fails_on(pixels: Pixels, row: int, error: Exception) -> Stream:
    """An engine that cannot do the window in which this picture's row is the first one kept or seen."""

    def engine(batches: Iterable[Pixels]) -> Generator[Pixels]:
        for batch in batches:
            if any((window == pixels[row]).all(axis=(1, 2)).any() for window in batch):
                raise error
            yield enlarge(batch)

    return engine


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (EngineFailed("out of memory"), "out of memory"),
        (MemoryError(), "smaller --tile"),
        (KeyError("x"), "please report"),
    ],
)
@pytest.mark.parametrize("row", [0, 100, 199])
@pytest.mark.parametrize("batch", [1, 3])
def test_an_engine_that_fails_on_one_photo_fails_that_photo_only(
    tmp_path: Path, row: int, error: Exception, words: str, batch: int
) -> None:
    jobs = _jobs(tmp_path, (200, 20), (200, 20), (200, 20))  # four tiles each
    events, summary = Recorder(), Summary()
    engine = _fails_on(_pixels(jobs[1].source), row, error)
    run_batch(jobs, engine, replace(SETTINGS, batch=batch), events, summary)
    assert [failure.source.name for failure in summary.failures] == ["1.png"]
    assert words in summary.failures[0].reason
    assert _names(tmp_path / "out") == ["0.png", "2.png"]
    assert events.of("finished") == ["0.png", "2.png"]


class _FullDisk:
    """Stands in for open_writer: takes some bands, then there is no space."""

    def __init__(self, bands: int) -> None:
        self.bands = bands

    def write(self, _rows: Pixels) -> None:
        self.bands -= 1
        if self.bands < 0:
            raise OSError(28, "No space left on device")

    def finish(self) -> None:
        self.write(np.empty(0, np.uint8))


@pytest.mark.parametrize("bands", [0, 1, 6])
def test_a_disk_that_fills_up_is_one_sentence_and_leaves_no_half_file(
    tmp_path: Path, bands: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = _jobs(tmp_path, (300, 20), (10, 10))
    real = open_writer
    monkeypatch.setattr(
        "sr_batch.photos.sequences.open_writer",
        lambda f, k, photo, *rest: _FullDisk(bands) if len(photo.rgb) > 10 else real(f, k, photo, *rest),
    )
    events, summary = Recorder(), Summary()
    run_batch(jobs, repeat_4x, SETTINGS, events, summary)
    assert "no space left" in summary.failures[0].reason
    assert "run the same command again" in summary.failures[0].reason
    assert _names(tmp_path / "out") == ["1.png"]


def test_a_full_disk_is_seen_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = _jobs(tmp_path, (300, 300))
    monkeypatch.setattr("sr_batch.space.shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    events, summary = Recorder(), Summary()
    run_batch(jobs, repeat_4x, SETTINGS, events, summary)
    assert "no space left" in summary.failures[0].reason
    assert events.of("started") == []


def test_a_result_too_large_for_its_format_is_refused_before_the_work(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path, (2, 5000), kind=PhotoFormat.WEBP)
    events, summary = Recorder(), Summary()
    run_batch(jobs, repeat_4x, SETTINGS, events, summary)
    assert "does not fit WEBP" in summary.failures[0].reason
    assert events.of("started") == []


@pytest.mark.parametrize("after", [1, 2, 5, 9])
def test_an_interrupt_leaves_complete_files_and_the_next_run_goes_on(tmp_path: Path, after: int) -> None:
    jobs = _jobs(tmp_path, *[(150, 30)] * 4)  # three tiles each

    class Interrupted(BaseException):
        pass

    count = 0

    def engine(batches: Iterable[Pixels]) -> Generator[Pixels]:
        nonlocal count
        for batch in batches:
            count += 1
            if count == after:
                raise Interrupted
            yield enlarge(batch)

    with pytest.raises(Interrupted):
        run_batch(jobs, engine, SETTINGS, Recorder(), Summary())
    done = _names(tmp_path / "out")
    assert len(done) < 4
    for name in done:
        assert np.array_equal(_pixels(tmp_path / "out" / name), enlarge(_pixels(tmp_path / name)))
    assert not [t for t in threading.enumerate() if t.name.startswith(("decode", "encode"))]
    summary = Summary()
    run_batch(jobs, repeat_4x, SETTINGS, Recorder(), summary)
    assert (summary.done, summary.skipped) == (4 - len(done), len(done))
    assert _names(tmp_path / "out") == [f"{i}.png" for i in range(4)]


def test_decoding_and_encoding_go_on_while_the_engine_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine stands still on the second photo until the third is decoded and the first is written."""
    jobs = _jobs(tmp_path, *[(8, 8)] * 4)
    third_decoded = threading.Event()
    real_read = pipeline.open_photo

    def watched_read(path: Path, options: ReadOptions) -> object:
        photo = real_read(path, options)
        if path == jobs[2].source:
            third_decoded.set()
        return photo

    def engine(batches: Iterable[Pixels]) -> Generator[Pixels]:
        for batch in batches:
            if np.array_equal(batch[0], _pixels(jobs[1].source)):
                assert third_decoded.wait(20)
                deadline = time.monotonic() + 20
                while not jobs[0].target.exists() and time.monotonic() < deadline:
                    time.sleep(0.01)
                assert jobs[0].target.exists()
            yield enlarge(batch)

    monkeypatch.setattr(pipeline, "open_photo", watched_read)
    summary = Summary()
    run_batch(jobs, engine, SETTINGS, Recorder(), summary)
    assert (summary.done, summary.failures) == (4, [])


def test_few_photos_are_held_at_a_time_however_many_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted by what is alive, not by what the code says of itself."""
    jobs = _jobs(tmp_path, *[(8, 8)] * 20)
    alive: weakref.WeakSet[Photo] = weakref.WeakSet()
    most = 0
    real_read = pipeline.open_photo

    def counting_read(path: Path, options: ReadOptions) -> Photo:
        nonlocal most
        photo = real_read(path, options)
        alive.add(photo)
        most = max(most, len(alive))
        return photo

    monkeypatch.setattr(pipeline, "open_photo", counting_read)
    run_batch(jobs, repeat_4x, SETTINGS, Recorder(), Summary())
    gc.collect()
    assert len(alive) == 0
    assert most <= (SETTINGS.load + 1) + (SETTINGS.save + 1)


@pytest.mark.parametrize(("depth", "together"), [(np.uint8, 2), (np.uint16, 1)])
def test_decoded_photos_wait_in_bytes_a_large_one_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depth: type, together: int
) -> None:
    """Three decoders, room for two 8-bit photos: while the engine has the first, one more is decoded and no third."""
    jobs = _jobs(tmp_path, *[(100, 100)] * 5)
    for job in jobs:
        cv2.imwrite(str(job.source), random_pixels(100, 100).astype(depth))
    monkeypatch.setattr(pipeline, "DECODED_BYTES", 2 * 100 * 100 * 3)
    decoded: list[str] = []
    real_read = pipeline.open_photo

    def watched_read(path: Path, options: ReadOptions) -> Photo:
        photo = real_read(path, options)
        decoded.append(path.name)
        return photo

    most = 0

    def engine(batches: Iterable[Pixels]) -> Generator[Pixels]:
        nonlocal most
        for index, batch in enumerate(batches):
            if index == 0:
                time.sleep(0.3)  # were there more to come, it would come now
                most = len(decoded)
            yield enlarge(batch)

    monkeypatch.setattr(pipeline, "open_photo", watched_read)
    summary = Summary()
    run_batch(jobs, engine, Settings(4, 64, 4, load=3), Recorder(), summary)
    assert (most, summary.done) == (together, 5)


def test_an_engine_that_gives_black_is_found_out_and_its_photo_is_right_or_failed(tmp_path: Path) -> None:
    """Black where the picture is not: done again in fp32, which helps for the first photo and not for the second."""
    jobs = _jobs(tmp_path, (40, 40), (40, 40), (40, 40))
    bad = [_pixels(job.source) for job in jobs[:2]]

    def overflowing(batches: Iterable[Pixels]) -> Generator[Pixels]:
        for batch in batches:
            yield enlarge(batch) * np.uint8(not any(np.array_equal(batch[0], picture) for picture in bad))

    def fp32(batches: Iterable[Pixels]) -> Generator[Pixels]:
        for batch in batches:
            yield enlarge(batch) * np.uint8(not np.array_equal(batch[0], bad[1]))

    told: dict[str, tuple[str, ...]] = {}

    class Notes(Recorder):
        def finished(self, job: Job, done: Done) -> None:
            told[job.source.name] = done.warnings

    summary = Summary()
    run_batch(jobs, overflowing, SETTINGS, Notes(), summary, guard=Guard(fp32))
    assert told == {"0.png": ("1 tile that was wrong was done again in fp32",), "2.png": ()}
    assert summary.warnings == 1
    assert [failure.source.name for failure in summary.failures] == ["1.png"]
    assert "in fp32 neither" in summary.failures[0].reason
    assert summary.tiles.redone == 2
    assert _names(tmp_path / "out") == ["0.png", "2.png"]
    for index in (0, 2):
        assert np.array_equal(_pixels(jobs[index].target), enlarge(_pixels(jobs[index].source)))


def test_thumbnails_of_many_photos_share_the_engines_batches(tmp_path: Path) -> None:
    jobs = _jobs(tmp_path, *[(24, 32)] * 17)
    shapes: list[int] = []

    def engine(batches: Iterable[Pixels]) -> Generator[Pixels]:
        for batch in batches:
            shapes.append(len(batch))
            yield enlarge(batch)

    summary = Summary()
    run_batch(jobs, engine, replace(SETTINGS, batch=8), Recorder(), summary)
    assert shapes == [8, 8, 1]
    for job in jobs:
        assert np.array_equal(_pixels(job.target), enlarge(_pixels(job.source)))


def _animation(path: Path, frames: int = 5) -> Path:
    pictures = [Image.fromarray(random_pixels(30, 44, index)) for index in range(frames)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=[40 + 10 * i for i in range(frames)])
    return path


@pytest.mark.parametrize("alpha", AlphaChoice)
@pytest.mark.parametrize("batch", [1, 3])
def test_the_frames_of_an_animation_go_through_as_photos_do(tmp_path: Path, alpha: AlphaChoice, batch: int) -> None:
    """Between two photos, in order, and counted as one file of many pixels."""
    jobs = _jobs(tmp_path, (20, 20), (30, 44))
    moving = PhotoJob(_animation(tmp_path / "moving.gif"), tmp_path / "out" / "moving.png", PhotoFormat.PNG)
    events, summary = Recorder(), Summary()
    run_batch([jobs[0], moving, jobs[1]], repeat_4x, Settings(4, 24, 4, batch=batch, alpha=alpha), events, summary)
    assert summary.failures == []
    assert events.of("finished") == ["0.png", "moving.gif", "1.png"]
    assert summary.pixels == events.pixels == 20 * 20 + 5 * 30 * 44 + 30 * 44
    with Image.open(moving.source) as before, Image.open(moving.target) as after:
        assert after.n_frames == before.n_frames == 5  # type: ignore[attr-defined]
        for index in range(5):
            before.seek(index)
            after.seek(index)
            assert after.info["duration"] == 40 + 10 * index
            assert np.array_equal(np.asarray(after.convert("RGB")), enlarge(np.asarray(before.convert("RGB"))))


@pytest.mark.parametrize("batch", [1, 4])
def test_pages_of_different_sizes_and_depths_stay_in_order(tmp_path: Path, batch: int) -> None:
    pages: list[NDArray[Any]] = [
        random_pixels(50, 70, 0),
        random_pixels(9, 9, 1).astype(np.uint16) * 257,
        random_pixels(33, 20, 2),
    ]
    with tifffile.TiffWriter(tmp_path / "pages.tif") as tiff:
        for page in pages:
            tiff.write(page, photometric="rgb", metadata=None)
    job = PhotoJob(tmp_path / "pages.tif", tmp_path / "out" / "pages.tif", PhotoFormat.TIFF)
    summary = Summary()
    run_batch([*_jobs(tmp_path, (8, 8)), job], repeat_4x, Settings(4, 24, 4, batch=batch), Recorder(), summary)
    assert summary.failures == []
    with tifffile.TiffFile(job.target) as found:
        assert [page.asarray().dtype for page in found.pages] == [page.dtype for page in pages]
        for written, expected in zip(found.pages, pages, strict=True):
            assert np.array_equal(written.asarray(), enlarge(expected))


def test_an_animation_that_is_damaged_further_on_fails_alone_and_leaves_nothing(tmp_path: Path) -> None:
    whole = _animation(tmp_path / "moving.gif").read_bytes()
    (tmp_path / "moving.gif").write_bytes(whole[: len(whole) * 3 // 4])
    jobs = _jobs(tmp_path, (20, 20), (30, 44))
    moving = PhotoJob(tmp_path / "moving.gif", tmp_path / "out" / "moving.png", PhotoFormat.PNG)
    events, summary = Recorder(), Summary()
    run_batch([jobs[0], moving, jobs[1]], repeat_4x, SETTINGS, events, summary)
    assert [failure.source.name for failure in summary.failures] == ["moving.gif"]
    assert _names(tmp_path / "out") == ["0.png", "1.png"]


def test_an_animation_for_a_format_of_one_picture_is_refused_before_the_engine_sees_it(tmp_path: Path) -> None:
    moving = PhotoJob(_animation(tmp_path / "moving.gif"), tmp_path / "out" / "moving.jpg", PhotoFormat.JPEG)
    events, summary = Recorder(), Summary()
    run_batch([moving], repeat_4x, SETTINGS, events, summary)
    assert "--format png" in summary.failures[0].reason
    assert events.of("started") == []
