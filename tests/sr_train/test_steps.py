"""One step of each stage against the same step written out by hand; and learning itself."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from sr_train.config import DiscriminatorKind, PixelLoss, Precision, TrainConfig
from sr_train.data import Batch
from sr_train.degrade import Degradation
from sr_train.errors import WeightsError
from sr_train.generator import GeneratorConfig, random_generator
from sr_train.losses import LossRecipe, VggLayer, load_vgg
from sr_train.metrics import psnr
from sr_train.pixels import tensor_to_bytes
from sr_train.shift import Shift, photos_of, variance
from sr_train.steps import Numerics, gan_step, resnet_step, to_parts
from sr_train.training import SRGAN, SRRESNET, Training, new_training
from tests.sr_train.conftest import picture

CPU = Numerics()


def _batch(count: int = 4) -> Batch:
    hr = torch.stack([torch.from_numpy(picture(32, 32, seed)) for seed in range(count)])
    lr = hr.reshape(count, 8, 4, 8, 4, 3).float().mean(dim=(2, 4)).round().to(torch.uint8)
    return Batch(lr, hr)


def _gan(config: TrainConfig, vgg_file: Path) -> Training:
    return new_training(config, SRGAN, CPU, vgg=load_vgg(VggLayer.VGG22, vgg_file))


def test_bytes_become_the_networks_ranges_and_come_back() -> None:
    (lr, hr), *_ = to_parts(Batch(torch.tensor([[[[0, 51, 255]]]], dtype=torch.uint8), _batch(1).hr), 1, CPU)
    assert lr.flatten().tolist() == pytest.approx([0, 0.2, 1])
    assert hr.min() >= -1 and hr.max() <= 1
    assert (tensor_to_bytes(hr) == _batch(1).hr).all()
    assert tensor_to_bytes(torch.tensor([-3.0, 0.0, 3.0]).view(1, 3, 1, 1)).flatten().tolist() == [0, 128, 255]


@pytest.mark.parametrize("loss", PixelLoss)
def test_stage_one_step_by_hand(tiny: TrainConfig, loss: PixelLoss) -> None:
    training = new_training(tiny, SRRESNET, CPU)
    twin = copy.deepcopy(training.generator.network)
    parts = to_parts(_batch(), 1, CPU)
    values = resnet_step(training.generator, parts, loss, CPU)

    adam = torch.optim.Adam(twin.parameters(), 1e-3)
    difference = twin(parts[0][0]) - parts[0][1]
    by_hand = (difference**2).mean() if loss is PixelLoss.MSE else difference.abs().mean()
    by_hand.backward()
    adam.step()
    assert values[f"{loss}_loss"].item() == pytest.approx(by_hand.item(), rel=1e-6)
    torch.testing.assert_close(training.generator.network.state_dict(), twin.state_dict())


def test_stage_two_step_by_hand(tiny: TrainConfig, vgg_file: Path) -> None:
    """The discriminator moves first; the generator meets the one that has moved."""
    training = _gan(tiny, vgg_file)
    assert training.discriminator and training.vgg
    generator, discriminator = copy.deepcopy((training.generator.network, training.discriminator.network))
    [(lr, hr)] = parts = to_parts(_batch(), 1, CPU)
    values = gan_step(training.generator, training.discriminator, training.vgg, parts, CPU)

    adam_g, adam_d = (torch.optim.Adam(n.parameters(), 1e-3) for n in (generator, discriminator))
    fake = generator(lr)
    real, generated = discriminator(hr).sigmoid(), discriminator(fake.detach()).sigmoid()
    d_loss = -real.log().mean() - (1 - generated).log().mean()
    d_loss.backward()
    adam_d.step()
    mse, vgg = ((fake - hr) ** 2).mean(), ((training.vgg(fake) - training.vgg(hr)) ** 2).mean()
    adversarial = -discriminator(fake).sigmoid().log().mean()
    windows = [(fake - hr)[..., y : y + 24, x : x + 24] for y in (0, 12) for x in (0, 12)]  # of 32 pixels
    grid = (
        torch.stack([w[..., y::4, x::4].mean((2, 3)) for w in windows for y in range(4) for x in range(4)])
        .square()
        .mean()
    )
    g_loss = mse + 0.006 * vgg + 0.001 * adversarial
    g_loss.backward()
    adam_g.step()

    by_hand = {
        "mse_loss": mse,
        "vgg_loss": vgg,
        "g_gan_loss": adversarial,
        "grid_loss": grid,
        "g_loss": g_loss,
        "d_loss": d_loss,
        "d_real": real.mean(),
        "d_fake": generated.mean(),
    }
    assert {k: v.item() for k, v in values.items()} == pytest.approx(
        {k: v.item() for k, v in by_hand.items()}, rel=1e-4
    )
    # A tenth of Adam's first step (1e-3): where a gradient is next to nothing, its last bits decide the step, and they
    # are the processor's.
    for player, twin in ((training.generator, generator), (training.discriminator, discriminator)):
        torch.testing.assert_close(player.network.state_dict(), twin.state_dict(), atol=1e-4, rtol=1e-4)


def _features(tiny: TrainConfig, vgg_file: Path) -> Training:
    return _gan(replace(tiny, model=replace(tiny.model, discriminator=DiscriminatorKind.FEATURES)), vgg_file)


def test_feature_discriminator_learns_and_vgg19_does_not(tiny: TrainConfig, vgg_file: Path) -> None:
    training = _features(tiny, vgg_file)
    assert training.discriminator and training.vgg
    before = copy.deepcopy((training.discriminator.network.state_dict(), training.vgg.state_dict()))
    parts = to_parts(_batch(), 1, CPU)
    losses = [
        gan_step(training.generator, training.discriminator, training.vgg, parts, CPU)["d_loss"].item()
        for _ in range(20)
    ]
    assert losses[-1] < losses[0]
    torch.testing.assert_close(training.vgg.state_dict(), before[1], rtol=0, atol=0)
    judged = {name for name, value in before[0].items() if not torch.equal(value, _state(training)[name])}
    assert judged and all(name.startswith("judges.") for name in judged)
    assert all(parameter.grad is None for parameter in training.vgg.parameters())


def test_feature_discriminator_asks_for_vgg19s_weights(tiny: TrainConfig) -> None:
    config = replace(tiny, model=replace(tiny.model, discriminator=DiscriminatorKind.FEATURES))
    with pytest.raises(WeightsError, match="--vgg-weights FILE"):
        new_training(config, SRGAN, CPU)


def _state(training: Training) -> Mapping[str, torch.Tensor]:
    assert training.discriminator
    state: Mapping[str, torch.Tensor] = training.discriminator.network.state_dict()
    return state


def test_vgg_loss_without_weight_is_not_computed(tiny: TrainConfig, vgg_file: Path) -> None:
    training = _gan(tiny, vgg_file)
    assert training.discriminator and training.vgg
    parts = to_parts(_batch(), 1, CPU)
    recipe = LossRecipe(vgg_weight=0)
    values = gan_step(training.generator, training.discriminator, training.vgg, parts, CPU, recipe)
    assert "vgg_loss" not in values
    assert values["g_loss"].item() == pytest.approx((values["mse_loss"] + 0.001 * values["g_gan_loss"]).item())


def test_accumulated_parts_give_the_gradient_of_the_whole_batch(tiny: TrainConfig) -> None:
    """BatchNorm sees the parts one by one, so it is left out: in eval mode it is a constant."""
    results = []
    for count in (1, 4):
        training = new_training(tiny, SRRESNET, CPU)
        training.generator.network.eval()
        resnet_step(training.generator, to_parts(_batch(), count, CPU), PixelLoss.MSE, CPU)
        gradients = [p.grad for p in training.generator.network.parameters()]
        results.append(torch.cat([g.flatten() for g in gradients if g is not None]))
    torch.testing.assert_close(results[0], results[1], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("precision", [Precision.BF16, Precision.FP16])
def test_reduced_precision_is_near_fp32(tiny: TrainConfig, vgg_file: Path, precision: Precision) -> None:
    losses = []
    for numerics in (CPU, Numerics(precision=precision, channels_last=True)):
        training = new_training(tiny, SRGAN, numerics, vgg=load_vgg(VggLayer.VGG22, vgg_file))
        assert training.discriminator and training.vgg
        parts = to_parts(_batch(), 2, numerics)
        losses.append(gan_step(training.generator, training.discriminator, training.vgg, parts, numerics))
        assert all(p.dtype == torch.float32 for p in training.generator.network.parameters())
    for name in ("mse_loss", "vgg_loss", "g_gan_loss"):
        assert losses[1][name].item() == pytest.approx(losses[0][name].item(), rel=0.05)


def test_icnr_starts_without_a_checkerboard(tiny: TrainConfig) -> None:
    from sr_train.config import Initialisation

    config = replace(tiny, model=replace(tiny.model, initialisation=Initialisation.ICNR))
    generator = new_training(config, SRRESNET, CPU).generator.network
    stage = generator.upsample[0]
    values = stage(torch.rand(1, 8, 6, 6))
    blocks = values[:, :, 2:-2, 2:-2].unfold(2, 2, 2).unfold(3, 2, 2)
    torch.testing.assert_close(blocks.amax(dim=(4, 5)), blocks.amin(dim=(4, 5)))


def test_overfits_one_picture_beyond_35_db(tiny: TrainConfig) -> None:
    config = replace(tiny, model=replace(tiny.model, channels=16))
    training = new_training(config, SRRESNET, CPU)
    parts = to_parts(_batch(1), 1, CPU)
    for step in range(400):
        training.generator.set_rate(4e-3 if step < 250 else 5e-4)
        loss = resnet_step(training.generator, parts, PixelLoss.MSE, CPU)["mse_loss"]
    with torch.no_grad():
        result = tensor_to_bytes(training.generator.network(parts[0][0])).numpy().astype(float)
    reached = psnr(result, _batch(1).hr.numpy().astype(float))
    assert reached > 35, f"only {reached:.1f} dB, loss {loss.item():.5f}"


def test_loss_functions_are_pytorchs() -> None:
    """The by-hand formulas above agree with the library's own, where it has one."""
    logits = torch.tensor([[0.3], [-2.0]])
    ones = torch.ones_like(logits)
    expected = functional.binary_cross_entropy_with_logits(logits, ones)
    assert -logits.sigmoid().log().mean().item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_statistics_train_the_network_that_is_used(tiny: TrainConfig, vgg_file: Path, frozen: bool) -> None:
    """Frozen, a training step sees the very network that upscales photos, and leaves its statistics alone."""
    start = random_generator(GeneratorConfig(channels=8, blocks=1), seed=3)
    config = replace(tiny, gan=replace(tiny.gan, frozen_statistics=frozen))
    training = new_training(config, SRGAN, CPU, start, load_vgg(VggLayer.VGG22, vgg_file))
    assert training.discriminator and training.vgg
    parts = to_parts(_batch(), 1, CPU)
    with torch.no_grad():
        used = functional.mse_loss(start.eval()(parts[0][0]), parts[0][1])
    values = gan_step(training.generator, training.discriminator, training.vgg, parts, CPU)

    statistics = {name: value for name, value in start.state_dict().items() if "running" in name}
    kept = all(torch.equal(training.generator.network.state_dict()[name], was) for name, was in statistics.items())
    assert kept is frozen
    assert (values["mse_loss"].item() == pytest.approx(used.item(), rel=1e-5)) is frozen
    assert training.discriminator.network.training


@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_upsampling_stays_as_stage_one_left_it(tiny: TrainConfig, vgg_file: Path, frozen: bool) -> None:
    training = _gan(replace(tiny, gan=replace(tiny.gan, frozen_upsampling=frozen)), vgg_file)
    assert training.discriminator and training.vgg
    before = copy.deepcopy(training.generator.network.state_dict())
    gan_step(training.generator, training.discriminator, training.vgg, to_parts(_batch(), 1, CPU), CPU)
    after = training.generator.network.state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"head", "body", "fuse"} | (set() if frozen else {"upsample", "tail"})


@pytest.mark.parametrize(
    ("count", "degradation"), [(2, Degradation.BICUBIC), (4, Degradation.BICUBIC), (2, Degradation.PHOTO)]
)
def test_judges_and_vgg19_see_the_mean_of_the_pictures_of_a_crop(
    tiny: TrainConfig, vgg_file: Path, count: int, degradation: Degradation
) -> None:
    """BatchNorm in eval mode: by hand the pictures are made one by one."""
    training = _gan(tiny, vgg_file)
    assert training.discriminator and training.vgg
    for network in (training.generator.network, training.discriminator.network):
        network.eval()
    generator, discriminator = copy.deepcopy((training.generator.network, training.discriminator.network))
    [(lr, hr)] = parts = to_parts(_batch(), 1, CPU)
    recipe = LossRecipe(shift_pictures=count, shift_weight=10, shift_degradation=degradation)
    torch.manual_seed(4)
    shifts = Shift.random(4, count - 1)
    seed = int(torch.randint(2**62, ()))
    others = [(shift, shift.lr_of(hr, degradation, seed)) for shift in shifts]
    lr = photos_of(hr, 4, seed) if degradation is Degradation.PHOTO else lr  # all of a crop are made alike
    torch.manual_seed(4)
    values = gan_step(training.generator, training.discriminator, training.vgg, parts, CPU, recipe)

    views = [generator(lr)[..., 4:28, 4:28], *(shift.inside(generator(other)) for shift, other in others)]
    mean, wanted = torch.stack(views).mean(dim=0), hr[..., 4:28, 4:28]
    d_loss = -discriminator(wanted).sigmoid().log().mean() - (1 - discriminator(mean).sigmoid()).log().mean()
    vgg_loss = ((training.vgg(mean) - training.vgg(wanted)) ** 2).mean()
    by_hand = {"d_loss": d_loss, "vgg_loss": vgg_loss, "shift_loss": variance(views)}
    assert {name: values[name].item() for name in by_hand} == pytest.approx(
        {name: value.item() for name, value in by_hand.items()}, rel=1e-4
    )
    terms = values["mse_loss"] + 0.006 * values["vgg_loss"] + 0.001 * values["g_gan_loss"]
    assert values["g_loss"].item() == pytest.approx((terms + 10 * values["shift_loss"]).item(), rel=1e-4)
    assert any(
        not torch.equal(a, b)
        for a, b in zip(training.generator.network.parameters(), generator.parameters(), strict=True)
    )
