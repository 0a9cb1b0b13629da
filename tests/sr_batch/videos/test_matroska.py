"""Pixels that are not square, in Matroska and WebM: kept for every codec, in a file that is as sound as before."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import pytest

from sr_batch.errors import UnwritableVideo
from sr_batch.videos.codecs import Codec
from sr_batch.videos.encoding import EncodingOptions
from sr_batch.videos.matroska import write_pixel_aspect
from sr_batch.videos.source import rational
from tests.sr_batch.videos.films import (
    Film,
    beside_each_other,
    enlarge_film,
    numbers_in,
    packets_in,
    times_in,
    write_film,
)

PARENTS = {0x18538067, 0x114D9B74, 0x4DBB, 0x1549A966, 0x1654AE6B, 0xAE, 0xE0, 0x1C53BB6B, 0x1254C367}
SEEK_ID, SEEK_POSITION, SEGMENT = 0x53AB, 0x53AC, 0x18538067


def elements(content: bytes, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, int, int, int]]:
    """(id, start, start of the content, stop) of all, parents before their children."""
    stop = len(content) if stop is None else stop
    while start < stop:
        at = start
        length = next(n for n in range(1, 9) if content[at] >> (8 - n) & 1)
        name, at = int.from_bytes(content[at : at + length], "big"), at + length
        length = next(n for n in range(1, 9) if content[at] >> (8 - n) & 1)
        size = int.from_bytes(content[at : at + length], "big") & ((1 << 7 * length) - 1)
        data = at + length
        yield name, start, data, data + size
        if name in PARENTS:
            yield from elements(content, data, data + size)
        start = data + size


def check(path: Path) -> None:
    """All elements lie within the file, checksums are right, and the seek head points to what it says."""
    content = path.read_bytes()
    found = list(elements(content))
    assert found[-1][3] <= len(content)
    starts = {start: name for name, start, _, _ in found}
    base = next(data for name, _, data, _ in found if name == SEGMENT)
    sums = 0
    for index, (name, _, data, stop) in enumerate(found):
        if name == 0xBF:
            parent = next(e for e in reversed(found[:index]) if e[2] == found[index][1])
            assert content[data:stop] == zlib.crc32(content[stop : parent[3]]).to_bytes(4, "little")
            sums += 1
        if name == SEEK_POSITION:
            wanted = next(e for e in reversed(found[:index]) if e[0] == SEEK_ID)
            target = base + int.from_bytes(content[data:stop], "big")
            assert starts[target] == int.from_bytes(content[wanted[2] : wanted[3]], "big")
    assert sums or path.suffix == ".webm"


@pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(10, 11)])
@pytest.mark.parametrize(
    ("codec", "ending"),
    [(Codec.FFV1, "mkv"), (Codec.VP9, "webm"), (Codec.AV1, "mkv"), (Codec.PRORES, "mkv"), (Codec.H264, "mkv")],
)
def test_the_shape_of_pixels_is_kept_by_every_codec(
    tmp_path: Path, codec: Codec, ending: str, aspect: Fraction
) -> None:
    film = Film(range(0, 480, 40), Fraction(1, 1000), aspect=aspect, languages=["eng"], chapters=True, subtitle="deu")
    source, result = write_film(tmp_path / "film.mp4", film), tmp_path / f"large.{ending}"
    presets = {Codec.VP9: "5", Codec.AV1: "10", Codec.H264: "ultrafast"}
    done = enlarge_film(source, result, encoding=EncodingOptions(codec, preset=presets.get(codec)))
    assert done.frames == 12
    check(result)
    with av.open(str(result)) as now:
        assert rational(now.streams.video[0].sample_aspect_ratio) == aspect
        now.seek(200_000)
        assert next(now.decode(video=0)).pts is not None
    assert numbers_in(result, 4) == list(range(12))
    assert packets_in(result, 1)


def test_it_is_the_upscaled_one_of_two_videos_that_is_oblong(tmp_path: Path) -> None:
    films = [
        write_film(tmp_path / f"{n}.mp4", Film(aspect=aspect)) for n, aspect in enumerate([None, Fraction(16, 15)])
    ]
    both = beside_each_other(tmp_path / "both.mkv", films)
    result = tmp_path / "large.mkv"
    enlarge_film(both, result, stream_number=1, encoding=EncodingOptions(Codec.FFV1))
    check(result)
    with av.open(str(result)) as now:
        assert [rational(s.sample_aspect_ratio) or 1 for s in now.streams.video] == [1, Fraction(16, 15)]
    assert times_in(result) == times_in(both)


@pytest.mark.parametrize("content", [b"", b"no matroska at all" * 9, bytes(300)])
def test_another_file_is_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mkv"
    path.write_bytes(content)
    with pytest.raises(UnwritableVideo, match=r"name an output ending in \.mp4"):
        write_pixel_aspect(path, 0, (48, 64), Fraction(4, 3))
    assert path.read_bytes() == content
