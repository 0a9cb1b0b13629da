"""Videos whose frames stay on the GPU: all but the GPU itself, on tensors of the processor.

A stand-in decodes in software and hands out the planes as NVDEC does (nv12, p010le); the encoder is x264 or x265,
which take the same planes as NVENC. What CUDA, NVDEC and NVENC really do is in the test marked `gpu`, which has not
run where it was written.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from sr_batch.doors import DeviceEngine
from sr_batch.errors import UnreadableVideo, WrongPixels
from sr_batch.videos.codecs import Codec, Hardware
from sr_batch.videos.encoding import EncodingOptions
from sr_batch.videos.frames import Shown
from sr_batch.videos.inference import Network
from sr_batch.videos.resident import Decode, refuse_without_gpu, resident_parts
from sr_batch.videos.upscaling import MakeParts, PartRule, VideoDone, VideoSettings, decoded_frames, upscale_video
from sr_train.errors import UsageError
from tests.sr_batch.videos.films import (
    FAST,
    Film,
    Stopped,
    enlarge_film,
    numbers_in,
    packets_in,
    repeat,
    times_in,
    write_film,
)
from tests.sr_batch.videos.test_encoding import output_of, picture_of, plan_of

SCALE = 4
UNEVEN = (0, 512, 1024, 1537, 2048, 2300, 2301, 9000, 9512, 10100, 10701, 11777)


def semi_planar(*arguments: Any) -> Iterator[Shown]:
    """A decoder's frames as NVDEC lays them out."""
    for shown in decoded_frames(*arguments):
        deep = shown.frame.format.components[0].bits > 8
        frame = shown.frame.reformat(format="p010le" if deep else "nv12", interpolation="POINT")
        frame.pts, frame.time_base = shown.frame.pts, shown.frame.time_base
        yield replace(shown, frame=frame)


def blocks(batches: Iterable[torch.Tensor]) -> Generator[torch.Tensor]:
    """A stand-in for an engine: each pixel becomes a block. It reuses its memory, as engines do."""
    memory: dict[tuple[int, ...], torch.Tensor] = {}
    for batch in batches:
        large = batch.repeat_interleave(SCALE, 1).repeat_interleave(SCALE, 2)
        result = memory.setdefault(tuple(large.shape), torch.empty_like(large))
        yield result.copy_(large)


def on_device(stream: Any = blocks, decode: Decode = semi_planar) -> MakeParts:
    return resident_parts(lambda _deep: DeviceEngine(stream, "cpu"), decode)


def enlarge(source: Path, target: Path, make_parts: MakeParts, stop_at: int | None = None, **changes: Any) -> VideoDone:
    def progress(done: int, _total: int) -> None:
        if done == stop_at:
            raise Stopped

    chosen: dict[str, Any] = {"encoding": FAST, "part": PartRule(frames=5)} | changes
    settings = VideoSettings(SCALE, tile=40, halo=4, **chosen)
    network = Network(repeat(SCALE), "model")
    return upscale_video(source, target, network, settings, "content", progress, make_parts=make_parts)


@pytest.mark.parametrize("batch", [1, 3])
def test_every_frame_comes_out_on_time_with_its_sound(tmp_path: Path, batch: int) -> None:
    """Uneven times, reordered frames and parts: as on the usual path."""
    source, result = write_film(tmp_path / "film.mp4", Film(UNEVEN, languages=["eng"])), tmp_path / "large.mp4"
    done = enlarge(source, result, on_device(), batch=batch)
    assert (done.frames, done.verified.copied_streams) == (len(UNEVEN), 1)
    assert times_in(result) == times_in(source)
    assert numbers_in(result, SCALE) == list(range(len(UNEVEN)))
    assert packets_in(result, 1) == packets_in(source, 1)


@pytest.mark.parametrize(("pixel_format", "codec"), [("yuv420p", Codec.H264), ("yuv420p10le", Codec.HEVC)])
def test_the_pictures_are_those_of_the_usual_path(tmp_path: Path, pixel_format: str, codec: Codec) -> None:
    film = Film(range(0, 6 * 40, 40), Fraction(1, 1000), codec="ffv1", pixel_format=pixel_format)
    source = write_film(tmp_path / "film.mkv", film)
    encoding = EncodingOptions(codec, crf=0 if codec is Codec.H264 else 1, preset="ultrafast")
    enlarge(source, tmp_path / "device.mkv", on_device(), encoding=encoding)
    enlarge_film(source, tmp_path / "usual.mkv", SCALE, encoding=encoding)
    pictures = []
    for name in ("device.mkv", "usual.mkv"):
        with av.open(str(tmp_path / name)) as container:
            assert container.streams.video[0].codec_context.pix_fmt == pixel_format
            pictures.append([frame.to_ndarray().astype(int) for frame in container.decode(video=0)])
    step = 1 if codec is Codec.H264 else 12  # of a code; x265 is not lossless here
    for one, other in zip(*pictures, strict=True):
        assert np.abs(one - other).max() <= step
        assert np.abs(one - other).mean() < 0.1 * step


def test_the_same_picture_again_is_computed_once(tmp_path: Path) -> None:
    numbers, seen = [0] * 6 + [1, 2, 2, 2], 0
    film = Film(range(0, 400, 40), Fraction(1, 1000), codec="ffv1", numbers=numbers, size=(24, 64))

    def counting(batches: Iterable[torch.Tensor]) -> Generator[torch.Tensor]:
        nonlocal seen
        seen += 1
        yield from blocks(batches)

    enlarge(write_film(tmp_path / "film.mkv", film), tmp_path / "large.mkv", on_device(counting))
    assert seen == 3
    assert numbers_in(tmp_path / "large.mkv", SCALE) == numbers


def test_an_interrupted_video_goes_on_at_the_next_frame(tmp_path: Path) -> None:
    source, result = write_film(tmp_path / "film.mp4", Film()), tmp_path / "large.mp4"
    with pytest.raises(Stopped):
        enlarge(source, result, on_device(), stop_at=8)
    done = enlarge(source, result, on_device())
    assert (done.frames, done.resumed) == (24, 8)
    assert times_in(result) == times_in(source)
    assert numbers_in(result, SCALE) == list(range(24))


def test_frames_that_come_from_the_processor_all_the_same_are_refused(tmp_path: Path) -> None:
    """A decoder falls back to software for what its hardware cannot decode."""
    source = write_film(tmp_path / "film.mp4", Film())
    with pytest.raises(UnreadableVideo, match=r"not decoded by this GPU \(yuv420p .*leave --hw nvdec-nvenc out"):
        enlarge(source, tmp_path / "large.mp4", on_device(decode=decoded_frames))


@pytest.mark.parametrize("wrong", ["black", "nan", "white"])
def test_a_picture_that_cannot_be_right_is_not_written(tmp_path: Path, wrong: str) -> None:
    def engine(batches: Iterable[torch.Tensor]) -> Generator[torch.Tensor]:
        for result in blocks(batches):
            yield torch.full_like(result, {"black": 0.0, "nan": float("nan"), "white": 1.0}[wrong])

    film = Film(range(0, 120, 40), Fraction(1, 1000), codec="ffv1", pixel_format="yuv420p10le")
    with pytest.raises(WrongPixels, match="cannot be right"):
        enlarge(write_film(tmp_path / "film.mkv", film), tmp_path / "large.mkv", on_device(engine))
    assert not (tmp_path / "large.mkv").exists()


@pytest.mark.parametrize(
    ("pixel_format", "changes", "words"),
    [
        ("yuv444p", {}, "only 4:2:0 of 8 and 10 bits stays on the GPU, not yuv444p"),
        ("yuva420p", {}, "only 4:2:0"),
        ("yuv420p12le", {}, "only 4:2:0"),
        ("yuv420p", {"height": 47}, "only even sizes"),
        ("yuv420p", {"interlaced": True}, "the deinterlacer works on the processor"),
        ("yuv420p10le", {}, "h264_nvenc has 8 bits only: --codec hevc has 10"),
    ],
)
def test_what_does_not_fit_a_gpus_formats_is_refused(pixel_format: str, changes: dict[str, Any], words: str) -> None:
    picture = replace(picture_of(pixel_format), **changes)
    with pytest.raises(UsageError, match=rf"--hw nvdec-nvenc cannot be used for this video \({words}.*leave it out"):
        plan_of(picture, output_of(), codec=Codec.H264, hardware=Hardware.NVDEC_NVENC)


def test_codecs_that_nvenc_has_not_are_refused() -> None:
    with pytest.raises(UsageError, match="NVENC has no encoder for VP9"):
        plan_of(picture_of(), output_of("webm"), codec=Codec.VP9, hardware=Hardware.NVDEC_NVENC)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has an NVIDIA GPU")
def test_without_a_gpu_the_command_says_so(
    tmp_path: Path, tiny_checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sr_batch.cli import main

    write_film(tmp_path / "film.mp4", Film())
    with pytest.raises(UsageError, match=r"needs an NVIDIA GPU and a PyTorch with CUDA.*leave it out"):
        refuse_without_gpu("auto")
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path / "film.mp4"), "-n", str(tiny_checkpoint), "--hw", "nvdec-nvenc"])
    assert ended.value.code == 2
    assert "sr-batch: --hw nvdec-nvenc needs an NVIDIA GPU" in capsys.readouterr().err


@pytest.mark.gpu
def test_on_a_real_gpu_the_frames_are_those_of_the_usual_path(tmp_path: Path, tiny_checkpoint: Path) -> None:
    """Has not run where it was written."""
    from sr_batch.cli import main

    source = write_film(tmp_path / "film.mp4", Film(UNEVEN, size=(192, 256), languages=["eng"]))
    options = ["-n", str(tiny_checkpoint), "--engine", "torch", "--device", "cuda", "--precision", "fp32"]
    for name, more in (("usual.mp4", []), ("device.mp4", ["--hw", "nvdec-nvenc"])):
        with pytest.raises(SystemExit) as ended:
            main([str(source), "-o", str(tmp_path / name), *options, "--codec", "h264", "--crf", "5", *more])
        assert ended.value.code == 0
        assert times_in(tmp_path / name) == times_in(source)
    both = []
    for name in ("usual.mp4", "device.mp4"):
        with av.open(str(tmp_path / name)) as container:
            both.append([frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)])
    assert all(np.abs(one - other).mean() < 3 for one, other in zip(*both, strict=True))
