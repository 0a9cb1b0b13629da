"""Memory of large frames goes back to the system when it is freed."""

from __future__ import annotations

import ctypes
import sys

__all__ = ["give_large_blocks_back"]

LARGE_BYTES = 4 << 20  # frames and their planes, not what converting a strip takes
M_MMAP_THRESHOLD = -3  # of glibc's <malloc.h>


def give_large_blocks_back() -> None:
    """From now on glibc's malloc maps blocks of `LARGE_BYTES` by themselves, in this whole process; others: nothing.

    By itself it begins, once a frame has been freed, to cut frames out of heaps that only shrink from their end:
    between two parts of a video 200 MB stayed that nobody used.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)
