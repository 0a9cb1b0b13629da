"""What a run learnt, added to other weights: each weight w becomes w + plus - minus.

python runs/combine.py P1/srresnet/last.safetensors -o start.safetensors
python runs/combine.py Q3/srgan/last.safetensors --plus Q4/srresnet/last.safetensors \
    --minus Q1/srresnet/last.safetensors -o start.safetensors

P2 and P3 start from the first, Q2 from the same of Q1: what stage 2 had changed of srresnet to make srgan, both as
shipped, is added. Q5 starts from the second. BatchNorm's statistics are the same in all.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from sr_export.model import find_model
from sr_train.checkpoint import load_checkpoint, save_checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--plus", default="srgan")
    parser.add_argument("--minus", default="srresnet")
    parser.add_argument("-o", type=Path, required=True)
    options = parser.parse_args()
    network, info = load_checkpoint(options.checkpoint)
    plus, minus = (load_checkpoint(find_model(name).path)[0].state_dict() for name in (options.plus, options.minus))
    weights = network.state_dict()
    network.load_state_dict(
        {name: w + plus[name] - minus[name] if w.is_floating_point() else w for name, w in weights.items()}
    )
    save_checkpoint(options.o, network, info)


if __name__ == "__main__":
    main()
