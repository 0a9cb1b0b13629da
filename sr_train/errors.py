"""The root of the exception tree. Every message says what happened and how to mend it, in one sentence.

SRError                          anything that a user can mend
├── UsageError                   an option, path or value that cannot be meant (also a ValueError)
└── CheckpointError              a file is not a checkpoint of ours, or is damaged (also a ValueError)
    (sr_export.errors, sr_batch.errors add their branches below SRError)
"""

from __future__ import annotations

__all__ = ["CheckpointError", "SRError", "UsageError"]


class SRError(Exception):
    """Base of all errors that this toolkit raises on purpose; `str(error)` is fit to print to a user."""


class UsageError(SRError, ValueError):
    """An option, path or value that cannot be meant."""


class CheckpointError(SRError, ValueError):
    """A file is not a checkpoint of this toolkit, or it is damaged."""
