"""Errors of upscaling files: branches of sr_train.errors.SRError.

SRError
├── WrongPixels             an engine's result cannot be right, and fp32 gives none either
├── PhotoError              one file could not be read, upscaled or written; the batch goes on (also an OSError)
│   ├── UnreadablePhoto     damaged, empty, not a picture, or of a kind that cannot be upscaled
│   │   └── PhotoOutOfReach     not the photo's fault: no permission, a missing package, above a limit
│   └── UnwritablePhoto     no permission, no space, or too large for its format
└── VideoError              one video could not be read, upscaled or written; the batch goes on (also an OSError)
    ├── UnreadableVideo     damaged, empty, without pictures, encrypted, or not a video
    ├── UnwritableVideo     no permission, no space, or no encoder; finished parts stay, and the same command goes on
    └── VideoMismatch       the finished video is not what its input says it must be; nothing gets the result's name
"""

from __future__ import annotations

from sr_train.errors import SRError

__all__ = [
    "PhotoError",
    "PhotoOutOfReach",
    "UnreadablePhoto",
    "UnreadableVideo",
    "UnwritablePhoto",
    "UnwritableVideo",
    "VideoError",
    "VideoMismatch",
    "WrongPixels",
]


class PhotoError(SRError, OSError):
    """One file could not be done; the message is the reason, without the file's name."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class UnreadablePhoto(PhotoError):
    """The input cannot be decoded."""


class PhotoOutOfReach(UnreadablePhoto):
    """The input cannot be read here and now, whatever is in it."""


class UnwritablePhoto(PhotoError):
    """The output cannot be written."""


class VideoError(SRError, OSError):
    """One video could not be done; the message is the reason, without the file's name."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class UnreadableVideo(VideoError):
    """The input cannot be decoded, or holds nothing that can be upscaled."""


class UnwritableVideo(VideoError):
    """The output cannot be written; what is finished of it stays for the next run."""


class VideoMismatch(VideoError):
    """The finished video differs from what its input says it must be."""


class WrongPixels(SRError):
    """No usable result could be computed for a picture."""
