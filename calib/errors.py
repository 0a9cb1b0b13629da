"""Errors of calibration: branches of sr_train.errors.SRError.

SRError
└── UsageError
    └── CalibrationError    photos, a model or ranges that cannot be calibrated with
        └── GateRefused     an INT8 form that is too far from fp32, or not faster here
"""

from __future__ import annotations

from sr_train.errors import UsageError

__all__ = ["CalibrationError", "GateRefused"]


class CalibrationError(UsageError):
    """Photos, a model or ranges that cannot be calibrated with; the message says what to use instead."""


class GateRefused(CalibrationError):
    """An INT8 form should not be used; the message says why."""
