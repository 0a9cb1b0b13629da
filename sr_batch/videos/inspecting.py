"""What is known of a video before any of it is upscaled."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from sr_batch.errors import UnreadableVideo
from sr_batch.videos.colour import check_colour
from sr_batch.videos.frames import first_frame
from sr_batch.videos.picture import Picture, read_picture
from sr_batch.videos.source import open_video, pick_stream, rational, refuse_encrypted
from sr_batch.videos.timeline import Timeline, read_timeline

__all__ = ["VideoFacts", "inspect_video", "likely_pixels"]

USUAL_RATE = Fraction(25)  # where a file says none: only a hint for the encoder


@dataclass(frozen=True)
class VideoFacts:
    """One stream of one file."""

    stream: int  # its index in the container
    container: str  # FFmpeg's name of its demuxer
    codec: str  # FFmpeg's name
    rate: Fraction  # frames a second on average; a hint, the timeline counts
    timeline: Timeline
    picture: Picture


def likely_pixels(
    path: Path,
    number: int | None = None,
    between: tuple[Fraction | None, Fraction | None] = (None, None),
    most: int | None = None,
) -> int:
    """About how many pixels the frames of a video have together, from its header alone. Raises UnreadableVideo.

    `number`: among its video streams; `between`: only frames from the one time on to the other, in seconds; `most`: at
    most so many frames.
    """
    with open_video(path) as container:
        stream = pick_stream(container, number)
        rate = rational(stream.average_rate) or USUAL_RATE
        seconds = Fraction(container.duration or 0, 1_000_000)
        frames = stream.frames or int(seconds * rate)
        start, end = between
        if start is not None or end is not None:
            last = seconds if end is None else min(end, seconds)
            frames = min(frames, round((last - (start or 0)) * rate))
        frames = frames if most is None else min(frames, most)
        return max(1, frames) * stream.codec_context.width * stream.codec_context.height


def inspect_video(path: Path, number: int | None = None) -> VideoFacts:
    """Read all packets and decode one frame of a video's stream (`number` among its video streams; None: the first).

    Raises UnreadableVideo, also for pictures whose colours cannot be converted.
    """
    with open_video(path) as container:
        stream = pick_stream(container, number)
        timeline = read_timeline(container, stream)
    with open_video(path) as container:
        stream = pick_stream(container, number)
        refuse_encrypted(container, stream)
    with open_video(path) as container:
        stream = pick_stream(container, number)
        picture = read_picture(stream, first_frame(container, stream))
        if picture.dolby_vision == 5:
            raise UnreadableVideo(
                "is Dolby Vision profile 5, whose colours are wrong without its grading, which is not carried: convert "
                "it to HDR10 first"
            )
        check_colour(picture)
        rate = rational(stream.average_rate) or rational(stream.guessed_rate) or USUAL_RATE
        return VideoFacts(
            stream.index, container.format.name, stream.codec_context.name, rate or USUAL_RATE, timeline, picture
        )
