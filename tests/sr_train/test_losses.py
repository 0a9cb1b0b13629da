"""Every loss term against a computation by hand."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sr_train.errors import WeightsError
from sr_train.losses import (
    IMAGENET_DEVIATION,
    IMAGENET_MEAN,
    LossRecipe,
    Made,
    VggFeatures,
    VggLayer,
    discriminator_loss,
    gan_loss,
    generator_loss,
    grid_loss,
    load_vgg,
    shifted,
)
from sr_train.shift import Shift, variance


def test_gan_loss_is_minus_log_of_the_discriminators_belief() -> None:
    logits = torch.tensor([[-2.0], [0.5]])
    by_hand = -sum(math.log(1 / (1 + math.exp(-x))) for x in (-2.0, 0.5)) / 2
    assert gan_loss(logits).item() == pytest.approx(by_hand, rel=1e-6)


def test_gan_loss_of_a_hopeless_generator_is_finite_and_has_its_full_gradient() -> None:
    logits = torch.full((1, 1), -1000.0, requires_grad=True)
    gan_loss(logits).backward()  # type: ignore[no-untyped-call] # of torch
    assert gan_loss(logits).item() == 1000
    assert logits.grad is not None and logits.grad.item() == -1


def test_discriminator_loss_by_hand() -> None:
    def believes(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    by_hand = -math.log(believes(1.5)) - math.log(1 - believes(-0.25))
    assert discriminator_loss(torch.tensor([[1.5]]), torch.tensor([[-0.25]])).item() == pytest.approx(by_hand)


def test_generator_loss_is_the_papers_sum() -> None:
    torch.manual_seed(0)
    vgg = VggFeatures(VggLayer.VGG22)
    fake, hr = torch.rand(2, 3, 16, 16) * 2 - 1, torch.rand(2, 3, 16, 16) * 2 - 1
    logits = torch.tensor([[0.3], [-0.7]])
    loss = generator_loss(Made.once(fake, hr), logits, vgg)
    mse = ((fake - hr) ** 2).sum().item() / fake.numel()
    difference = vgg(fake) - vgg(hr)
    features = (difference**2).sum().item() / difference.numel()
    belief = sum(math.log(1 + math.exp(-x)) for x in (0.3, -0.7)) / 2
    assert [term.item() for term in loss[1:4] if term is not None] == pytest.approx([mse, features, belief], rel=1e-5)
    assert loss.total.item() == pytest.approx(mse + 0.006 * features + 0.001 * belief, rel=1e-5)
    other = generator_loss(Made.once(fake, hr), logits, vgg, LossRecipe(vgg_weight=0.5, gan_weight=2, grid_weight=3))
    assert other.total.item() == pytest.approx(
        mse + 0.5 * features + 2 * belief + 3 * grid_loss(fake, hr).item(), rel=1e-5
    )


def test_shifts_show_vgg_every_phase_of_a_four_times_generator() -> None:
    grid = torch.arange(24 * 20).view(1, 1, 24, 20).expand(16, 3, -1, -1)
    windows = shifted(grid)
    assert windows.shape == (16, 3, 20, 16)
    starts = [divmod(int(window[0, 0, 0]), 20) for window in windows]
    assert {y for y, _ in starts[:4]} == {x for _, x in starts[:4]} == {0, 1, 2, 3}
    assert len(set(starts)) == 16
    assert (windows[5, 1] == grid[5, 1, starts[5][0] :][:20, starts[5][1] :][:, :16]).all()


def test_grid_loss_sees_grids_and_shifts_of_colour_only() -> None:
    torch.manual_seed(0)
    hr = torch.rand(2, 3, 16, 24) * 2 - 1
    assert grid_loss(hr + 0.1, hr).item() == pytest.approx(0.01, rel=1e-4)
    stripes = torch.tensor([0.2, 0.0, -0.2, 0.0]).repeat(6)
    assert grid_loss(hr + stripes, hr).item() == pytest.approx(0.02, rel=1e-4)
    errors = torch.zeros(2, 3, 16, 24)
    errors[:, :, ::4, ::4] = torch.tensor([[0.3, -0.3], [-0.3, 0.3]]).repeat(2, 3)  # at one position, of mean zero
    assert grid_loss(hr + errors, hr).item() == pytest.approx(0, abs=1e-12)


def test_grid_loss_sees_a_grid_that_turns_round_on_the_way() -> None:
    """Over the whole crop it is nothing, as a ripple along two opposite edges would be."""
    hr = torch.zeros(1, 3, 48, 96)
    stripes = torch.tensor([0.2, 0.0, -0.2, 0.0]).repeat(12)
    turned = torch.cat([stripes, -stripes]).expand_as(hr)
    assert 0.01 < grid_loss(hr + turned, hr).item() < 0.02


def test_all_pictures_of_a_crop_count_alike_by_pixels_and_vgg_sees_their_mean() -> None:
    torch.manual_seed(0)
    vgg, recipe = VggFeatures(VggLayer.VGG22), LossRecipe(shift_pictures=3, shift_weight=5)
    hr, fake = torch.rand(2, 3, 44, 40) * 2 - 1, torch.rand(2, 3, 44, 40)
    others = [(Shift(1, 3, 4), torch.rand(2, 3, 40, 36)), (Shift(2, 1, 4), torch.rand(2, 3, 40, 36))]
    made = Made.often(fake, hr, others)
    loss = generator_loss(made, torch.zeros(2, 1), vgg, recipe)
    assert loss.vgg_loss is not None and loss.shift_loss is not None
    pairs = [(fake, hr), (others[0][1], hr[..., 1:41, 3:39]), (others[1][1], hr[..., 2:42, 1:37])]
    squares = [((picture - wanted) ** 2).mean().item() for picture, wanted in pairs]
    assert loss.mse_loss.item() == pytest.approx(sum(squares) / 3, rel=1e-5)
    assert loss.grid_loss.item() == pytest.approx(sum(grid_loss(*pair).item() for pair in pairs) / 3, rel=1e-5)
    views = [fake[..., 4:40, 4:36], others[0][1][..., 3:39, 1:33], others[1][1][..., 2:38, 3:35]]
    mean = sum(views[1:], start=views[0]) / 3
    torch.testing.assert_close(made.seen, (mean, hr[..., 4:40, 4:36]))
    assert loss.vgg_loss.item() == pytest.approx(((vgg(mean) - vgg(made.seen[1])) ** 2).mean().item(), rel=1e-5)
    assert loss.shift_loss.item() == pytest.approx(variance(views).item(), rel=1e-5)
    rest = generator_loss(made, torch.zeros(2, 1), vgg, LossRecipe(shift_pictures=3)).total
    assert loss.total.item() == pytest.approx((rest + 5 * loss.shift_loss).item(), rel=1e-5)


@pytest.mark.parametrize("pattern", [(0.1, 0.0, -0.1, 0.0), (0.1, -0.1, 0.1, -0.1), (0.1, 0.2, -0.4, 0.1)])
def test_a_pattern_of_the_lr_grid_is_not_seen_in_the_mean_of_pictures_that_are_shifted_by_all_of_an_lr_pixel(
    pattern: tuple[float, ...],
) -> None:
    """Each picture has it where its LR pixels lie."""
    hr, grid = torch.zeros(2, 3, 44, 48), torch.tensor(pattern).repeat(12)
    shifts = [Shift(1, 2, 4), Shift(2, 3, 4), Shift(3, 1, 4)]
    others = [(shift, shift.part(hr) + grid[:44] + grid[:40, None]) for shift in shifts]
    made = Made.often(hr + grid + grid[:44, None], hr, others)
    torch.testing.assert_close(*made.seen)
    assert variance(made.views) > 1e-3


def test_what_all_pictures_of_a_crop_have_is_seen_whole() -> None:
    hr, texture = torch.rand(1, 3, 40, 40), torch.rand(1, 3, 40, 40)
    others = [(shift, shift.part(hr + texture)) for shift in Shift.random(4, 3)]
    made = Made.often(hr + texture, hr, others)
    torch.testing.assert_close(made.seen[0], (hr + texture)[..., 4:36, 4:36])
    assert variance(made.views) < 1e-10


def test_shifted_loss_takes_the_same_window_of_both_pictures() -> None:
    torch.manual_seed(0)
    vgg = VggFeatures(VggLayer.VGG22)
    hr = torch.rand(4, 3, 24, 24) * 2 - 1
    loss = generator_loss(Made.once(hr, hr), torch.zeros(4, 1), vgg, LossRecipe(vgg_shifts=True))
    assert loss.vgg_loss is not None and loss.vgg_loss.item() == 0
    other = generator_loss(Made.once(hr.flip(0), hr), torch.zeros(4, 1), vgg, LossRecipe(vgg_shifts=True))
    difference = vgg(shifted(hr.flip(0))) - vgg(shifted(hr))
    assert other.vgg_loss is not None
    assert other.vgg_loss.item() == pytest.approx((difference**2).mean().item(), rel=1e-5)


def test_vgg_takes_the_generators_range_to_imagenets() -> None:
    vgg = VggFeatures(VggLayer.VGG22)
    for value in (-1.0, 0.0, 1.0):
        normal = vgg.normalise(torch.full((1, 3, 1, 1), value)).flatten().tolist()
        by_hand = [((value + 1) / 2 - m) / d for m, d in zip(IMAGENET_MEAN, IMAGENET_DEVIATION, strict=True)]
        assert normal == pytest.approx(by_hand, abs=1e-6)


@pytest.mark.parametrize(
    ("layer", "convolutions", "channels", "shrunk"),
    [(VggLayer.VGG22, 4, 128, 2), (VggLayer.VGG44, 12, 512, 8), (VggLayer.VGG54, 16, 512, 16)],
)
def test_vgg_ends_after_the_activation_of_its_layer(
    layer: VggLayer, convolutions: int, channels: int, shrunk: int
) -> None:
    vgg = VggFeatures(layer)
    assert sum(isinstance(m, nn.Conv2d) for m in vgg.features) == convolutions
    assert isinstance(vgg.features[-1], nn.ReLU)
    assert vgg(torch.zeros(1, 3, 32, 32)).shape == (1, channels, 32 // shrunk, 32 // shrunk)


def test_vgg_is_torchvisions_network() -> None:
    models = pytest.importorskip("torchvision.models")
    theirs = models.vgg19(weights=None).features[:9].eval()
    ours = VggFeatures(VggLayer.VGG22)
    ours.features.load_state_dict(theirs.state_dict())
    image = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(ours.features(image), theirs(image))


def test_vgg_weights_come_from_a_file(vgg_file: Path) -> None:
    vgg = load_vgg(VggLayer.VGG22, vgg_file)
    assert not any(parameter.requires_grad for parameter in vgg.parameters())
    torch.manual_seed(5)
    torch.testing.assert_close(vgg.state_dict(), VggFeatures(VggLayer.VGG22).state_dict())


def test_missing_vgg_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="nowhere"):
        load_vgg(VggLayer.VGG54, tmp_path / "nowhere.safetensors")


def test_file_of_another_network_is_refused(tmp_path: Path) -> None:
    save_file({"features.0.weight": torch.zeros(2, 3, 3, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match=r"features\.0\.weight is \[2, 3, 3, 3\]"):
        load_vgg(VggLayer.VGG22, tmp_path / "other.safetensors")


def test_no_weights_at_all_is_an_error_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    models = pytest.importorskip("torchvision.models")

    def no_network(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(models.VGG19_Weights, "get_state_dict", no_network)
    with pytest.raises(WeightsError, match="--vgg-weights"):
        load_vgg(VggLayer.VGG54, None)
