"""Errors of upscaling files: branches of sr_train.errors.SRError.

SRError
└── PhotoError              one file could not be read, upscaled or written; the batch goes on (also an OSError)
    ├── UnreadablePhoto     damaged, empty, not a picture, or of a kind that cannot be upscaled
    │   └── PhotoOutOfReach     not the photo's fault: no permission, a missing package, above a limit
    └── UnwritablePhoto     no permission, no space, or too large for its format
"""

from __future__ import annotations

from sr_train.errors import SRError

__all__ = ["PhotoError", "PhotoOutOfReach", "UnreadablePhoto", "UnwritablePhoto"]


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
