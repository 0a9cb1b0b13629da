"""`sr-batch` with videos, as a user runs it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from sr_batch import cli
from sr_batch.options import parse_options
from tests.conftest import random_pixels
from tests.sr_batch.conftest import totals
from tests.sr_batch.videos.films import Film, beside_each_other, number_of, times_in, write_film

SMALL = Film(range(0, 6 * 512, 512), size=(24, 64), languages=["eng"])


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture(autouse=True)
def _own_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_: None)


@pytest.fixture
def usual(tiny_checkpoint: Path) -> list[object]:
    return ["-n", tiny_checkpoint, "--engine", "torch", "--precision", "fp32", "--preset", "ultrafast"]


def test_a_folder_of_photos_and_videos(tmp_path: Path, usual: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    """Everything is done, the bad one is named, and the second run does nothing."""
    folder, out = tmp_path / "mixed", tmp_path / "mixed_x4"
    (folder / "more").mkdir(parents=True)
    write_film(folder / "film.mp4", SMALL)
    write_film(folder / "more" / "film.mkv", SMALL)
    (folder / "bad.mov").write_bytes(b"no video")
    Image.fromarray(random_pixels(16, 20)).save(folder / "photo.png")
    assert run(folder, *usual, "--report", tmp_path / "run.json") == 1
    assert "failed: " + str(folder / "bad.mov") in capsys.readouterr().err
    made = sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file() and not p.name.startswith("."))
    assert made == ["film.mp4", "more/film.mkv", "photo.png"]
    assert times_in(out / "film.mp4") == times_in(folder / "film.mp4")
    records = {Path(r["source"]).name: r for r in json.loads((tmp_path / "run.json").read_text())["files"]}
    film = records["film.mp4"]
    assert (film["frames"], film["result_width"], film["result_height"]) == (6, 256, 96)
    assert film["verified"]["frames"] == 6
    assert film["verified"]["streams_copied"] == 1
    assert json.loads((tmp_path / "run.json").read_text())["summary"]["frames"] == 12
    assert run(folder, *usual) == 1
    seen = totals(capsys.readouterr().err)
    assert seen.items() >= {"done": "0", "already done": "3", "failed": "1"}.items()
    assert run(folder, *usual, "--crf", "30") == 1  # another option: the videos are made again, the photo is not
    seen = totals(capsys.readouterr().err)
    assert seen.items() >= {"done": "2", "already done": "1", "failed": "1"}.items()


@pytest.mark.skipif(sys.platform == "win32", reason="sends a signal")
def test_ctrl_c_says_which_frames_are_kept_and_the_same_command_goes_on(tmp_path: Path, usual: list[object]) -> None:
    source = write_film(tmp_path / "film.mp4", Film(range(0, 120 * 512, 512), size=(24, 64)))
    command = [sys.executable, "-m", "sr_batch.cli", source, *usual, "--json"]
    with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while json.loads(process.stdout.readline()).get("frame") != 5:
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    found = re.search(
        r"^film\.mp4: frames 1 to (\d+) of 120 are kept; the same command goes on at frame (\d+)$", said, re.M
    )
    assert found, said
    kept = int(found[1])
    assert 5 <= kept == int(found[2]) - 1
    assert run(source, *usual, "--report", tmp_path / "run.json") == 0
    report = json.loads((tmp_path / "run.json").read_text())
    assert report["files"][0]["frames_resumed"] == kept
    assert report["files"][0]["frames_per_second"] > 0
    assert report["summary"]["frames"] == 120 - kept
    assert 0 < report["summary"]["video_seconds"] <= report["summary"]["seconds"]


def test_deep_video_goes_through_the_deep_door(tmp_path: Path, usual: list[object]) -> None:
    source = write_film(tmp_path / "film.mkv", Film(range(0, 3 * 512, 512), size=(24, 64), pixel_format="yuv420p10le"))
    assert run(source, "-o", tmp_path / "large.mkv", *usual) == 0
    with av.open(str(tmp_path / "large.mkv")) as result:
        assert result.streams.video[0].codec_context.pix_fmt == "yuv420p10le"


def test_previews_are_pictures_before_and_after(tmp_path: Path, usual: list[object]) -> None:
    source = write_film(tmp_path / "film.mp4", Film(size=(24, 64), rotation=180))
    assert run(source, *usual, "--preview", "2") == 0
    names = ["frame_000006.png", "frame_000006_x4.png", "frame_000018.png", "frame_000018_x4.png"]
    folder = tmp_path / "film_x4_preview"
    assert sorted(path.name for path in folder.iterdir()) == names
    with Image.open(folder / names[2]) as picture:
        before = np.asarray(picture)
    assert before.shape == (24, 64, 3)
    assert number_of(before[::-1, ::-1], 1) == 18  # as players show it
    with Image.open(folder / names[3]) as after:
        assert after.size == (256, 96)
    assert not (tmp_path / "film_x4.mp4").exists()


@pytest.mark.parametrize(
    ("aspect", "rotation", "size", "large"),
    [
        (Fraction(4, 3), 0, (85, 24), (341, 96)),
        (Fraction(4, 3), 90, (24, 85), (96, 341)),
        (Fraction(3, 4), 0, (64, 32), (256, 128)),
    ],
)
def test_previews_of_pixels_that_are_not_square_have_the_films_proportions(
    tmp_path: Path, usual: list[object], aspect: Fraction, rotation: int, size: tuple[int, int], large: tuple[int, int]
) -> None:
    source = write_film(tmp_path / "film.mp4", Film(size=(24, 64), aspect=aspect, rotation=rotation))
    assert run(source, *usual, "--preview", "1") == 0
    with Image.open(tmp_path / "film_x4_preview" / "frame_000012.png") as before:
        assert before.size == size
    with Image.open(tmp_path / "film_x4_preview" / "frame_000012_x4.png") as after:
        assert after.size == large


def test_a_dry_run_counts_frames(tmp_path: Path, usual: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    write_film(tmp_path / "film.mp4", SMALL)
    assert run(tmp_path / "film.mp4", *usual, "--dry-run") == 0
    assert "(6 frames, 64x24 -> 256x96)" in capsys.readouterr().out


def test_the_second_video_stream_of_a_file(
    tmp_path: Path, usual: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = [(24, 64), (32, 48)]
    films = [write_film(tmp_path / f"{n}.mp4", Film(range(0, 3072, 512), size=size)) for n, size in enumerate(sizes)]
    source = beside_each_other(tmp_path / "both.mkv", films)
    assert run(source, *usual, "--stream", "1", "--dry-run") == 0
    assert "(6 frames, 48x32 -> 192x128)" in capsys.readouterr().out
    assert run(source, *usual, "--stream", "1") == 0
    with av.open(str(tmp_path / "both_x4.mkv")) as result:
        assert [stream.codec_context.width for stream in result.streams.video] == [64, 192]
    assert run(source, *usual, "--stream", "2", "-o", tmp_path / "c.mkv") == 1
    assert "has 2 video stream(s), so --stream goes from 0 to 1" in capsys.readouterr().err


def test_a_video_is_not_resized(tmp_path: Path, usual: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    write_film(tmp_path / "film.mp4", SMALL)
    assert run(tmp_path / "film.mp4", *usual, "--scale", "2") == 2
    assert "leave --scale and --target-size out" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("10-20.5", (Fraction(10), Fraction(41, 2))),
        ("1:00-", (Fraction(60), None)),
        ("-0:01:30", (None, Fraction(90))),
        ("0:00:01.001-1:00:00", (Fraction(1001, 1000), Fraction(3600))),
    ],
)
def test_ranges_are_exact_times(text: str, wanted: tuple[Fraction | None, Fraction | None]) -> None:
    assert parse_options(["a.mp4", f"--range={text}"]).range == wanted


@pytest.mark.parametrize("text", ["10", "-", "20-10", "a-b", "1:2:3:4-", "1.2.3-"])
def test_other_ranges_are_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_options(["a.mp4", f"--range={text}"])
    assert "argument --range: '" in capsys.readouterr().err
