"""Frames that never leave the GPU (`--hw nvdec-nvenc`): NVDEC ──▶ RGB ──▶ network ──▶ YUV ──▶ NVENC, all in its memory.

FFmpeg decodes into CUDA frames, torch sees their planes through DLPack, the engine takes and gives tensors, and FFmpeg
encodes from the memory of torch's. Only packets cross the bus, so timeline, parts, joining and checking are those of
every other video. Written from PyAV's and PyTorch's sources and documentation: nothing of it has run on a GPU. What is
not CUDA's runs in the tests, on tensors of the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

from sr_batch.errors import UnreadableVideo, WrongPixels
from sr_batch.guard import BLACK, DARK, MOST_SHIFT
from sr_batch.tiles import Tile, TilePlan, plan_tiles
from sr_batch.videos.device_colour import planes_to_rgb, rgb_to_planes
from sr_batch.videos.flow import Consumer, running_ahead
from sr_batch.videos.frames import Shown
from sr_batch.videos.parts import Parts
from sr_batch.videos.picture import Colour
from sr_batch.videos.timeline import Placing
from sr_batch.videos.upscaling import MakeParts, Progress, VideoTask, decoded_frames, write_parts
from sr_train.errors import UsageError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from torch import Tensor

    from sr_batch.doors import DeviceEngine

__all__ = ["Decode", "refuse_without_gpu", "resident_parts"]

ROOM = 1  # decoded frames that wait: NVDEC has few surfaces
FORMATS = {"torch.uint8": "nv12", "torch.uint16": "p010le"}
# Of a task, from an open container: the frames from a number of the result on.
Decode = Callable[[VideoTask, "InputContainer", range, int], Iterator[Shown]]


def refuse_without_gpu(device: str) -> None:
    """UsageError unless there is an NVIDIA GPU that PyTorch and FFmpeg can use, and `device` (--device) may be it."""
    import torch
    from av.codec.hwaccel import hwdevices_available

    if not torch.cuda.is_available():
        raise UsageError(
            "--hw nvdec-nvenc needs an NVIDIA GPU and a PyTorch with CUDA, and this PyTorch finds none: leave it out"
        )
    if "cuda" not in hwdevices_available():
        raise UsageError(
            "--hw nvdec-nvenc needs a PyAV with CUDA, as its wheels for Linux and Windows are: leave it out"
        )
    if device not in ("auto", "cuda", "cuda:0", "0"):
        raise UsageError("--hw nvdec-nvenc works on the first GPU: hide the others with CUDA_VISIBLE_DEVICES=N")


def resident_parts(open_engine: Callable[[bool], DeviceEngine], decode: Decode = decoded_frames) -> MakeParts:
    """Makes the parts of videos whose frames stay on the device of the engine, which is asked for by depth (deep or
    not). It raises UsageError where it does not take tensors."""
    return partial(_make_parts, open_engine, decode)


def _make_parts(
    open_engine: Callable[[bool], DeviceEngine], decode: Decode, task: VideoTask, parts: Parts, progress: Progress
) -> int:
    from sr_batch.videos.source import open_video

    wanted = task.wanted
    done, total = parts.frames, len(wanted)
    progress(done, total)
    if task.facts.timeline.placing is not Placing.FREE and done == total:
        return 0
    engine = open_engine(task.facts.picture.deep)

    def encode(frames: Iterator[tuple[Shown, VideoFrame]]) -> None:
        write_parts(frames, task, parts, parts.target)

    with (
        open_video(task.source) as container,
        running_ahead(decode(task, container, wanted, done), ROOM, "decode") as shown,
        Consumer(encode, ROOM, "encode") as encoder,
    ):
        for item in _upscaled(shown, task, engine):
            encoder.put(item)
            done += 1
            progress(done, max(done, total))
    return 0


def _upscaled(frames: Iterable[Shown], task: VideoTask, engine: DeviceEngine) -> Iterator[tuple[Shown, VideoFrame]]:
    """Each frame with its upscaled one for the encoder; a frame that is the one before once more has the same."""
    import torch

    settings, picture = task.settings, task.facts.picture
    tiles = plan_tiles(picture.height, picture.width, settings.tile, settings.halo, settings.fixed_tile)
    to_frame = _FrameMaker(task.plan.colour)
    before: Tensor | None = None
    frame: VideoFrame | None = None
    for shown in frames:
        rgb = planes_to_rgb(*_planes(shown.frame, engine.device), picture.colour)
        if frame is None or before is None or not torch.equal(rgb, before):
            large = _enlarged(rgb, tiles, settings.scale, settings.batch, engine)
            _check(rgb, large)
            frame = to_frame(large)
        before = rgb
        yield shown, frame


def _planes(frame: VideoFrame, device: str) -> tuple[Tensor, Tensor]:
    """Luma and chroma of a decoded frame, where they lie. Raises UnreadableVideo where the decoder left the GPU."""
    import torch
    from torch.utils.dlpack import from_dlpack

    if device.startswith("cuda"):
        torch.cuda.synchronize(device)  # PyAV's planes cannot be asked to wait for torch's stream
    luma, chroma = (from_dlpack(plane.__dlpack__()) for plane in frame.planes[:2])
    if luma.device.type != torch.device(device).type or chroma.ndim != 3:
        raise UnreadableVideo(
            f"is not decoded by this GPU ({frame.format.name} comes from the processor): leave --hw nvdec-nvenc out"
        )
    return luma, chroma


def _enlarged(rgb: Tensor, tiles: TilePlan, scale: int, batch: int, engine: DeviceEngine) -> Tensor:
    """[scale·h, scale·w, 3] of a picture [h, w, 3]: its tiles through the engine."""
    import torch

    height, width = rgb.shape[:2]
    large = torch.empty((height * scale, width * scale, 3), dtype=rgb.dtype, device=rgb.device)
    groups = _groups(tiles, batch)
    windows = (torch.stack([rgb[tile.rows.window(), tile.columns.window()] for tile in group]) for group in groups)
    with closing(engine.stream(windows)) as results:
        for group, result in zip(groups, results, strict=True):
            for tile, pixels in zip(group, result, strict=True):
                core = pixels[tile.rows.core_in_result(scale), tile.columns.core_in_result(scale)]
                large[tile.rows.core_in_output(scale), tile.columns.core_in_output(scale)] = core
    return large


def _groups(tiles: TilePlan, most: int) -> list[list[Tile]]:
    """All windows of a plan have one size."""
    listed = list(tiles)
    return [listed[start : start + most] for start in range(0, len(listed), most)]


def _check(rgb: Tensor, large: Tensor) -> None:
    """Raise WrongPixels for a picture that is black, not finite or of another colour than its input; see guard.py."""
    levels = 255.0 if rgb.is_floating_point() else 1.0
    before, after = (pixels.float().mean((0, 1)).double().cpu() * levels for pixels in (rgb, large))
    black = float(after.max()) <= BLACK and float(before.max()) > DARK
    if black or not bool(after.isfinite().all()) or float((after - before).abs().max()) > MOST_SHIFT:
        raise WrongPixels(
            "the network's picture cannot be right (black, not finite, or of another colour): leave --hw nvdec-nvenc "
            "out, so that such tiles are done again in fp32"
        )


class _FrameMaker:
    """Upscaled pictures as frames for the encoder, in the memory that torch made them in."""

    def __init__(self, colour: Colour) -> None:
        self._colour = colour
        self._context: Any = None  # FFmpeg's view of the GPU, one for all frames of a video

    def __call__(self, rgb: Tensor) -> VideoFrame:
        import torch
        from av.video.frame import CudaContext, VideoFrame

        planes = rgb_to_planes(rgb, self._colour)
        if rgb.is_cuda:
            self._context = self._context or CudaContext(rgb.device.index or 0, primary_ctx=True)
            torch.cuda.synchronize(rgb.device)  # FFmpeg does not know what torch has queued
        frame = VideoFrame.from_dlpack(planes, FORMATS[str(planes[0].dtype)], cuda_context=self._context)
        frame.colorspace, frame.color_range = self._colour.matrix, 2 if self._colour.full_range else 1
        frame.color_primaries, frame.color_trc = self._colour.primaries, self._colour.transfer
        return frame
