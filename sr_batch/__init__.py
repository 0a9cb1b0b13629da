"""Pictures in, pictures out.

The names are looked up when they are first asked for: the command imports this package before it can answer Ctrl-C.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sr_batch.events import Summary
    from sr_batch.folders import Job, Naming, PhotoJob, VideoJob, WorkList, find_jobs
    from sr_batch.pipeline import Settings, run_batch
    from sr_batch.tiles import TilePlan, plan_tiles
    from sr_batch.upscale import Band, upscale_all

__all__ = [
    "Band",
    "Job",
    "Naming",
    "PhotoJob",
    "Settings",
    "Summary",
    "TilePlan",
    "VideoJob",
    "WorkList",
    "find_jobs",
    "plan_tiles",
    "run_batch",
    "upscale_all",
]

_MODULES = {
    "events": ("Summary",),
    "folders": ("Job", "Naming", "PhotoJob", "VideoJob", "WorkList", "find_jobs"),
    "pipeline": ("Settings", "run_batch"),
    "tiles": ("TilePlan", "plan_tiles"),
    "upscale": ("Band", "upscale_all"),
}


def __getattr__(name: str) -> object:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"sr_batch.{module}"), name)
    raise AttributeError(f"module 'sr_batch' has no attribute '{name}'")
