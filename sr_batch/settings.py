"""How photos are upscaled and written, as one value."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

from sr_batch.photos import AlphaChoice, ReadOptions, WriteOptions
from sr_batch.sizes import SizePolicy

__all__ = ["Settings"]


@dataclass(frozen=True)
class Settings:
    """How photos are upscaled and written."""

    scale: int  # the network's
    tile: int  # LR pixels, window side
    halo: int  # LR pixels
    sizes: SizePolicy = field(default=SizePolicy())  # of the results
    batch: int = 1  # tiles in one engine call
    read: ReadOptions = field(default=ReadOptions())
    write: WriteOptions = field(default=WriteOptions())
    alpha: AlphaChoice = AlphaChoice.LANCZOS
    keep_mtime: bool = True  # results have the modification time of their inputs
    overwrite: bool = False  # do again what is there
    load: int = 1  # decoding threads
    save: int = 2  # encoding threads
    fixed_tile: bool = False  # the engine is fastest at windows of exactly `tile`
    # Of results remembered for windows with the same bytes: flat parts; a long batch must not grow by 50 MB.
    reuse_bytes: int = 32 << 20

    def key(self, model_sha256: str, precision: str) -> str:
        """Of all that shapes a result: for the journal. Tiles and batches change nothing that can be seen."""
        size = repr(self.sizes.target_for(self.scale))
        shaping = [model_sha256, precision, self.scale, size, self.halo, self.read.icc, self.read.strip, self.read.clip]
        shaping += [self.write.quality, self.write.png_level, self.alpha, self.keep_mtime]
        return hashlib.sha256(json.dumps(shaping).encode()).hexdigest()[:16]
