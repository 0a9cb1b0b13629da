"""fp16 safety: ranges are measured, overflow is found and named, the emulation behaves as half precision does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sr_export.deploy import PixelDoor, deploy
from sr_export.errors import Fp16Unsafe
from sr_export.fp16 import FP16_MAX, check_ranges, emulate_fp16, half_of, measure_ranges
from sr_export.parity import compare
from sr_train.errors import UsageError
from sr_train.generator import GeneratorConfig, random_generator

IMAGES: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 256, (2, 24, 20, 3), dtype=np.uint8)


def tiny() -> PixelDoor:
    return deploy(random_generator(GeneratorConfig(channels=8, blocks=2, scale=4), seed=1))


def inflated(block: str, factor: float) -> PixelDoor:
    """The tiny network with a block's first convolution multiplied, and its second one divided by as much."""
    door = tiny()
    with torch.no_grad():
        for parameter in door.core.get_submodule(f"{block}.conv1").parameters():
            parameter.mul_(factor)
        door.core.get_parameter(f"{block}.conv2.weight").div_(factor)
    return door


def run(door: PixelDoor) -> NDArray[np.uint8]:
    with torch.inference_mode():
        result: NDArray[np.uint8] = door(torch.from_numpy(IMAGES)).numpy()
    return result


def test_ranges_name_every_layer_in_forward_order_with_its_largest_activation() -> None:
    door = tiny()
    ranges = {layer.name: layer.peak for layer in measure_ranges(door.core, IMAGES)}
    with torch.inference_mode():
        head = door.core.head(torch.from_numpy(IMAGES).float().permute(0, 3, 1, 2) / 255)
    assert ranges["head"] == pytest.approx(float(head.abs().max()))
    names = list(ranges)
    assert names.index("head.0") < names.index("body.0.conv1") < names.index("body.1.conv2") < names.index("upsample.0")
    assert {"sum", "fuse", "body.1.act"} <= set(names)


def test_a_network_with_room_passes_and_the_tightest_layer_is_told() -> None:
    ranges = measure_ranges(tiny().core, IMAGES)
    tightest = check_ranges(ranges)
    assert tightest.peak == max(layer.peak for layer in ranges)
    assert tightest.headroom == FP16_MAX / tightest.peak


def test_a_layer_near_overflow_is_refused_by_name_with_both_ways_out() -> None:
    ranges = measure_ranges(inflated("body.1", 1e5).core, IMAGES)
    with pytest.raises(Fp16Unsafe, match=r"body\.1\.conv1 .*--precision fp32.*--keep-fp32 body\.1$"):
        check_ranges(ranges)
    check_ranges(ranges, keep_fp32=["body.1"])


def test_the_whole_network_is_offered_fp32_when_no_part_of_it_would_fit() -> None:
    door = tiny()
    with torch.no_grad():
        for parameter in door.core.head[0].parameters():
            parameter.mul_(1e6)  # all that follows is as large
    with pytest.raises(Fp16Unsafe, match=r"use --precision fp32$"):
        check_ranges(measure_ranges(door.core, IMAGES))


def test_emulated_fp16_agrees_with_real_half() -> None:
    difference = compare(run(emulate_fp16(tiny())), run(half_of(tiny())))
    assert difference.max_levels <= 1, difference
    assert difference.psnr_db >= 55, difference


def test_emulated_fp16_overflows_as_half_does_and_a_kept_part_does_not() -> None:
    broken = inflated("body.0", 1e6)
    reference = run(broken)
    assert not compare(run(emulate_fp16(broken)), reference).passes_gate()
    assert compare(run(emulate_fp16(broken, ["body.0"])), reference).passes_gate()
    assert compare(run(half_of(broken, ["body.0"])), reference).passes_gate()


def test_half_of_leaves_the_original_alone_and_stores_half_but_for_kept_parts() -> None:
    door = tiny()
    twin = half_of(door, ["body.1"])
    assert {p.dtype for p in door.parameters()} == {torch.float32}
    kept = {name for name, p in twin.core.named_parameters() if p.dtype == torch.float32}
    assert kept and all(name.startswith("body.1.") for name in kept)


def test_an_unknown_part_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"no part 'bodi'.*body\.1"):
        half_of(tiny(), ["bodi"])
