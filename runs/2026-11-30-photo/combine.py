"""What P2 and P3 start from: P1's weights, plus what stage 2 had changed of srresnet to make srgan, both as shipped.

python runs/2026-11-30-photo/combine.py P1/srresnet/last.safetensors -o start.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sr_export.model import find_model
from sr_train.checkpoint import load_checkpoint, save_checkpoint


def main() -> None:
    """Each weight w becomes w + srgan - srresnet; BatchNorm's statistics are the same in all three."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("-o", type=Path, required=True)
    options = parser.parse_args()
    network, info = load_checkpoint(options.checkpoint)
    top, base = (load_checkpoint(find_model(name).path)[0].state_dict() for name in ("srgan", "srresnet"))
    weights = network.state_dict()
    network.load_state_dict(
        {name: w + top[name] - base[name] if w.is_floating_point() else w for name, w in weights.items()}
    )
    save_checkpoint(options.o, network, info)


if __name__ == "__main__":
    main()
