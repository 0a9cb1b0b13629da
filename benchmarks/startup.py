"""How long a user waits for `sr-batch --help`, and for the first photo to start when the model is prepared.

python benchmarks/startup.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from measure import interleaved_seconds, machine, print_table
from PIL import Image

from sr_export.model import find_model, prepare

ROUNDS = 7


def main() -> None:
    prepare(find_model("srresnet"))
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "tiny.png"
        Image.new("RGB", (8, 8), "red").save(photo)
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "sr-batch --help": [sys.executable, "-m", "sr_batch.cli", "--help"],
            "sr-batch on an 8x8 photo": [sys.executable, "-m", "sr_batch.cli", str(photo), "--overwrite"],
        }
        runs = {n: lambda c=c: subprocess.run(c, capture_output=True, check=True) for n, c in commands.items()}
        seconds = interleaved_seconds(runs, ROUNDS)
    print(machine(), "\n")
    print_table(["command", "s (median)"], [[name, f"{taken:.2f}"] for name, taken in seconds.items()])


if __name__ == "__main__":
    main()
