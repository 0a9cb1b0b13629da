from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn

from sr_batch.tiles import TilePlan, plan_tiles
from sr_export.deploy import deploy
from sr_export.model import find_model
from sr_train.checkpoint import load_checkpoint
from sr_train.errors import UsageError
from sr_train.generator import Generator, GeneratorConfig, random_generator
from tests.conftest import SAMPLES

sides = st.integers(1, 400)


@st.composite
def plans(draw: st.DrawFn) -> tuple[int, int, int, int]:
    """height, width, tile, halo"""
    halo = draw(st.integers(0, 20))
    return draw(sides), draw(sides), draw(st.integers(2 * halo + 4, 2 * halo + 100)), halo


@given(plans())
def test_each_output_pixel_is_written_once(case: tuple[int, int, int, int]) -> None:
    height, width, tile, halo = case
    count = torch.zeros(height * 4, width * 4, dtype=torch.int32)
    for part in plan_tiles(height, width, tile, halo):
        count[part.rows.core_in_output(4), part.columns.core_in_output(4)] += 1
    assert (count == 1).all()


@given(plans())
def test_windows_lie_inside_fit_the_tile_and_are_of_one_size(case: tuple[int, int, int, int]) -> None:
    height, width, tile, halo = case
    plan = plan_tiles(height, width, tile, halo)
    for spans, length in ((plan.rows, height), (plan.columns, width)):
        assert len({span.stop - span.start for span in spans}) == 1
        for span in spans:
            assert 0 <= span.start <= span.keep_start < span.keep_stop <= span.stop <= length
            assert span.stop - span.start <= tile


@given(plans())
def test_a_core_inside_the_image_has_its_whole_halo(case: tuple[int, int, int, int]) -> None:
    height, width, tile, halo = case
    plan = plan_tiles(height, width, tile, halo)
    for spans, length in ((plan.rows, height), (plan.columns, width)):
        for span in spans:
            assert span.keep_start == 0 or span.keep_start - span.start >= halo
            assert span.keep_stop == length or span.stop - span.keep_stop >= halo


@given(plans())
def test_no_plan_with_fewer_windows_would_do(case: tuple[int, int, int, int]) -> None:
    height, _, tile, halo = case
    count = len(plan_tiles(height, 1, tile, halo).rows)
    reachable_with_one_less = tile + (count - 2) * (tile - 2 * halo)
    assert count == 1 or reachable_with_one_less < height


def test_an_image_no_larger_than_the_tile_runs_at_its_own_size() -> None:
    plan = plan_tiles(30, 64, tile=64, halo=12)
    assert len(plan) == 1
    assert plan.computed_pixels() == 30 * 64


def test_a_tile_that_is_all_halo_is_refused_with_a_size_that_works() -> None:
    with pytest.raises(UsageError, match="use --tile 48"):
        plan_tiles(100, 100, tile=24, halo=12)
    assert plan_tiles(100, 100, tile=48, halo=12)


def _tiled(core: nn.Module, image: Tensor, plan: TilePlan, scale: int) -> Tensor:
    result = torch.full((1, 3, image.shape[2] * scale, image.shape[3] * scale), torch.nan, dtype=image.dtype)
    for tile in plan:
        part = core(image[:, :, tile.rows.window(), tile.columns.window()])
        core_part = part[:, :, tile.rows.core_in_result(scale), tile.columns.core_in_result(scale)]
        result[:, :, tile.rows.core_in_output(scale), tile.columns.core_in_output(scale)] = core_part
    return result


def _exact_generator(config: GeneratorConfig, seed: int) -> Generator:
    """A network of float64 arithmetic without rounding: weights -1, 0 and 1, few of them not 0, and slopes of 1/2.

    Sums then come out the same in whatever order a kernel adds, so that tiled and whole can be compared bit for
    bit. The outermost taps are among those that are not 0: every pixel of the halo matters.
    """
    random = torch.Generator().manual_seed(seed)
    generator = random_generator(config, seed)
    for module in generator.modules():
        if isinstance(module, nn.Conv2d):
            weight = torch.zeros_like(module.weight)
            flat = weight.view(module.out_channels, -1)
            taps = torch.randint(flat.shape[1], (module.out_channels, 2), generator=random)
            flat.scatter_(1, taps, 1.0)
            weight[:, :, 0, 0], weight[:, :, -1, -1] = 0, 0
            weight[:, 0, 0, 0], weight[:, -1, -1, -1] = 1, -1
            module.weight.data = weight
            if module.bias is not None:
                module.bias.data.zero_()
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
            assert module.running_var is not None
            module.running_var -= module.eps  # gain 1 to within float32: the fold leaves the weights whole numbers
        elif isinstance(module, nn.PReLU):
            module.weight.data.fill_(0.5)
    return generator


configs = st.builds(GeneratorConfig, st.integers(1, 6), st.integers(0, 3), st.sampled_from((1, 2, 4, 8)))
cases = given(configs, st.integers(1, 90), st.integers(1, 90), st.integers(4, 30), st.integers(0, 99))


@cases
def test_tiled_equals_whole_bit_for_bit(
    config: GeneratorConfig, height: int, width: int, extra: int, seed: int
) -> None:
    generator = _exact_generator(config, seed)
    halo = generator.halo()
    image = torch.randint(256, (1, 3, height, width), generator=torch.Generator().manual_seed(seed)) / 256
    core = deploy(generator).core.double()
    with torch.inference_mode():
        tiled = _tiled(core, image.double(), plan_tiles(height, width, 2 * halo + extra, halo), config.scale)
        assert torch.equal(tiled, core(image.double()))


@pytest.mark.parametrize("blocks", [0, 3])
@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_a_halo_one_pixel_short_is_not_exact(scale: int, blocks: int) -> None:
    """The test above can fail: the halo is not larger than it must be."""
    generator = _exact_generator(GeneratorConfig(3, blocks, scale), seed=0)
    image = torch.randint(256, (1, 3, 80, 80), generator=torch.Generator().manual_seed(0)).double() / 256
    core = deploy(generator).core.double()
    halo = generator.halo()
    with torch.inference_mode():
        short = _tiled(core, image, plan_tiles(80, 80, 2 * halo + 10, halo - 1), scale)
        assert not torch.equal(short, core(image))


@cases
def test_with_real_weights_tiled_equals_whole_to_the_last_bits(
    config: GeneratorConfig, height: int, width: int, extra: int, seed: int
) -> None:
    """Kernels choose their order of additions by shape; that is all that is left."""
    generator = random_generator(config, seed)
    halo = generator.halo()
    image = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))
    core = deploy(generator).core
    plan = plan_tiles(height, width, 2 * halo + extra, halo)
    with torch.inference_mode():
        for dtype, rounding in ((torch.float32, 1e-5), (torch.float64, 1e-13)):
            converted, converted_image = core.to(dtype), image.to(dtype)
            off = _tiled(converted, converted_image, plan, config.scale) - converted(converted_image)
            assert off.abs().max() <= rounding


def test_the_shipped_model_tiled_equals_whole_to_the_last_bits_on_a_photo() -> None:
    generator, _ = load_checkpoint(find_model("srresnet").path)
    core = deploy(generator).core
    pixels = np.asarray(Image.open(SAMPLES / "cat.png"))[100:140, 100:270]
    image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None] / 255
    with torch.inference_mode():
        difference = (_tiled(core, image, plan_tiles(40, 170, 130, generator.halo()), 4) - core(image)).abs().max()
    assert difference <= 1e-5


def test_the_usual_tiles_of_a_12_megapixel_photo_compute_a_quarter_more_at_most() -> None:
    """352 pixels a side and a halo of 12: what OpenVINO and the shipped model choose."""
    assert plan_tiles(3000, 4000, 352, 12).computed_pixels() <= 1.25 * 3000 * 4000


@given(st.integers(1, 400), st.integers(1, 400), st.integers(1, 90), st.integers(0, 12), st.integers(1, 400))
def test_cores_are_as_low_as_asked_and_still_cover_every_pixel_once(
    height: int, width: int, tile: int, halo: int, most_rows: int
) -> None:
    tile = max(tile, 2 * halo + 1)
    plan = plan_tiles(height, width, tile, halo, most_rows=most_rows)
    covered = np.zeros((height, width), np.int64)
    for each in plan:
        covered[each.rows.keep_start : each.rows.keep_stop, each.columns.keep_start : each.columns.keep_stop] += 1
    assert (covered == 1).all()
    assert len({(each.rows.stop - each.rows.start, each.columns.stop - each.columns.start) for each in plan}) == 1
    assert plan.columns == plan_tiles(height, width, tile, halo).columns
    tallest = max(row.stop - row.start for row in plan.rows)
    assert tallest <= max(most_rows, 2 * halo) + 2 * halo and tallest <= tile
