"""The root of the exception tree. Every message says what happened and how to mend it, in one sentence.

SRError                          anything that a user can mend
├── UsageError                   an option, path or value that cannot be meant (also a ValueError)
│   ├── ConfigError              a recipe's key or value is not known or cannot be meant
│   └── DataError                a folder, pack or pair of folders holds nothing that can be trained on
├── CheckpointError              a file is not a checkpoint of ours, or is damaged (also a ValueError)
│   ├── WeightsError             weights of VGG19 or LPIPS are missing or do not fit
│   ├── ResumeError              a saved run is another run than the one asked for, or is damaged
│   └── ConvertError             a foreign generator does not fit this network
└── TrainingError                training cannot go on (also a RuntimeError)
    ├── OutOfMemory              a batch does not fit in memory
    ├── Diverged                 a loss or weight is no longer a number
    ├── SaveFailed               a checkpoint could not be written; the one before is still there
    └── DownloadError            a file could not be fetched, or is not what it should be
    (sr_export.errors, sr_batch.errors add their branches below SRError)

`Interrupted` stands beside the tree: it is what Ctrl-C and SIGTERM become once the run has been saved.
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "ConfigError",
    "ConvertError",
    "DataError",
    "Diverged",
    "DownloadError",
    "Interrupted",
    "OutOfMemory",
    "ResumeError",
    "SRError",
    "SaveFailed",
    "TrainingError",
    "UsageError",
    "WeightsError",
    "is_out_of_memory",
]


class SRError(Exception):
    """Base of all errors that this toolkit raises on purpose; `str(error)` is fit to print to a user."""


class UsageError(SRError, ValueError):
    """An option, path or value that cannot be meant."""


class ConfigError(UsageError):
    """A recipe's key or value is not known or cannot be meant; the message names the nearest known key."""


class DataError(UsageError):
    """There is nothing here that can be trained on, or nothing that fits together."""


class CheckpointError(SRError, ValueError):
    """A file is not a checkpoint of this toolkit, or it is damaged."""


class WeightsError(CheckpointError):
    """Weights of a measuring network (VGG19, LPIPS) are missing, damaged or do not fit."""


class ResumeError(CheckpointError):
    """A saved run is another run than the one asked for, or its state is damaged."""


class ConvertError(CheckpointError):
    """A foreign generator does not fit this network; the message lists the keys."""


class TrainingError(SRError, RuntimeError):
    """Training cannot go on."""


class OutOfMemory(TrainingError):
    """A batch does not fit in memory."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of Python or torch (a RuntimeError there) says that there is no memory left."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or (
        "out of memory" in words or "can't allocate memory" in words or "not enough memory" in words
    )


class Diverged(TrainingError):
    """A loss or weight is no longer a finite number."""


class SaveFailed(TrainingError):
    """A checkpoint could not be written; the one before it is still there, whole."""


class DownloadError(TrainingError):
    """A file could not be fetched, or is not what it should be."""


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM came, and the run was saved. Like KeyboardInterrupt: caught only where the process ends."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal_number = signal_number
