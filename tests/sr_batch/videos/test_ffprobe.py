"""The result against its input by another reader: the ffprobe command, of an FFmpeg that is not ours, where it is."""

from __future__ import annotations

import json
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from sr_batch.videos.encoding import Codec, EncodingOptions
from tests.sr_batch.videos.films import FAST, Film, enlarge_film, numbers_in, packets_in, write_film

pytestmark = pytest.mark.skipif(shutil.which("ffprobe") is None, reason="ffprobe is not installed")

UNEVEN = (127, 512, 1024, 1537, 2048, 2300, 2301, 9000, 9512, 10100, 10701, 11777)
VP9 = {"deadline": "realtime", "cpu-used": "8"}
MILLISECONDS = Fraction(1, 1000)
FILMS = {
    "uneven.mp4": Film(UNEVEN, languages=["eng"], tags={"title": "A film"}),
    "turned.mov": Film(rotation=90, aspect=Fraction(4, 3), languages=["eng", "fra"], chapters=True),
    "all.mkv": Film(
        (0, 33, 67, 100, 133, 467, 500, 533), MILLISECONDS, languages=["eng", "fra"], subtitle="deu", chapters=True,
        attachment=b"a font", tags={"TITLE": "A film"},
    ),
    "oblong.mkv": Film(range(0, 480, 40), MILLISECONDS, aspect=Fraction(10, 11), languages=["eng"]),
    "mono.webm": Film(
        (0, 40, 81, 120, 400, 440), MILLISECONDS, codec="libvpx-vp9", options=VP9, languages=["eng"],
        audio_layout="mono",
    ),
}  # fmt: skip
STREAM = ("index", "codec_type", "sample_aspect_ratio", "disposition", "channels", "sample_rate", "side_data_list")


def probe(path: Path, *what: str) -> Any:
    command = ["ffprobe", "-v", "error", "-of", "json", *what, str(path)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def times(path: Path) -> list[Fraction]:
    found = probe(path, "-select_streams", "v:0", "-show_entries", "frame=pts:stream=time_base")
    return [frame["pts"] * Fraction(found["streams"][0]["time_base"]) for frame in found["frames"]]


def facts(path: Path) -> tuple[Any, ...]:
    found = probe(path, "-show_streams", "-show_chapters", "-show_format")
    streams = [
        {key: stream[key] for key in STREAM if key in stream} | {"language": stream.get("tags", {}).get("language")}
        for stream in found["streams"]
    ]
    chapters = [(chapter["start_time"], chapter["tags"]["title"]) for chapter in found["chapters"]]
    tags = {key.lower(): value for key, value in found["format"].get("tags", {}).items()}
    return streams, chapters, tags.get("title")


@pytest.mark.parametrize("name", FILMS)
def test_frames_streams_and_chapters_are_the_inputs(tmp_path: Path, name: str) -> None:
    film = FILMS[name]
    source, result = write_film(tmp_path / name, film), tmp_path / f"large_{name}"
    encodings = {"mono.webm": EncodingOptions(Codec.VP9, preset="5"), "oblong.mkv": EncodingOptions(Codec.FFV1)}
    encoding = encodings.get(name, FAST)
    done = enlarge_film(source, result, encoding=encoding)
    assert done.frames == len(film.pts)
    assert times(result) == times(source)
    assert facts(result) == facts(source)
    assert numbers_in(result, 4) == list(range(len(film.pts)))
    for index in range(1, 1 + len(film.languages)):
        assert packets_in(result, index) == packets_in(source, index)
