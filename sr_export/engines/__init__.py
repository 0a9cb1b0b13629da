"""Engines: what runs a model. One protocol (base.py), one file each, and the choice between them (choose.py)."""

from sr_export.engines.base import Engine, EngineName, Pixels, Precision, StreamsTensors, Watch
from sr_export.engines.choose import open_engine, refuse_what_is_not_built

__all__ = [
    "Engine",
    "EngineName",
    "Pixels",
    "Precision",
    "StreamsTensors",
    "Watch",
    "open_engine",
    "refuse_what_is_not_built",
]
