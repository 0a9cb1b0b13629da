"""Exact reuse: results remembered by the bytes of their windows, the least recently used forgotten first."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

from sr_batch.depth import EnginePixels

__all__ = ["Reuse", "key_of"]

DIGEST_BYTES = 16  # of BLAKE2b: two windows with one key do not happen


class Reuse:
    """A bounded store of results."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._results: OrderedDict[bytes, EnginePixels] = OrderedDict()
        self._bytes = 0

    def find(self, key: bytes) -> EnginePixels | None:
        """The result of the window with this key, not to be changed; None where it is not (or no longer) known."""
        result = self._results.get(key)
        if result is not None:
            self._results.move_to_end(key)
        return result

    def takes(self, result: EnginePixels) -> bool:
        """Whether `add` would remember it."""
        return result.nbytes <= self._most_bytes

    def add(self, key: bytes, result: EnginePixels) -> None:
        """Remember a result that nobody changes any more."""
        if not self.takes(result):
            return
        self._results[key] = result
        self._bytes += result.nbytes
        while self._bytes > self._most_bytes:
            self._bytes -= self._results.popitem(last=False)[1].nbytes


def key_of(window: EnginePixels) -> bytes:
    """Of a C-contiguous window's content, its shape and dtype included."""
    digest = hashlib.blake2b(repr((window.shape, window.dtype.str)).encode(), digest_size=DIGEST_BYTES)
    digest.update(window.data)
    return digest.digest()
