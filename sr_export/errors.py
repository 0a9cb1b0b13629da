"""Errors of exporting and running models: branches of sr_train.errors.SRError.

SRError
├── UsageError
│   ├── EngineUnavailable   a named engine, precision or device cannot be had on this machine
│   └── Fp16Unsafe          a network's numbers come too near to what half precision can hold
├── ModelError              a model file cannot be run as a 4x/2x/1x upscaler
├── CacheError              the folder for derived files cannot be used
├── PlanError               TensorRT rejects a network or its options; carries its own sentence
└── EngineFailed            an engine broke while running
    └── OutOfDeviceMemory   the GPU has too little memory for a tile of this size
"""

from __future__ import annotations

from sr_train.errors import SRError, UsageError

__all__ = [
    "CacheError",
    "EngineFailed",
    "EngineUnavailable",
    "Fp16Unsafe",
    "ModelError",
    "OutOfDeviceMemory",
    "PlanError",
]


class EngineUnavailable(UsageError):
    """A named engine, precision or device cannot be had on this machine; the message says what to use instead."""


class Fp16Unsafe(UsageError):
    """A network's numbers come too near to what half precision can hold; the message names the layers."""


class ModelError(SRError, ValueError):
    """A model file cannot be used for upscaling."""


class CacheError(SRError, OSError):
    """The folder for derived files cannot be read or written."""


class EngineFailed(SRError, RuntimeError):
    """An engine broke while running; carries the engine's own words."""


class PlanError(SRError, ValueError):
    """TensorRT rejects a network or the options of a plan."""


class OutOfDeviceMemory(EngineFailed):
    """The GPU has too little memory for a tile of this size; a smaller one may fit."""
