"""Containers that are read and not written: every frame on time, everything beside it, in an .mkv, and it is said."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from sr_batch.cli import main
from tests.sr_batch.videos.films import Film, enlarge_film, numbers_in, packets_in, times_in, write_film

SIZE = (24, 64)
MPEG = {"b": "2M", "g": "4", "bf": "2"}
CLOCK = Fraction(1, 90000)
TRANSPORT = Film(range(0, 12 * 3600, 3600), CLOCK, SIZE, languages=["eng", "fra"])
UNEVEN = Film((0, 3003, 6006, 9009, 20000, 23003, 23903, 90000), CLOCK, SIZE, languages=["eng"])
PROGRAM = Film(range(12), Fraction(1, 25), SIZE, "mpeg2video", options=MPEG, audio_codec="mp2", languages=["eng"])
FILMS = {
    "ts": TRANSPORT,
    "m2ts": UNEVEN,
    "mpg": PROGRAM,
    "vob": PROGRAM,
    "mpeg": Film(range(12), Fraction(1, 25), SIZE, "mpeg1video", options=MPEG),
    "m2v": Film(range(12), Fraction(1, 25), SIZE, "mpeg2video", options=MPEG),
    "avi": Film(range(12), Fraction(1, 25), SIZE, "mpeg4", audio_codec="mp2", languages=["eng"]),
    "wmv": Film(range(0, 480, 40), Fraction(1, 1000), SIZE, "wmv2", options={}),
    "flv": Film((0, 40, 80, 133, 160, 500, 533, 567), Fraction(1, 1000), SIZE, languages=["eng"]),
    "3gp": Film(range(0, 12 * 512, 512), size=SIZE, languages=["eng"]),
    "mxf": Film(range(12), Fraction(1, 25), (48, 64), "mpeg2video", options=MPEG | {"bf": "0"}),
    "nut": Film(range(0, 12 * 512, 512), size=SIZE),
    "y4m": Film(range(12), Fraction(1, 25), SIZE, "wrapped_avframe", options={}),
}


@pytest.mark.parametrize("ending", FILMS)
def test_every_frame_and_everything_beside_it_comes_out_as_mkv(tmp_path: Path, ending: str) -> None:
    source, result = write_film(tmp_path / f"film.{ending}", FILMS[ending]), tmp_path / "large.mkv"
    done = enlarge_film(source, result)
    frames = len(FILMS[ending].pts)
    assert (done.frames, done.repeated, done.damaged) == (frames, 0, 0)
    assert numbers_in(result, 4) == list(range(frames))
    assert done.warnings[0] == f".{ending} is read but not written; the result is .mkv, whose clock has steps of 1 ms"
    if ending != "avi":  # FFmpeg's guesses of the times that it does not store are wrong
        distances = [abs(new - old) for new, old in zip(times_in(result), times_in(source), strict=True)]
        assert max(distances) <= Fraction(1, 2000)
        assert any("moved by up to half" in warning for warning in done.warnings) == (max(distances) > 0)
    for index in range(1, 1 + len(FILMS[ending].languages)):
        before, after = packets_in(source, index), packets_in(result, index)
        assert len(before) == len(after) > 0
        assert all(abs(new - old) <= Fraction(1, 2000) for (_, new), (_, old) in zip(after, before, strict=True))
        # A transport stream gives each AAC packet a header of its own, of 7 bytes; files say it once.
        frame = 7 if ending in ("ts", "m2ts") else 0
        assert [content for content, _ in after] == [content[frame:] for content, _ in before]


def samples_in(path: Path, begin: Fraction, count: int) -> NDArray[np.float64]:
    """Of the first sound's left channel, from a time on, in [-1, 1]."""
    found, start = [], None
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].codec_context.sample_rate
        for frame in container.decode(audio=0):
            pixels = frame.to_ndarray()
            channels = len(frame.layout.channels)
            left = pixels[0] if frame.format.is_planar else pixels.reshape(-1, channels)[:, 0]
            scale = {"s16": 2**15, "s16p": 2**15, "s32": 2**31}.get(frame.format.name, 1)
            start = round((frame.pts or 0) * Fraction(frame.time_base or 1) * rate) if start is None else start
            found.append(left / scale)
    first = round(begin * rate) - (start or 0)
    return np.concatenate(found)[first : first + count]


@pytest.mark.parametrize(
    ("ending", "codec", "audio", "samples"),
    [("wmv", "wmv2", "wmav2", "pcm_s24le"), ("avi", "mpeg4", "adpcm_ms", "pcm_s16le"), ("mov", "h264", "", "aac")],
)
def test_sound_that_matroska_cannot_hold_becomes_its_samples_and_it_is_said(
    tmp_path: Path, ending: str, codec: str, audio: str, samples: str
) -> None:
    """Windows Media and the like would be lost otherwise; what can be copied is copied."""
    base = Fraction(1, 25) if ending == "avi" else Fraction(1, 1000)
    pts = range(24) if ending == "avi" else range(0, 960, 40)
    options = {"g": "8"} if codec == "h264" else {}
    film = Film(pts, base, SIZE, codec if codec != "h264" else "libx264", options=options, audio_codec=audio,
                languages=["eng"])  # fmt: skip
    source, result = write_film(tmp_path / f"film.{ending}", film), tmp_path / "large.mkv"
    done = enlarge_film(source, result)
    said = [warning for warning in done.warnings if "becomes" in warning]
    assert said == ([] if audio == "" else [f"audio stream 1 ({audio}) becomes {samples}, which matroska can hold"])
    with av.open(str(result)) as now:
        assert now.streams.audio[0].codec_context.name == samples
        # AVI does not say languages.
        assert now.streams.audio[0].language == (None if ending == "avi" else "eng")
    one = samples_in(source, Fraction(3, 10), 20000)
    around = samples_in(result, Fraction(299, 1000), 20096)  # both containers count in milliseconds: 48 samples
    assert min(np.abs(one - around[lag : lag + 20000]).max() for lag in range(97)) < 1e-4


def test_a_folder_of_them_is_done_by_their_names(
    tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "tapes"
    folder.mkdir()
    for ending in ("ts", "mpg", "avi", "FLV"):
        film = FILMS[ending.lower()]
        write_film(folder / f"{ending}.{ending}", film)
    (folder / "program.ts").write_text("export const frames = 12\n")
    options = ["-n", str(tiny_checkpoint), "--engine", "torch", "--precision", "fp32", "--preset", "ultrafast"]
    with pytest.raises(SystemExit) as ended:
        main([str(folder), *options, "--codec", "h264"])
    said = capsys.readouterr().err
    assert ended.value.code == 0, said
    assert "note: .avi, .flv, .mpg, .ts: read but not written; the results are .mkv" in said
    made = sorted(path.name for path in (tmp_path / "tapes_x4").iterdir() if not path.name.startswith("."))
    assert made == ["FLV.mkv", "avi.mkv", "mpg.mkv", "ts.mkv"]
    with av.open(str(tmp_path / "tapes_x4" / "ts.mkv")) as result:
        assert [stream.language for stream in result.streams] == [None, "eng", "fra"]
        assert sum(1 for _ in result.decode(video=0)) == 12
