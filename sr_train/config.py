"""A training recipe: frozen tables of options with their defaults, read from TOML, any key changed by `key=value`.

The presets in `presets/` name only what they change. An unknown key is an error that names the nearest known one.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum, StrEnum
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from sr_train.degrade import Degradation
from sr_train.errors import ConfigError
from sr_train.losses import LossRecipe, VggLayer

__all__ = [
    "PRESETS",
    "DataConfig",
    "GanConfig",
    "Initialisation",
    "MachineConfig",
    "ModelConfig",
    "Optimizer",
    "PixelLoss",
    "Precision",
    "ResnetConfig",
    "Schedule",
    "StageConfig",
    "TrainConfig",
    "WatchConfig",
    "differences",
    "learning_rate",
    "load_config",
    "parse_config",
    "to_toml",
]

PRESETS = ("seed", "paper", "fast")
LEAST_SHIFTED = 32  # HR pixels of a crop that is made several times: what all show must hold 16 for VGG19
Table = TypeVar("Table")


class PixelLoss(StrEnum):
    """What stage 1 minimises, in [-1, 1]."""

    MSE = "mse"
    L1 = "l1"


class Optimizer(StrEnum):
    """What changes the generator's weights; the discriminator's are Adam's."""

    ADAM = "adam"
    MUON = "muon"  # muon.py: more from each step where steps are dear


class Schedule(StrEnum):
    """How the learning rate goes from `learning_rate` to `final_learning_rate`."""

    CONSTANT = "constant"
    STEP = "step"  # at once, at step `drop_at`
    COSINE = "cosine"  # half a cosine over all steps after the warm-up


class Precision(StrEnum):
    """What convolutions compute in; weights, losses and optimiser stay float32."""

    FP32 = "fp32"
    BF16 = "bf16"
    FP16 = "fp16"  # with a loss scaler


class Initialisation(StrEnum):
    """How a fresh generator starts."""

    TORCH = "torch"  # PyTorch's defaults
    ICNR = "icnr"  # up-convolutions that repeat pixels, quiet residual blocks, a small tail


class DiscriminatorKind(StrEnum):
    """What tells real from generated pictures in stage 2."""

    PAPER = "paper"
    FEATURES = "features"  # judges VGG19's early activations, place by place


@dataclass(frozen=True)
class ModelConfig:
    """The generator: GeneratorConfig's sizes, and how it starts; and what it plays against."""

    channels: int = 64
    blocks: int = 16
    scale: int = 4
    initialisation: Initialisation = Initialisation.TORCH
    discriminator: DiscriminatorKind = DiscriminatorKind.PAPER
    discriminator_channels: int = 64  # of the discriminator's first convolution


@dataclass(frozen=True)
class DataConfig:
    """What a batch is cut from."""

    crop: int = 96  # HR pixels a side, a multiple of the scale
    repeats: int = 1  # crops of each photo in one epoch
    augment: bool = True  # flips and quarter turns
    least_detail: float = 0.0  # of a crop: mean difference of neighbours in levels of 255; a flatter one is drawn anew
    degradation: Degradation = Degradation.BICUBIC
    hold_out: int = 5  # photos kept for validation where no validation folder is given


@dataclass(frozen=True)
class MachineConfig:
    """How it is computed. Changes speed and memory, and the last digits of results."""

    precision: Precision = Precision.FP32
    channels_last: bool = False
    compile: bool = False
    loader_threads: int = 2
    cpu_threads: int = 0  # of torch, 0: as many as torch takes


@dataclass(frozen=True)
class WatchConfig:
    """What is written down, and when."""

    log_every: int = 50  # steps; reading the losses waits for the GPU
    validate_every: int = 0  # steps, 0: once an epoch; state, pictures and figures are written then too
    save_every: int = 50  # epochs between kept checkpoints, 0: none but last and best
    validation_images: int = 16  # at most
    validation_size: int = 512  # longest side of the centre crop that is validated, 0: whole
    saturated_steps: int = 500  # of a discriminator that is sure of everything, until it is reported


@dataclass(frozen=True)
class StageConfig:
    """What both stages have in common."""

    batch: int = 16  # crops in one step of all processes together
    accumulate: int = 1  # parts that a batch is computed in, one after the other
    epochs: int = 0  # used where steps is 0; one epoch sees every photo `data.repeats` times
    steps: int = 100_000  # optimiser steps, 0: as many as `epochs` has
    optimizer: Optimizer = Optimizer.ADAM
    learning_rate: float = 1e-4
    schedule: Schedule = Schedule.CONSTANT
    final_learning_rate: float = 1e-5  # of the schedules step and cosine
    drop_at: int = 0  # step of the schedule `step` from which final_learning_rate holds
    warm_up: int = 0  # steps over which the rate rises from nothing
    frozen_statistics: bool = False  # the generator's BatchNorm normalises as when it is used, not by each batch


@dataclass(frozen=True)
class ResnetConfig(StageConfig):
    """Stage 1: SRResNet."""

    pixel_loss: PixelLoss = PixelLoss.MSE


@dataclass(frozen=True)
class GanConfig(StageConfig):
    """Stage 2: SRGAN."""

    vgg_layer: VggLayer = VggLayer.VGG54
    vgg_weight: float = LossRecipe.vgg_weight  # of vgg_loss, beside mse_loss
    gan_weight: float = LossRecipe.gan_weight  # of g_gan_loss
    grid_weight: float = LossRecipe.grid_weight  # of grid_loss, against grids and shifts of colour
    head_start: int = 0  # steps in which the discriminator learns alone
    discriminator_rate: float = 1.0  # the discriminator's learning rate, in units of the generator's
    frozen_upsampling: bool = False  # all behind the body stays as stage 1 left it, and learns no grid
    shift_pictures: int = LossRecipe.shift_pictures  # of a crop, from LR pixels that lie elsewhere; the mean is judged
    shift_weight: float = LossRecipe.shift_weight  # of shift_loss, between them, against what is tied to the LR grid
    vgg_shifts: bool = False  # VGG19 sees each crop at another offset, so that its max-pools teach no grid


@dataclass(frozen=True)
class TrainConfig:
    """A whole recipe. Raises ConfigError for values that cannot be meant."""

    seed: int = 0  # of everything random
    ema: float = 0.0  # decay of the averaged weights, which are then validated and shipped; 0: off
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    machine: MachineConfig = field(default_factory=MachineConfig)
    watch: WatchConfig = field(default_factory=WatchConfig)
    resnet: ResnetConfig = field(default_factory=ResnetConfig)
    gan: GanConfig = field(default_factory=GanConfig)

    def __post_init__(self) -> None:
        _require(0 <= self.ema < 1, "ema", self.ema, "at least 0 and below 1")
        crop, scale = self.data.crop, self.model.scale
        _require(crop >= 16 and crop % scale == 0, "data.crop", crop, f"at least 16 and a multiple of {scale}")
        _require(self.data.repeats >= 1, "data.repeats", self.data.repeats, "at least 1")
        detail = self.data.least_detail
        _require(0 <= detail < math.inf, "data.least_detail", detail, "a finite number, at least 0")
        _require(self.watch.log_every >= 1, "watch.log_every", self.watch.log_every, "at least 1")
        _require(self.machine.loader_threads >= 1, "machine.loader_threads", self.machine.loader_threads, "at least 1")
        for name, stage in (("resnet", self.resnet), ("gan", self.gan)):
            _check_stage(name, stage)
        rate = self.gan.discriminator_rate
        _require(0 < rate < math.inf, "gan.discriminator_rate", rate, "a finite number above 0")
        for key in ("vgg_weight", "gan_weight", "grid_weight", "shift_weight"):
            weight = getattr(self.gan, key)
            _require(0 <= weight < math.inf, f"gan.{key}", weight, "a finite number, at least 0")
        pictures = self.gan.shift_pictures
        _require(1 <= pictures <= scale**2, "gan.shift_pictures", pictures, f"from 1 to the scale's square, {scale**2}")
        if pictures > 1:
            _require(crop >= LEAST_SHIFTED, "data.crop", crop, f"at least {LEAST_SHIFTED} with gan.shift_pictures")
        else:
            weight = self.gan.shift_weight
            _require(weight == 0, "gan.shift_weight", weight, "0 without gan.shift_pictures=2 or more")

    @property
    def gan_loss(self) -> LossRecipe:
        """How the generator's loss of stage 2 is made."""
        gan = self.gan
        return LossRecipe(
            gan.vgg_weight,
            gan.gan_weight,
            gan.vgg_shifts,
            gan.grid_weight,
            gan.shift_pictures,
            gan.shift_weight,
            shift_degradation=self.data.degradation,
        )


def _check_stage(name: str, stage: StageConfig) -> None:
    _require(stage.batch >= 1, f"{name}.batch", stage.batch, "at least 1")
    _require(stage.accumulate >= 1, f"{name}.accumulate", stage.accumulate, "at least 1")
    fits = stage.batch % stage.accumulate == 0
    _require(fits, f"{name}.accumulate", stage.accumulate, f"a divisor of {name}.batch ({stage.batch})")
    _require(stage.learning_rate > 0, f"{name}.learning_rate", stage.learning_rate, "above 0")
    _require(stage.final_learning_rate > 0, f"{name}.final_learning_rate", stage.final_learning_rate, "above 0")
    one = (stage.epochs > 0) != (stage.steps > 0)
    _require(one, f"{name}.steps", stage.steps, f"0 with {name}.epochs above 0, or above 0 with {name}.epochs 0")


def _require(holds: bool, key: str, value: object, must_be: str) -> None:
    if not holds:
        raise ConfigError(f"{key} is {value}, but must be {must_be}; change it with --set {key}=VALUE")


def learning_rate(stage: StageConfig, step: int, steps: int) -> float:
    """The learning rate of step `step` (the first is 0) of `steps`: a pure function, so a resume cannot lose it."""
    if step < stage.warm_up:
        return stage.learning_rate * (step + 1) / stage.warm_up
    match stage.schedule:
        case Schedule.CONSTANT:
            return stage.learning_rate
        case Schedule.STEP:
            return stage.learning_rate if step < stage.drop_at else stage.final_learning_rate
        case Schedule.COSINE:
            done = (step - stage.warm_up) / max(1, steps - stage.warm_up)
            span = stage.learning_rate - stage.final_learning_rate
            return stage.final_learning_rate + span * (1 + math.cos(math.pi * done)) / 2


def load_config(recipe: str | Path | None, changes: Sequence[str] = ()) -> TrainConfig:
    """A preset's or TOML file's recipe with `key=value` changes on top, values written as in TOML.

    Raises ConfigError.
    """
    table = _read_recipe(recipe)
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals:
            raise ConfigError(f"'{change}' is not of the form key=value; for example gan.batch=8")
        _put(table, key.strip().split("."), _parse_value(text.strip()), change)
    return _build(TrainConfig, table, "")


def _read_recipe(recipe: str | Path | None) -> dict[str, Any]:
    if recipe is None:
        return {}
    if str(recipe) in PRESETS:
        text = files("sr_train").joinpath(f"presets/{recipe}.toml").read_text(encoding="utf-8")
    else:
        path = Path(recipe)
        if path.suffix != ".toml":
            names = ", ".join(PRESETS)
            raise ConfigError(f"preset '{recipe}' is not known: use {names} or the path of a .toml file")
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: cannot be read ({error}); check the path") from error
    return _parse(text, str(recipe))


def parse_config(text: str) -> TrainConfig:
    """A recipe from its TOML text. Raises ConfigError."""
    return _build(TrainConfig, _parse(text, "the recipe"), "")


def _parse(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: is not TOML ({error}); mend that line") from error


def _parse_value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word: the shell has eaten its quotes


def _put(table: dict[str, Any], path: list[str], value: object, change: str) -> None:
    for name in path[:-1]:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ConfigError(f"'{change}': {name} is a value, not a table of values; leave out what follows it")
    table[path[-1]] = value


def _build(kind: type[Table], table: Mapping[str, object], prefix: str) -> Table:
    """The dataclass of a TOML table, every key and type checked."""
    types = get_type_hints(kind)
    values: dict[str, object] = {}
    for key, value in table.items():
        if key not in types:
            raise ConfigError(_unknown(prefix + key))
        wanted = types[key]
        if isinstance(wanted, type) and is_dataclass(wanted):
            if not isinstance(value, Mapping):
                raise ConfigError(f"{prefix}{key} is a table of values; write {prefix}{key}.NAME = VALUE")
            values[key] = _build(wanted, value, f"{prefix}{key}.")
        else:
            values[key] = _convert(wanted, value, prefix + key)
    return kind(**values)


def _convert(wanted: type, value: object, key: str) -> object:
    if issubclass(wanted, Enum):
        choices = [str(choice.value) for choice in wanted]
        if value not in choices:
            near = difflib.get_close_matches(str(value), choices, 1, 0.5)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{key} cannot be '{value}': use one of {', '.join(choices)}{hint}")
        return wanted(value)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not wanted:
        kinds = {int: "a whole number", float: "a number", bool: "true or false"}
        raise ConfigError(f"{key} cannot be {value!r}: it must be {kinds.get(wanted, 'text')}")
    return value


def _unknown(key: str) -> str:
    known = [name for name, _ in _flat(TrainConfig())]
    near = difflib.get_close_matches(key, known, 1, 0.0)
    last = difflib.get_close_matches(key.rpartition(".")[2], [name.rpartition(".")[2] for name in known], 1, 0.8)
    same_name = [name for name in known if last and name.rpartition(".")[2] == last[0]]
    best = near[0] if near[0] in same_name or not same_name else same_name[0]
    return f"the recipe has no key '{key}': the nearest is '{best}'"


def _flat(config: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    for item in fields(config):  # type: ignore[arg-type] # always a dataclass
        value = getattr(config, item.name)
        if is_dataclass(value):
            yield from _flat(value, f"{prefix}{item.name}.")
        else:
            yield prefix + item.name, value


def differences(first: TrainConfig, second: TrainConfig) -> list[tuple[str, object, object]]:
    """The keys in which two recipes differ, with both values."""
    pairs = zip(_flat(first), _flat(second), strict=True)
    return [(key, one, other) for (key, one), (_, other) in pairs if one != other]


def to_toml(config: TrainConfig) -> str:
    """The whole recipe as TOML; `load_config` of it gives the same recipe."""
    lines: list[str] = []
    table = ""
    for key, value in _flat(config):
        head, _, name = key.rpartition(".")
        if head != table:
            lines += ["", f"[{head}]"]
            table = head
        text = str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else value
        lines.append(f"{name} = {text}")
    return "\n".join(lines) + "\n"
