"""Whether this FFmpeg, on this machine, has an encoder and can open it: found out by opening it for a small picture."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from av.video.codeccontext import VideoCodecContext

__all__ = ["hush", "refusal"]

SIDE = 256  # pixels: every encoder takes that


def refusal(encoder: str, pixel_format: str, options: dict[str, str]) -> str | None:
    """Why this encoder cannot be opened with these options, in FFmpeg's words; None if it can."""
    from av.codec.codec import UnknownCodecError
    from av.codec.context import CodecContext
    from av.error import FFmpegError

    hush(encoder)
    try:
        context = cast("VideoCodecContext", CodecContext.create(encoder, "w"))
    except UnknownCodecError:
        return "this FFmpeg does not have it"
    context.width = context.height = SIDE
    context.pix_fmt = pixel_format
    context.time_base, context.framerate = Fraction(1, 25), Fraction(25)
    context.options = options
    with _errors_kept() as said:
        try:
            context.open()
        except (FFmpegError, ValueError) as error:
            words = [text.strip() for _, _, text in said if text.strip()]
            return words[-1].rstrip(".") if words else getattr(error, "strerror", None) or str(error)
    return None


@contextmanager
def _errors_kept() -> Iterator[list[tuple[int, str, str]]]:
    """FFmpeg's error messages of this thread, kept instead of written to stderr."""
    import av.logging

    before = av.logging.get_level()
    av.logging.set_level(av.logging.ERROR)
    try:
        with av.logging.Capture() as messages:
            yield messages
    finally:
        av.logging.set_level(before)


def hush(encoder: str) -> None:
    """SVT-AV1 writes its settings to stderr, past FFmpeg's log, unless its environment says otherwise: 1 is errors."""
    if encoder == "libsvtav1":
        os.environ.setdefault("SVT_LOG", "1")
