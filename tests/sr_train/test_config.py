"""Recipes: presets, overrides, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from sr_train.config import PRESETS, GanConfig, Schedule, TrainConfig, learning_rate, load_config, parse_config, to_toml
from sr_train.degrade import Degradation
from sr_train.errors import ConfigError


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_load_and_survive_the_round_trip(preset: str) -> None:
    config = load_config(preset)
    assert parse_config(to_toml(config)) == config


def test_seed_is_the_projects_first_recipe() -> None:
    config = load_config("seed")
    assert (config.resnet.batch, config.resnet.epochs, config.resnet.learning_rate) == (2, 25, 1e-4)
    rates = [learning_rate(config.gan, step, 200_000) for step in (0, 99_999, 100_000, 199_999)]
    assert rates == [1e-4, 1e-4, 1e-5, 1e-5] and config.gan.steps == 200_000
    assert config.watch.save_every == 50


def test_paper_is_the_papers_recipe() -> None:
    config = load_config("paper")
    assert (config.resnet.batch, config.data.crop, config.resnet.steps) == (16, 96, 10**6)
    assert (config.gan.batch, config.gan.steps, config.gan.drop_at) == (16, 2 * 10**5, 10**5)


def test_fast_has_what_makes_it_fast() -> None:
    config = load_config("fast")
    assert (config.machine.precision, config.machine.channels_last) == ("bf16", True)
    assert config.ema > 0 and config.model.initialisation == "icnr"
    assert config.resnet.schedule is Schedule.COSINE and config.resnet.warm_up > 0


def test_any_key_can_be_changed() -> None:
    config = load_config("seed", ["gan.batch=8", "data.degradation=photo", "ema=0.5", "machine.channels_last=true"])
    assert (config.gan.batch, config.data.degradation, config.ema) == (8, "photo", 0.5)
    assert config.machine.channels_last is True


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("gan.bacth=8", "nearest is 'gan.batch'"),
        ("gan.learning_rat=1", "nearest is 'gan.learning_rate'"),
        ("crop=64", "nearest is 'data.crop'"),
        ("data.degradation=phto", "did you mean photo"),
        ("gan.batch=many", "must be a whole number"),
        ("gan.batch=0", "at least 1"),
        ("data.crop=50", "multiple of 4"),
        ("data.least_detail=-1", "data.least_detail is -1.0"),
        ("gan.accumulate=3", "a divisor of gan.batch"),
        ("gan.discriminator_rate=0", "gan.discriminator_rate is 0.0, but must be a finite number above 0"),
        ("gan.vgg_weight=-1", "gan.vgg_weight is -1.0, but must be a finite number, at least 0"),
        ("gan.gan_weight=inf", "gan.gan_weight is inf"),
        ("gan.epochs=3", "gan.epochs"),
        ("gan=3", "is a table"),
        ("batch", "key=value"),
    ],
)
def test_what_cannot_be_meant_is_an_error_that_helps(change: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config("paper", [change])


def test_several_pictures_of_a_crop_need_room_and_are_made_like_the_first() -> None:
    load_config("fast", ["gan.shift_pictures=4", "data.crop=32", "gan.shift_weight=1"])
    for degradation in Degradation:
        config = load_config("fast", ["gan.shift_pictures=2", f"data.degradation={degradation}"])
        assert config.gan_loss.shift_pictures == 2 and config.gan_loss.shift_degradation is degradation
    for change, message in (
        (["gan.shift_pictures=4", "data.crop=28"], "data.crop is 28, but must be at least 32 with gan.shift_pictures"),
        (["gan.shift_pictures=17"], "gan.shift_pictures is 17, but must be from 1 to the scale's square, 16"),
        (["gan.shift_pictures=0"], "gan.shift_pictures is 0, but must be from 1"),
        (["gan.shift_weight=1"], "gan.shift_weight is 1.0, but must be 0 without gan.shift_pictures=2 or more"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_config("fast", change)


def test_unknown_preset_and_broken_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="seed, paper, fast"):
        load_config("sede")
    (tmp_path / "mine.toml").write_text("ema = ")
    with pytest.raises(ConfigError, match="not TOML"):
        load_config(tmp_path / "mine.toml")


def test_own_file_is_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text("[gan]\nbatch = 3\n")
    assert load_config(tmp_path / "mine.toml").gan.batch == 3


def test_learning_rate_warms_up_and_ends_at_the_final_rate() -> None:
    stage = GanConfig(learning_rate=1.0, final_learning_rate=0.1, schedule=Schedule.COSINE, warm_up=10)
    assert learning_rate(stage, 0, 110) == pytest.approx(0.1)
    assert learning_rate(stage, 10, 110) == pytest.approx(1.0)
    assert learning_rate(stage, 60, 110) == pytest.approx(0.55)
    assert learning_rate(stage, 110, 110) == pytest.approx(0.1)


def test_default_recipe_is_complete() -> None:
    assert parse_config(to_toml(TrainConfig())) == TrainConfig()
