"""Which tile size is best: speed of an engine by window side, halo cost included. `auto` takes the winner.

    python benchmarks/tiles.py [--engine openvino] [--sides 96 128 ...]

"net MP/s" counts only the pixels that are kept of an inner tile: (side - 2 halo)² / seconds.
"""

from __future__ import annotations

import argparse
import resource
from functools import partial

import numpy as np
from measure import interleaved_seconds, machine, print_table

from sr_batch.tiles import plan_tiles
from sr_export.engines import Engine, EngineName, open_engine
from sr_export.model import find_model, prepare

PHOTO = (3000, 4000)  # height, width: a 12 MP photo, for the share of work that halos add


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--engine", type=EngineName, default=EngineName.OPENVINO)
    parser.add_argument("--sides", type=int, nargs="+", default=[96, 128, 192, 256, 320, 384, 512])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="srresnet")
    options = parser.parse_args()
    prepared = prepare(find_model(options.model))
    with open_engine(prepared, options.engine) as engine:
        halo = engine.traits.halo_measured or engine.traits.halo or 0
        print(f"{machine()}\n\n{engine.traits.describe()}, halo {halo}\n")
        memory = {}
        for side in options.sides:
            _one(engine, side)
            memory[side] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        runs = {str(side): partial(_one, engine, side) for side in options.sides}
        seconds = interleaved_seconds(runs, options.rounds)
    rows = []
    for side in options.sides:
        taken = seconds[str(side)]
        plan = plan_tiles(*PHOTO, side, halo)
        overhead = plan.computed_pixels() / (PHOTO[0] * PHOTO[1])
        gross, net = side**2 / taken / 1e6, (side - 2 * halo) ** 2 / taken / 1e6
        rows.append(
            [str(side), f"{taken * 1e3:.0f}", f"{gross:.4f}", f"{net:.4f}", f"{overhead:.3f}x", f"{memory[side]:.2f}"]
        )
    print_table(["side", "ms", "MP/s", "net MP/s", "computed on 12 MP", "peak GB so far"], rows)


def _one(engine: Engine, side: int) -> None:
    pixels = np.random.default_rng(side).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    next(engine.stream([pixels]))


if __name__ == "__main__":
    main()
