"""Pictures in, pictures out."""

from sr_batch.events import Summary
from sr_batch.folders import Job, Naming, PhotoJob, VideoJob, WorkList, find_jobs
from sr_batch.pipeline import Settings, run_batch
from sr_batch.tiles import TilePlan, plan_tiles
from sr_batch.upscale import Band, upscale

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
    "upscale",
]
