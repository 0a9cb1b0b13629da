"""A video file, opened: which of its streams is upscaled, and what is refused before any work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from sr_batch.errors import UnreadableVideo, VideoError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.stream import Stream
    from av.video.stream import VideoStream

__all__ = ["is_cover", "no_longer_readable", "open_video", "pick_stream", "rational"]

# Lists of other files, possibly on other machines, and single pictures: demuxers that are no container of a video.
PLAYLISTS = ("hls", "dash", "concat", "sdp", "rtsp", "applehttp")
PICTURES = ("image2", "gif", "tty")
ENCRYPTED_TAGS = ("encv", "drmi", "drms")
PACKETS_LOOKED_AT = 50


@contextmanager
def open_video(path: Path) -> Iterator[InputContainer]:
    """The container, closed with the block. Raises UnreadableVideo for whatever is no video file."""
    import av

    try:
        if path.stat().st_size == 0:
            raise UnreadableVideo("is empty (0 bytes); copy it again from where it came")
        # A file that names others (a playlist) must not make us read them, here or on the network.
        container = av.open(str(path), options={"protocol_whitelist": "file"})
    except VideoError:
        raise
    except av.FFmpegError as error:
        raise no_longer_readable(error) from error
    except OSError as error:
        raise UnreadableVideo(f"cannot be read ({error.strerror or error})") from error
    with container:
        _refuse_what_is_no_video(container)
        yield container


def no_longer_readable(error: Exception) -> UnreadableVideo:
    """FFmpeg's error as ours, in its own words."""
    reason = getattr(error, "strerror", None) or str(error)
    return UnreadableVideo(f"cannot be read as a video ({reason}); it is damaged, incomplete or no video")


def pick_stream(container: InputContainer, number: int | None = None) -> VideoStream:
    """The video stream with this number among the video streams (0 is the first), cover pictures not counted.

    None: the first. Raises UnreadableVideo when there is none, or when it is encrypted or has no decoder here.
    """
    found = [stream for stream in container.streams.video if not is_cover(stream)]
    if not found:
        kinds = sorted({stream.type for stream in container.streams})
        raise UnreadableVideo(
            f"has no video stream (only {', '.join(kinds) or 'nothing'}); there is nothing to upscale"
        )
    if number is not None and not 0 <= number < len(found):
        raise UnreadableVideo(f"has {len(found)} video stream(s), so --stream goes from 0 to {len(found) - 1}")
    stream = found[number or 0]
    # Some of these are None for codecs that this FFmpeg does not know; PyAV's types do not say so.
    context: object = stream.codec_context
    if context is None:
        raise UnreadableVideo("is in a codec that the installed FFmpeg cannot decode; convert it first")
    if stream.codec_context.codec_tag.lower() in ENCRYPTED_TAGS:
        raise _encrypted()
    if not stream.codec_context.width:
        raise UnreadableVideo("does not say how large its pictures are: it is damaged, incomplete, or encrypted")
    return stream


def is_cover(stream: Stream) -> bool:
    """A picture that goes with the file (cover art), not a video."""
    from av.stream import Disposition

    return stream.type == "video" and bool(stream.disposition & Disposition.attached_pic)


def refuse_encrypted(container: InputContainer, stream: VideoStream) -> None:
    """Raise UnreadableVideo when the first packets say that they are encrypted. Moves the reading position."""
    for count, packet in enumerate(container.demux(stream)):
        if packet.has_sidedata("encryption_info") or packet.has_sidedata("encryption_init_info"):
            raise _encrypted()
        if count >= PACKETS_LOOKED_AT:
            return


def rational(value: object) -> Fraction | None:
    """PyAV's rationals (two classes, by version and property) as Fraction; None for 0/0 and n/0."""
    numerator, denominator = getattr(value, "numerator", 0), getattr(value, "denominator", 0)
    return Fraction(int(numerator), int(denominator)) if denominator else None


def _encrypted() -> UnreadableVideo:
    return UnreadableVideo("is encrypted (DRM); only a copy without protection can be upscaled")


def _refuse_what_is_no_video(container: InputContainer) -> None:
    names = set(container.format.name.split(","))
    if names & set(PLAYLISTS):
        raise UnreadableVideo("is a list of other files, not a video; name the video itself")
    if names & set(PICTURES) or any(name.endswith("_pipe") for name in names):
        raise UnreadableVideo(
            f"holds a picture ({container.format.name}), not a video; give it a photo's ending to upscale it"
        )
