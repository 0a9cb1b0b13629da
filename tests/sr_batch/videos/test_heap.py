"""Freed frames go back to the system, also when an earlier one has been freed."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys
from pathlib import Path
import numpy as np
from sr_batch.videos.heap import give_large_blocks_back

def resident():
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) // 1024

if sys.argv[1] == "yes":
    give_large_blocks_back()
before = resident()
first = np.ones(30 << 20, np.uint8)
del first  # from here on glibc would take such blocks from its heap
frames, between = [], []
for _ in range(8):
    frames.append(np.ones(16 << 20, np.uint8))
    between.append(np.ones(100_000, np.uint8))  # what stays, above each
del frames
print(resident() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_frames_that_are_freed_do_not_stay() -> None:
    stayed = {
        answer: int(subprocess.run([sys.executable, "-c", SCRIPT, answer], check=True, capture_output=True).stdout)
        for answer in ("yes", "no")
    }
    assert stayed["yes"] < 16, stayed
    if stayed["no"] < 100:
        pytest.skip("this malloc gives them back by itself")
