"""Errors of exporting and running models: branches of sr_train.errors.SRError.

SRError
├── UsageError
│   └── EngineUnavailable   a named engine, precision or device cannot be had on this machine
├── ModelError              a model file cannot be run as a 4x/2x/1x upscaler
├── CacheError              the folder for derived files cannot be used
└── EngineFailed            an engine broke while running
"""

from __future__ import annotations

from sr_train.errors import SRError, UsageError

__all__ = ["CacheError", "EngineFailed", "EngineUnavailable", "ModelError"]


class EngineUnavailable(UsageError):
    """A named engine, precision or device cannot be had on this machine; the message says what to use instead."""


class ModelError(SRError, ValueError):
    """A model file cannot be used for upscaling."""


class CacheError(SRError, OSError):
    """The folder for derived files cannot be read or written."""


class EngineFailed(SRError, RuntimeError):
    """An engine broke while running; carries the engine's own words."""
