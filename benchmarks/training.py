"""How fast a step of each stage is, in fp32 as PyTorch comes and as the `fast` recipe computes it.

    python benchmarks/training.py [--batch 16] [--crop 96] [--rounds 5] [--vgg-weights FILE] [--muon]

The networks are the recipe's; the pictures are noise, which costs the same as photos. Without --vgg-weights stage 2 is
left out: its features come from the real file. --muon: instead, what Muon adds to a step of stage 1 in fp32.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from measure import interleaved_seconds, machine, print_table

from sr_export.machine import cpu_threads
from sr_train.config import Optimizer, PixelLoss, Precision, load_config
from sr_train.data import Batch
from sr_train.losses import load_vgg
from sr_train.steps import Numerics, gan_step, resnet_step, to_parts
from sr_train.training import SRGAN, SRRESNET, new_training

CPU = torch.device("cpu")
EAGER = "fp32, as PyTorch comes"
NUMERICS = {
    EAGER: Numerics(CPU),
    "fp32, channels last": Numerics(CPU, channels_last=True),
    "bf16, as PyTorch comes": Numerics(CPU, Precision.BF16),
    "bf16, channels last (the fast recipe)": Numerics(CPU, Precision.BF16, channels_last=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--crop", type=int, default=96, help="HR pixels a side")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vgg-weights", type=Path)
    parser.add_argument("--muon", action="store_true", help="compare the optimisers of stage 1 instead")
    options = parser.parse_args()
    torch.set_num_threads(cpu_threads())
    config = load_config("fast")
    pictures = torch.Generator().manual_seed(0)
    small = options.crop // config.model.scale
    lr = torch.randint(256, (options.batch, small, small, 3), dtype=torch.uint8, generator=pictures)
    hr = torch.randint(256, (options.batch, options.crop, options.crop, 3), dtype=torch.uint8, generator=pictures)
    print(machine(), f"batch {options.batch} of {small}x{small}, torch {torch.__version__}\n", sep=", ")

    def resnet(numerics: Numerics, optimizer: Optimizer = Optimizer.ADAM) -> Callable[[], object]:
        recipe = replace(config, resnet=replace(config.resnet, optimizer=optimizer))
        training = new_training(recipe, SRRESNET, numerics)
        parts = to_parts(Batch(lr, hr), 1, numerics)
        return lambda: resnet_step(training.generator, parts, PixelLoss.MSE, numerics)

    def gan(numerics: Numerics) -> Callable[[], object]:
        vgg = load_vgg(config.gan.vgg_layer, options.vgg_weights)
        training = new_training(config, SRGAN, numerics, vgg=vgg)
        opponent, features = training.discriminator, training.vgg
        assert opponent and features
        parts = to_parts(Batch(lr, hr), 1, numerics)
        return lambda: gan_step(training.generator, opponent, features, parts, numerics)

    if options.muon:
        numerics = NUMERICS["fp32, channels last"]
        both = {each.value: resnet(numerics, each) for each in Optimizer}
        seconds = interleaved_seconds(both, options.rounds)
        adam = seconds[Optimizer.ADAM]
        rows = [[name, f"{value:.3f}", f"{value / adam:.3f}"] for name, value in seconds.items()]
        return print_table(["optimizer", "s a step", "of Adam's"], rows)

    stages: dict[str, Callable[[Numerics], Callable[[], object]]] = {"stage 1, SRResNet": resnet}
    if options.vgg_weights:
        stages["stage 2, SRGAN"] = gan
    rows = []
    for stage, step in stages.items():
        seconds = interleaved_seconds({name: step(numerics) for name, numerics in NUMERICS.items()}, options.rounds)
        rows += [[stage, name, f"{value:.2f}", f"{seconds[EAGER] / value:.2f}x"] for name, value in seconds.items()]
    print_table(["stage", "computed in", "s a step", "speed"], rows)


if __name__ == "__main__":
    main()
