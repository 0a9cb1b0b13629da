"""Foreign generators, built here in their own layouts, give the same pictures once converted."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from sr_train.checkpoint import CheckpointInfo, load_checkpoint, save_checkpoint
from sr_train.convert import convert, convert_own, halved
from sr_train.errors import ConvertError, WeightsError
from sr_train.generator import GeneratorConfig, random_generator


class LornatangBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.rcb = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.PReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.rcb(x)
        return x + residual


class LornatangUpsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.upsample_block = nn.Sequential(
            nn.Conv2d(channels, 4 * channels, 3, padding=1), nn.PixelShuffle(2), nn.PReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.upsample_block(x)
        return result


class Lornatang(nn.Module):
    """Output in [0, 1]."""

    def __init__(self, prefix: str, channels: int = 6, blocks: int = 3) -> None:
        super().__init__()
        self.prefix = prefix
        self.add_module(f"{prefix}1", nn.Sequential(nn.Conv2d(3, channels, 9, padding=4), nn.PReLU()))
        self.trunk = nn.Sequential(*(LornatangBlock(channels) for _ in range(blocks)))
        fuse = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels))
        self.add_module(f"{prefix}2", fuse)
        self.upsampling = nn.Sequential(*(LornatangUpsample(channels) for _ in range(2)))
        self.add_module(f"{prefix}3", nn.Conv2d(channels, 3, 9, padding=4))

    def forward(self, x: Tensor) -> Tensor:
        first, second, third = (self.get_submodule(f"{self.prefix}{n}") for n in (1, 2, 3))
        head = first(x)
        result: Tensor = third(self.upsampling(head + second(self.trunk(head))))
        return result


class LeftthomasBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(channels)
        self.prelu = nn.PReLU()
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.bn2(self.conv2(self.prelu(self.bn1(self.conv1(x)))))
        return x + residual


class LeftthomasUpsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4 * channels, 3, padding=1)
        self.pixel_shuffle = nn.PixelShuffle(2)
        self.prelu = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.prelu(self.pixel_shuffle(self.conv(x)))
        return result


class Leftthomas(nn.Module):
    """Without its closing (tanh + 1) / 2."""

    def __init__(self, channels: int = 6, upsamples: int = 2, fuse_norm: bool = True) -> None:
        super().__init__()
        self.block1 = nn.Sequential(nn.Conv2d(3, channels, 9, padding=4), nn.PReLU())
        for number in range(2, 7):
            self.add_module(f"block{number}", LeftthomasBlock(channels))
        fuse = nn.Conv2d(channels, channels, 3, padding=1)
        self.block7 = nn.Sequential(fuse, nn.BatchNorm2d(channels)) if fuse_norm else nn.Sequential(fuse)
        ups = [LeftthomasUpsample(channels) for _ in range(upsamples)]
        self.block8 = nn.Sequential(*ups, nn.Conv2d(channels, 3, 9, padding=4))

    def forward(self, x: Tensor) -> Tensor:
        head = self.block1(x)
        body = head
        for number in range(2, 7):
            body = self.get_submodule(f"block{number}")(body)
        result: Tensor = self.block8(head + self.block7(body))
        return result


def _unlike_fresh(network: nn.Module) -> nn.Module:
    """BatchNorm statistics and slopes that are not the identity."""
    torch.manual_seed(3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            module.weight.data.uniform_(0.5, 2)
            module.bias.data.normal_()
        elif isinstance(module, nn.PReLU):
            module.weight.data.uniform_(0.1, 0.4)
    return network.eval()


@pytest.mark.parametrize("prefix", ["conv", "conv_block"])
@pytest.mark.parametrize("wrapped", [False, True])
def test_lornatang_gives_the_same_pictures(tmp_path: Path, prefix: str, wrapped: bool) -> None:
    theirs = _unlike_fresh(Lornatang(prefix))
    weights = theirs.state_dict()
    torch.save({"epoch": 3, "state_dict": weights} if wrapped else weights, tmp_path / "g.pth.tar")
    converted = convert(tmp_path / "g.pth.tar")
    lr = torch.rand(1, 3, 12, 10)
    torch.testing.assert_close((converted.generator(lr) + 1) / 2, theirs(lr), atol=1e-5, rtol=1e-5)
    assert converted.layout == "Lornatang/SRGAN-PyTorch" and not converted.note


@pytest.mark.parametrize("upsamples", [1, 2, 3])
def test_leftthomas_gives_the_same_values_before_tanh(tmp_path: Path, upsamples: int) -> None:
    theirs = _unlike_fresh(Leftthomas(upsamples=upsamples))
    torch.save(theirs.state_dict(), tmp_path / "netG_epoch_4_100.pth")
    converted = convert(tmp_path / "netG_epoch_4_100.pth")
    lr = torch.rand(1, 3, 12, 10)
    torch.testing.assert_close(converted.generator(lr), theirs(lr), atol=1e-4, rtol=1e-4)
    assert converted.generator.config.scale == 2**upsamples and converted.generator.config.blocks == 5
    assert "tanh" in converted.note


class MsrBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.conv2(self.conv1(x).relu())
        return x + residual


class MsrResNet(nn.Module):
    """BasicSR's: 3x3 ends, no BatchNorm, no sum over the body, one more convolution, a bilinear picture added."""

    def __init__(self, channels: int = 6, blocks: int = 2) -> None:
        super().__init__()
        self.conv_first = nn.Conv2d(3, channels, 3, padding=1)
        self.body = nn.Sequential(*(MsrBlock(channels) for _ in range(blocks)))
        self.upconv1 = nn.Conv2d(channels, 4 * channels, 3, padding=1)
        self.upconv2 = nn.Conv2d(channels, 4 * channels, 3, padding=1)
        self.conv_hr = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_last = nn.Conv2d(channels, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        act = partial(functional.leaky_relu, negative_slope=0.1)
        features = self.body(act(self.conv_first(x)))
        for convolution in (self.upconv1, self.upconv2):
            features = act(functional.pixel_shuffle(convolution(features), 2))
        base = functional.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False)
        result: Tensor = base + self.conv_last(act(self.conv_hr(features)))
        return result


def test_msrresnet_is_refused_with_its_keys_and_another_way(tmp_path: Path) -> None:
    theirs = MsrResNet()
    assert theirs(torch.rand(1, 3, 6, 5)).shape == (1, 3, 24, 20)
    torch.save({"params": theirs.state_dict()}, tmp_path / "MSRResNet_x4.pth")
    with pytest.raises(
        ConvertError, match=r"MSRResNet.*ONNX.*conv_first\.weight.*body\.1\.conv1\.weight.* and \d+ more"
    ):
        convert(tmp_path / "MSRResNet_x4.pth")


def test_network_without_a_part_is_refused_with_the_keys(tmp_path: Path) -> None:
    torch.save(Leftthomas(fuse_norm=False).state_dict(), tmp_path / "g.pth")
    with pytest.raises(ConvertError, match=r"missing: block7\.1\.weight"):
        convert(tmp_path / "g.pth")


def test_unknown_layout_is_refused_with_its_keys(tmp_path: Path) -> None:
    torch.save({"layer.weight": torch.zeros(1)}, tmp_path / "g.pth")
    with pytest.raises(ConvertError, match=r"layer\.weight"):
        convert(tmp_path / "g.pth")


def test_files_with_more_than_tensors_are_never_run(tmp_path: Path) -> None:
    torch.save(Leftthomas(), tmp_path / "whole.pth")  # a pickled module: code, not weights
    with pytest.raises(WeightsError, match="state_dict"):
        convert(tmp_path / "whole.pth")


def test_half_stores_a_checkpoint_in_half_the_size_with_its_header(tmp_path: Path) -> None:
    generator = random_generator(GeneratorConfig(channels=16, blocks=2), seed=1)
    save_checkpoint(tmp_path / "whole.safetensors", generator, CheckpointInfo("srresnet", 7, {"data": "mine"}))
    own = convert_own(tmp_path / "whole.safetensors")
    assert own and own.info
    save_checkpoint(tmp_path / "half.safetensors", halved(own.generator), own.info)

    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("whole", "half")]
    read, info = load_checkpoint(tmp_path / "half.safetensors")
    picture = torch.rand(1, 3, 12, 12)
    assert sizes[1] < 0.6 * sizes[0]
    assert (info.stage, info.step, info.origin["data"]) == ("srresnet", 7, "mine")
    torch.testing.assert_close(read(picture), generator(picture), atol=5e-3, rtol=5e-3)


def test_half_refuses_weights_that_16_bits_cannot_hold() -> None:
    generator = random_generator(GeneratorConfig(channels=16, blocks=2), seed=1)
    with torch.no_grad():
        generator.tail.weight[0, 0, 0, 0] = 1e6
    with pytest.raises(ConvertError, match=r"tail\.weight; convert without --half"):
        halved(generator)
