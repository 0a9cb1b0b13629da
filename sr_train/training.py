"""A stage of training as one value: its networks, optimisers, average and counters."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from sr_train.config import DiscriminatorKind, GanConfig, Optimizer, StageConfig, TrainConfig
from sr_train.discriminator import Discriminator, FeatureDiscriminator
from sr_train.errors import UsageError, WeightsError
from sr_train.generator import Generator, GeneratorConfig
from sr_train.initial import initialise
from sr_train.losses import VggFeatures
from sr_train.muon import Muon
from sr_train.parallel import share_batch_norm
from sr_train.steps import Network, Numerics, Player

__all__ = ["SRGAN", "SRRESNET", "Training", "new_training", "stage_config", "update_average"]

SRRESNET, SRGAN = "srresnet", "srgan"  # the stages, as checkpoints name them
ADAM_BETAS = (0.9, 0.999)  # the paper's
QUICK_BETAS = (0.5, 0.99)  # of the feature discriminator, which has to follow a generator that changes quickly


@dataclass
class Training:
    """Everything that changes while a stage is trained; state.py turns it into one dict and back."""

    config: TrainConfig
    stage: str  # SRRESNET or SRGAN
    numerics: Numerics
    generator: Player[Generator]
    discriminator: Player[nn.Module] | None  # of stage 2
    vgg: VggFeatures | None  # of stage 2; frozen
    average: Generator | None  # the moving average of the generator's weights
    step: int = 0  # optimiser steps done
    best: dict[str, float] = field(default_factory=dict)  # figure -> the best one of this run so far
    saturated_steps: int = 0  # how long the discriminator has been sure of everything

    @property
    def shipped(self) -> Generator:
        """The generator that is validated and saved: the average where there is one."""
        return self.average or self.generator.network

    def to_train_mode(self) -> None:
        """The generator as its steps need it: BatchNorm by the batch, unless the recipe freezes its statistics."""
        frozen = stage_config(self.config, self.stage).frozen_statistics
        self.generator.network.train()
        for module in self.generator.network.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.train(not frozen)


def stage_config(config: TrainConfig, stage: str) -> StageConfig:
    """The recipe's table of one stage."""
    return config.gan if stage == SRGAN else config.resnet


def new_training(
    config: TrainConfig,
    stage: str,
    numerics: Numerics,
    start: Generator | None = None,
    vgg: VggFeatures | None = None,
) -> Training:
    """A stage at step 0, from random weights of the recipe's seed or from the generator `start` (left as it is).

    Raises UsageError when `start` is another network than the recipe's.
    """
    torch.manual_seed(config.seed)
    sizes = GeneratorConfig(config.model.channels, config.model.blocks, config.model.scale)
    if start is not None and start.config != sizes:
        raise UsageError(
            f"the starting generator is {start.config}, the recipe's is {sizes}; "
            "change the recipe with --set model.blocks=N and the like"
        )
    generator = copy.deepcopy(start) if start else Generator(sizes)
    if start is None:
        initialise(generator, config.model.initialisation)
    average = copy.deepcopy(generator).to(numerics.device).eval().requires_grad_(False) if config.ema else None
    table = stage_config(config, stage)
    if isinstance(table, GanConfig) and table.frozen_upsampling:
        generator.upsample.requires_grad_(False)
        generator.tail.requires_grad_(False)
    player = _player(generator, table.optimizer, table.learning_rate, numerics)
    opponent: Player[nn.Module] | None = None
    if stage == SRGAN:
        opponent = _opponent(config, vgg, numerics)
    if vgg is not None:
        vgg = _placed(vgg, numerics)
    if config.machine.compile:
        player.network.compile()
        if opponent:
            opponent.network.compile()
    training = Training(config, stage, numerics, player, opponent, vgg, average)
    training.to_train_mode()
    return training


def _opponent(config: TrainConfig, vgg: VggFeatures | None, numerics: Numerics) -> Player[nn.Module]:
    channels, rate = config.model.discriminator_channels, config.gan.learning_rate
    if config.model.discriminator is DiscriminatorKind.PAPER:
        return _player(Discriminator(channels), Optimizer.ADAM, rate, numerics)
    if vgg is None:
        raise WeightsError("the discriminator 'features' needs VGG19's weights: name a file with --vgg-weights FILE")
    return _player(FeatureDiscriminator(vgg, channels), Optimizer.ADAM, rate, numerics, QUICK_BETAS)


def _player(
    network: Network,
    optimizer: Optimizer,
    rate: float,
    numerics: Numerics,
    betas: tuple[float, float] = ADAM_BETAS,
) -> Player[Network]:
    share_batch_norm(network, numerics.group)
    network = _placed(network, numerics).train()
    make = Muon if optimizer is Optimizer.MUON else torch.optim.Adam
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    return Player(network, make(trained, rate, betas), numerics.scaler())


def _placed(network: Network, numerics: Numerics) -> Network:
    layout = torch.channels_last if numerics.channels_last else torch.contiguous_format
    return network.to(numerics.device).to(memory_format=layout)


def update_average(training: Training) -> None:
    """Move the averaged weights towards the generator's; early on faster, so that the start is soon forgotten."""
    if training.average is None:
        return
    decay = min(training.config.ema, (1 + training.step) / (10 + training.step))
    current: Mapping[str, torch.Tensor] = training.generator.network.state_dict()
    with torch.no_grad():
        for name, value in training.average.state_dict().items():
            if value.is_floating_point():
                value.lerp_(current[name], 1 - decay)
            else:
                value.copy_(current[name])
