"""A few frames spread over a video as pictures, before and after: to see what will come before hours are spent."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from sr_batch.depth import to_depth
from sr_batch.errors import UnreadableVideo, UnwritableVideo
from sr_batch.tiles import plan_tiles
from sr_batch.videos.colour import to_rgb
from sr_batch.videos.frames import read_frames
from sr_batch.videos.inference import Network, upscale_frames
from sr_batch.videos.inspecting import VideoFacts
from sr_batch.videos.picture import Picture
from sr_batch.videos.source import open_video
from sr_batch.videos.upscaling import VideoSettings

if TYPE_CHECKING:
    from av.video.stream import VideoStream

__all__ = ["preview_video"]


def preview_video(
    source: Path,
    folder: Path,
    network: Network,
    settings: VideoSettings,
    facts: VideoFacts,
    count: int,
    done: Callable[[], None] = lambda: None,
) -> int:
    """Write `count` frames (fewer where there are fewer) to `folder`: frame_000120.png and frame_000120_x4.png.

    They are turned and stretched as a player shows them; 8 bits a channel. Returns how many. Raises VideoError.
    """
    wanted = facts.timeline.frames_between(settings.start, settings.end)
    if not wanted:
        raise UnreadableVideo(f"has no frame in the range; it is {float(facts.timeline.seconds()):.2f} s long")
    count = min(count, len(wanted))
    picture = facts.picture
    tiles = plan_tiles(picture.height, picture.width, settings.tile, settings.halo, settings.fixed_tile)
    indices = [wanted[(2 * place + 1) * len(wanted) // (2 * count)] for place in range(count)]
    frames = ((index, _frame(source, facts, index)) for index in indices)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        befores = (((index, rgb), rgb, False) for index, rgb in frames)
        for (index, before), after in upscale_frames(befores, network, tiles, settings.tile_options()):
            _write(folder / f"frame_{index:06d}.png", before, picture)
            assert after is not None  # no frame here is called a repeat
            _write(folder / f"frame_{index:06d}_x{settings.scale}.png", after, picture)
            done()
    except OSError as error:
        if isinstance(error, UnreadableVideo):
            raise
        raise UnwritableVideo(f"the previews in {folder} cannot be written ({error.strerror or error})") from error
    return count


def _frame(source: Path, facts: VideoFacts, index: int) -> NDArray[Any]:
    with open_video(source) as container:
        shown = next(
            iter(read_frames(container, cast("VideoStream", container.streams[facts.stream]), facts.timeline, index)),
            None,
        )
        if shown is None:
            raise UnreadableVideo(f"has no frame {index} that can be decoded")
        return to_rgb(shown.frame, facts.picture).rgb


def _write(path: Path, rgb: NDArray[Any], picture: Picture) -> None:
    """Turned, and with the longer side of the video's pixels stretched so that they become square."""
    import cv2

    shown, aspect = to_depth(rgb, np.dtype(np.uint8)), picture.pixel_aspect or Fraction(1)
    if aspect != 1:
        height, width = shown.shape[:2]
        size = round(width * max(aspect, 1)), round(height / min(aspect, 1))
        shown = np.asarray(cv2.resize(shown, size, interpolation=cv2.INTER_CUBIC), np.uint8)
    turned = np.rot90(shown, picture.rotation // 90)
    written, data = cv2.imencode(".png", cv2.cvtColor(np.ascontiguousarray(turned), cv2.COLOR_RGB2BGR))
    if not written:
        raise UnwritableVideo(f"{path} cannot be written")
    path.write_bytes(data.tobytes())
