"""One discriminator is the paper's, the other judges VGG19's features; both take any crop size."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from sr_train.discriminator import TAP_SCALE, Discriminator, FeatureDiscriminator
from sr_train.losses import VggFeatures, VggLayer, shifted


def test_layers_are_the_papers() -> None:
    convolutions = [m for m in Discriminator().modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [64, 64, 128, 128, 256, 256, 512, 512]
    assert [c.stride[0] for c in convolutions] == [1, 2, 1, 2, 1, 2, 1, 2]
    assert all(c.kernel_size == (3, 3) for c in convolutions)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in Discriminator().modules()) == 7
    assert [(m.in_features, m.out_features) for m in Discriminator().dense if isinstance(m, nn.Linear)] == [
        (512 * 6 * 6, 1024),
        (1024, 1),
    ]
    assert {m.negative_slope for m in Discriminator().modules() if isinstance(m, nn.LeakyReLU)} == {0.2}


@pytest.mark.parametrize("side", [16, 40, 96, 128])
def test_any_crop_size_gives_one_logit(side: int) -> None:
    assert Discriminator(4)(torch.zeros(2, 3, side, side)).shape == (2, 1)


def test_at_the_papers_crops_the_last_map_is_taken_as_it_is() -> None:
    features = Discriminator(2).features(torch.rand(2, 3, 96, 96))
    torch.testing.assert_close(nn.AdaptiveAvgPool2d(6)(features), features)


def _features() -> FeatureDiscriminator:
    torch.manual_seed(3)
    return FeatureDiscriminator(VggFeatures(VggLayer.VGG22), 4)


@pytest.mark.parametrize("side", [16, 40, 96])
def test_every_second_pixel_is_judged_by_all_judges(side: int) -> None:
    places = ((side - 4) // 2) ** 2  # VGG19 sees windows that are 4 pixels smaller
    assert _features()(torch.zeros(3, 3, side, side)).shape == (3, 4 * places)


def test_judges_see_the_second_and_the_fourth_activation_of_vgg19_at_both_sizes() -> None:
    discriminator, vgg = _features().eval(), VggFeatures(VggLayer.VGG22)
    vgg.features.load_state_dict(discriminator.eyes.state_dict())
    image = torch.rand(2, 3, 24, 24) * 2 - 1
    seen: list[torch.Tensor] = []
    for judge in discriminator.judges:
        judge.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    discriminator(image)
    whole = shifted(image)
    half = whole.view(2, 3, 10, 2, 10, 2).mean((3, 5))
    for features, (picture, count) in zip(seen, [(whole, 4), (whole, 9), (half, 4), (half, 9)], strict=True):
        wanted = vgg.features[:count](vgg.normalise(picture))
        torch.testing.assert_close(features / wanted.mean(), wanted / wanted.mean() * TAP_SCALE)


def test_a_place_is_judged_by_what_is_near_it() -> None:
    discriminator = _features().eval()
    image = torch.rand(1, 3, 84, 84) * 2 - 1
    changed = image.clone()
    changed[..., :20] *= -1
    with torch.no_grad():
        before, after = (discriminator(picture).view(4, 40, 40) for picture in (image, changed))
    assert all(not torch.equal(*first) for first in zip(before[..., 0], after[..., 0], strict=True))
    assert torch.equal(before[:2, :, 24:], after[:2, :, 24:])
    assert torch.equal(before[2:, :, 28:], after[2:, :, 28:])


def test_half_size_judges_count_as_much_as_the_others() -> None:
    """However many places a judge has: the loss is the mean of all logits."""
    discriminator = _features().eval()
    logits = discriminator(torch.rand(1, 3, 24, 24)).view(4, 10, 10)
    assert (logits[2:, ::2, ::2] == logits[2:, 1::2, 1::2]).all()
    assert not (logits[:2, ::2, ::2] == logits[:2, 1::2, 1::2]).any()


def test_half_size_judges_do_not_see_what_alternates_from_pixel_to_pixel() -> None:
    discriminator = _features().eval()
    image = torch.rand(4, 3, 40, 40) - 0.5
    weave = torch.tensor([[0.2, -0.2], [-0.2, 0.2]]).repeat(20, 20)
    with torch.no_grad():
        before, after = (discriminator(picture).view(4, 4, -1) for picture in (image, image + weave))
    assert torch.allclose(before[:, 2:], after[:, 2:], atol=1e-5)
    assert not torch.allclose(before[:, :2], after[:, :2], atol=1e-3)


def test_judges_slopes_are_bounded() -> None:
    """Spectral normalisation: however long they train, a judge's weights as a matrix stretch nothing."""
    discriminator = _features()
    optimizer = torch.optim.SGD(discriminator.judges.parameters(), 100.0)
    for _ in range(30):
        optimizer.zero_grad()
        discriminator(torch.rand(2, 3, 16, 16)).mean().backward()
        optimizer.step()
    for module in discriminator.judges.modules():
        if isinstance(module, nn.Conv2d):
            assert torch.linalg.matrix_norm(module.weight.flatten(1), 2) < 1.5
