"""The page of a run holds every photo, once, with nothing outside, however the photos are named."""

from __future__ import annotations

import base64
import io
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from PIL import Image, ImageCms

from sr_batch import page as page_module
from sr_batch.events import Summary
from sr_batch.folders import PhotoJob
from sr_batch.glimpse import Look, glimpse_of_files
from sr_batch.page import open_page
from sr_batch.photos import Photo, PhotoFormat, Size, read_photo
from sr_batch.pipeline import run_batch
from sr_batch.report import Recorder
from sr_batch.resize import resize
from sr_batch.upscale import Band
from sr_train.errors import UsageError
from tests.conftest import random_pixels
from tests.sr_batch import test_pipeline
from tests.sr_batch.pages import FACTS, add_photo, finished, page_of
from tests.sr_batch.stubs import repeat_4x
from tests.sr_batch.test_pipeline import SETTINGS


class _Reader(HTMLParser):
    """Texts, tags with their attributes, and whether every element was closed."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in ("meta", "link", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


def _read(path: Path) -> _Reader:
    reader = _Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    assert not reader.open
    return reader


def _picture(source: str) -> Image.Image:
    assert source.startswith("data:image/webp;base64,")
    return Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2])))


def test_a_run_becomes_a_page_with_every_photo_and_its_pictures(tmp_path: Path) -> None:
    jobs, summary = test_pipeline._jobs(tmp_path, (40, 60), (50, 40), (30, 30)), Summary()
    jobs[1].source.write_bytes(b"text")
    with open_page(tmp_path / "run.html", FACTS, summary, 3) as page:
        events = Recorder(test_pipeline.Recorder(), [page.take], FACTS, [page.drawn])
        run_batch(jobs, repeat_4x, SETTINGS, events, summary)
        assert not (tmp_path / "run.html").exists()
    html = _read(tmp_path / "run.html")
    kinds = sorted(article["data-kind"] for article in html.all("article"))
    assert kinds == ["done", "done", "failed"]
    assert "not a picture" in html.text and "60x40 to 240x160" in html.text
    sizes = [_picture(image["src"]).size for image in html.all("img")]
    assert {(60, 40), (240, 160), (30, 30), (120, 120)} <= set(sizes) and len(sizes) == 6
    assert re.search(r"done\s*2.*failed\s*1", html.text, re.DOTALL)


def test_nothing_outside_the_file_is_needed(tmp_path: Path) -> None:
    html = _read(page_of(tmp_path, [(40, 60)], failures=1))
    assert all(image["src"].startswith("data:") for image in html.all("img"))
    assert not [link for link in html.all("link") if not link["href"].startswith("data:")]
    assert not any("src" in script for script in html.all("script"))
    assert "default-src 'none'" in str(html.all("meta"))


def test_both_pictures_show_the_same_place_pixel_for_pixel() -> None:
    """With a result that repeats each pixel 4x4 times, in a photo that is larger than what is shown."""
    pixels = random_pixels(400, 500, 3)
    pixels[250:300, 350:420] = np.random.default_rng(1).integers(0, 255, (50, 70, 3))  # the liveliest part
    photo = Photo(pixels, grey=False, alpha=None, icc=None)
    look = Look(photo, 2000, Size(240, 320))
    large = pixels.repeat(4, axis=0).repeat(4, axis=1)
    for top in range(0, 1600, 300):
        look.add(Band(top, large[top : top + 300]))
    seen = look.glimpse()
    assert seen.shown == Size(240, 320) and (seen.part.height, seen.part.width) == (60, 80)
    assert seen.part.top <= 250 and seen.part.top + 60 >= 300 and seen.part.left <= 350 and seen.part.left + 80 >= 420
    before, after = (np.asarray(Image.open(io.BytesIO(data)), dtype=float) for data in (seen.before, seen.after))
    expected = pixels[seen.part.window()].astype(float)
    assert np.abs(after.reshape(60, 4, 80, 4, 3).mean(axis=(1, 3)) - expected).mean() < 12
    assert np.array_equal(before, expected)


@pytest.mark.parametrize("width", [60, 240])
def test_a_result_of_another_size_than_the_networks_is_shown_in_its_own(width: int) -> None:
    """--scale 2 and --scale 8 of a 4x network: the part is that of the file, to a pixel."""
    pixels = random_pixels(20, 30)[:, :, :1].repeat(3, axis=2)  # grey: WebP halves colour
    look = Look(Photo(pixels, grey=False, alpha=None, icc=None), 120, Size(99, 200))
    large = pixels.repeat(4, axis=0).repeat(4, axis=1)
    look.add(Band(0, large))
    seen = look.glimpse(width)
    assert seen.shown == Size(width * 2 // 3, width)
    after = np.asarray(Image.open(io.BytesIO(seen.after)), dtype=float)
    assert np.abs(after - np.asarray(resize(large, seen.shown), dtype=float)).mean() < 4


def test_colours_are_shown_as_the_photos_profile_means_them() -> None:
    """The page is sRGB, whatever the file is: here one whose profile gives numbers another brightness."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    photo = Photo(np.full((8, 8, 3), 90, np.uint8), grey=False, alpha=None, icc=profile.tobytes())
    look = Look(photo, 32, Size(32, 32))
    look.add(Band(0, np.full((32, 32, 3), 90, np.uint8)))
    assert abs(float(np.asarray(Image.open(io.BytesIO(look.glimpse().after))).mean()) - 90) < 3


def test_transparency_is_shown() -> None:
    alpha = np.zeros((8, 8), np.uint8)
    alpha[:, 4:] = 255
    look = Look(Photo(np.full((8, 8, 3), 90, np.uint8), grey=False, alpha=alpha, icc=None), 32, Size(32, 32))
    look.add(Band(0, np.full((32, 32, 3), 90, np.uint8)))
    shown = np.asarray(Image.open(io.BytesIO(look.glimpse().after)))
    assert shown[:, :8, 3].max() < 40 and shown[:, 24:, 3].min() > 215


def test_what_an_earlier_run_made_is_shown_from_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(random_pixels(20, 30)).save(tmp_path / "a.jpg")
    Image.fromarray(random_pixels(80, 120)).save(tmp_path / "large.jpg")
    (tmp_path / "film.mkv").write_bytes(b"no picture")
    with open_page(tmp_path / "run.html", FACTS, Summary(skipped=2), 2) as page:
        for source, result in (("a.jpg", "large.jpg"), ("film.mp4", "film.mkv")):
            page.take({"event": "skipped", "source": str(tmp_path / source), "result": str(tmp_path / result)})
    html = _read(tmp_path / "run.html")
    assert [_picture(image["src"]).size for image in html.all("img")] == [(30, 20), (120, 80), (30, 20)]
    assert len(html.all("article")) == 2 and html.text.count("already there") == 2
    monkeypatch.setattr("sr_batch.glimpse.LARGEST_DECODED", 80 * 120 - 1)
    assert glimpse_of_files(tmp_path / "a.jpg", tmp_path / "large.jpg", Size(99, 99)) is None


@pytest.mark.parametrize("name", ["<b>&\"'.png", "ü ☂ #1 50%?.png", "new\nline.png", "--><template><script>.png"])
def test_any_name_is_shown_and_linked_as_it_is(tmp_path: Path, name: str) -> None:
    with open_page(tmp_path / "run.html", FACTS, Summary(done=1), 1) as page:
        add_photo(page, tmp_path / name, 8, 8)
    html = _read(tmp_path / "run.html")
    linked = {os.fsdecode(unquote_to_bytes(link["href"])) for link in html.all("a")}
    assert linked == {name, f"large {name}"}
    assert name.replace("\n", "\\n") in html.text
    assert len(html.all("script")) == 1


def test_a_name_that_is_no_text_is_linked_by_its_bytes(tmp_path: Path) -> None:
    with open_page(tmp_path / "run.html", FACTS, Summary(), 1) as page:
        page.take({"event": "failed", "source": os.fsdecode(b"\xff\xfe.jpg"), "reason": "broken"})
    assert "%FF%FE.jpg" in (tmp_path / "run.html").read_text(encoding="ascii", errors="replace")


def test_a_film_gets_a_card_without_pictures(tmp_path: Path) -> None:
    with open_page(tmp_path / "run.html", FACTS, Summary(done=1), 1) as page:
        verified = {"frames": 250, "streams_copied": 2, "packets_copied": 900}
        film = finished(tmp_path / "film.mp4", 90, 160, frames=250, warnings=["two audio streams"], verified=verified)
        page.take(film | {"precision": "bf16"})
    html = _read(tmp_path / "run.html")
    assert "160x90 to 640x360, 250 frames, 1.5 s on torch 2, bf16" in html.text
    assert "Read back: 250 frames, 2 streams as they were." in html.text
    assert "Note: two audio streams" in html.text and not html.all("img")
    assert html.all("article")[0]["data-kind"] == "done noted"


def test_a_photo_that_fails_half_way_leaves_no_picture(tmp_path: Path) -> None:
    photo = read_photo(test_pipeline._jobs(tmp_path, (30, 30))[0].source)
    job = PhotoJob(tmp_path / "0.png", tmp_path / "out.png", PhotoFormat.PNG)
    with open_page(tmp_path / "run.html", FACTS, Summary(), 1) as page:
        page.drawn(job, photo, Band(0, np.zeros((60, 120, 3), np.uint8)))
        page.take({"event": "failed", "source": str(job.source), "reason": "out of memory"})
        assert not page._looks
    assert not _read(tmp_path / "run.html").all("img")


def test_a_large_run_gets_smaller_pictures_and_then_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "WINDOWS", ((1, Size(64, 64)), (9, Size(16, 16))))
    monkeypatch.setattr(page_module, "PICTURED", 2)
    html = _read(page_of(tmp_path, [(20, 20)] * 3))
    assert [_picture(image["src"]).size for image in html.all("img")][1::3] == [(16, 16)] * 2
    assert "first 2 cards have pictures" in html.text


def test_the_card_of_a_failure_is_named_at_the_top(tmp_path: Path) -> None:
    html = _read(page_of(tmp_path, [(8, 8)], failures=2))
    targets = {link["href"] for link in html.all("a") if link["href"].startswith("#")}
    assert targets == {"#card2", "#card3"} <= {f"#{article['id']}" for article in html.all("article")}


def test_an_interrupted_run_leaves_a_page_of_what_was_done_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_page(tmp_path / "run.html", FACTS, Summary(), 9) as page:
        add_photo(page, tmp_path / "a.png", 8, 8)
        raise KeyboardInterrupt
    html = _read(tmp_path / "run.html")
    assert len(html.all("article")) == 1 and "Interrupted: not all was done" in html.text
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".html", ".png"]
    assert "Interrupted" not in _read(page_of(tmp_path, [(8, 8)])).text


def test_a_run_that_cannot_be_leaves_the_page_before(tmp_path: Path) -> None:
    page_of(tmp_path, [(8, 8)])
    before = (tmp_path / "run.html").read_bytes()
    with pytest.raises(UsageError), open_page(tmp_path / "run.html", FACTS, Summary(), 9):
        raise UsageError("the disk is too small")
    assert (tmp_path / "run.html").read_bytes() == before


def test_a_page_that_cannot_be_written_is_refused_before_the_work(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match="cannot be written"),
        open_page(tmp_path / "no" / "run.html", FACTS, Summary(), 1),
    ):
        raise AssertionError("the work began")


def test_a_full_disk_ends_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    with pytest.raises(UsageError, match=r"run\.html cannot be written \(No space"):
        monkeypatch.setattr(page_module, "_card", full)
        page_of(tmp_path, [(8, 8)] * 20)
    assert not (tmp_path / "run.html").exists()
