"""The gate lets good INT8 forms through and refuses bad ones with the reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest

from calib.gate import Figures, Pixels, Truth, decide, measure
from calib.picture import AMPLIFICATION, GAP, worst_tile_picture
from calib.quantize import Target
from calib.ranges import Method, Ranges, measure_ranges
from calib.samples import Samples
from calib.search import make_form, run_with_onnxruntime
from sr_export.model import Prepared
from tests.calib.conftest import ranges_of

GOOD = Figures(48.6, 0.015, 0.0008, None, (0.0, -0.04, 0.01), 0, 44.0)


@pytest.fixture(scope="session")
def truth(tiny_graph: onnx.ModelProto, few: Samples) -> Truth:
    return Truth.of(few.held_out, 4, run_with_onnxruntime(tiny_graph))


def _figures(graph: onnx.ModelProto, ranges: Ranges, few: Samples, truth: Truth) -> Figures:
    form, _ = make_form(graph, ranges, Target.CPU, (), few.calibration)
    return measure(truth, run_with_onnxruntime(form))


def test_the_fp32_form_itself_loses_nothing(tiny_graph: onnx.ModelProto, truth: Truth) -> None:
    figures = measure(truth, run_with_onnxruntime(tiny_graph))
    assert figures.psnr_db == np.inf
    assert (figures.loss_db, figures.ssim_loss, figures.shift_levels) == (0, 0, (0, 0, 0))
    assert decide(figures, speed=1.5).use


def test_each_promise_of_the_gate_is_kept_alone() -> None:
    assert decide(GOOD, speed=1.6).use
    broken = {
        "39.9 dB to fp32": replace(GOOD, psnr_db=39.9),
        "loses 0.11 dB PSNR-Y": replace(GOOD, loss_db=0.11),
        "loses 0.0040 SSIM-Y": replace(GOOD, ssim_loss=0.004),
        "loses 0.020 LPIPS": replace(GOOD, lpips_loss=0.02),
        "darkens a channel by 0.90 levels": replace(GOOD, shift_levels=(0.1, -0.9, 0.0)),
        "brightens a channel by 0.25 levels": replace(GOOD, shift_levels=(0.25, -0.1, 0.0)),
    }
    for reason, figures in broken.items():
        verdict = decide(figures)
        assert not verdict.use
        assert len(verdict.reasons) == 1 and reason in verdict.reasons[0]
    assert "is not faster here (0.80" in decide(GOOD, speed=0.8).reasons[0]


def test_a_form_that_darkens_by_half_a_level_is_caught(tiny_graph: onnx.ModelProto, truth: Truth) -> None:
    run = run_with_onnxruntime(tiny_graph)

    def darker(pixels: Pixels) -> Pixels:
        result = run(pixels)
        result[::2] -= np.minimum(result[::2], 1)
        return result

    figures = measure(truth, darker)
    assert -0.51 < min(figures.shift_levels) < -0.4
    assert any("darkens" in reason for reason in decide(figures).reasons)


def test_a_form_calibrated_on_black_pictures_is_refused(
    tiny: Prepared, tiny_graph: onnx.ModelProto, few: Samples, dark: Samples, truth: Truth
) -> None:
    good = _figures(tiny_graph, ranges_of(tiny, few), few, truth)
    verdict = decide(_figures(tiny_graph, ranges_of(tiny, dark), few, truth))
    assert decide(good).use, good
    assert not verdict.use
    assert "dB to fp32" in verdict.reasons[0]


def test_a_form_with_a_wrong_scale_is_refused(
    tiny_graph: onnx.ModelProto, tiny_ranges: Ranges, few: Samples, truth: Truth
) -> None:
    name = next(iter(tiny_ranges.tensors))
    wrong = replace(tiny_ranges.tensors[name], high=tiny_ranges.tensors[name].high / 4)
    ranges = replace(tiny_ranges, tensors={**tiny_ranges.tensors, name: wrong})
    assert not decide(_figures(tiny_graph, ranges, few, truth)).use


def test_lpips_lost_is_measured_against_the_ground_truth(tiny_graph: onnx.ModelProto, truth: Truth) -> None:
    """With a stand-in for LPIPS: the mean absolute difference."""
    run = run_with_onnxruntime(tiny_graph)

    def distance(result: Pixels, tile: Pixels) -> float:
        return float(np.abs(result.astype(float) - tile).mean())

    assert measure(truth, run, distance).lpips_loss == 0
    worse = measure(truth, lambda pixels: 255 - run(pixels), distance).lpips_loss
    expected = [distance(255 - a, t) - distance(a, t) for a, t in zip(truth.of_small, truth.tiles, strict=True)]
    assert worse == pytest.approx(np.mean(expected))


@pytest.mark.parametrize("method", list(Method))
def test_each_method_of_measuring_ranges_gives_a_form_near_fp32(
    method: Method, tiny: Prepared, tiny_graph: onnx.ModelProto, few: Samples, truth: Truth
) -> None:
    data = (few.source, few.sha256())
    ranges = measure_ranges(tiny_graph, few.calibration, method, tiny.model.sha256, data=data, equalised=False)
    assert ranges.method == method.value
    assert _figures(tiny_graph, ranges, few, truth).psnr_db > 35


def test_the_worst_tile_is_shown_with_its_difference_amplified() -> None:
    fp32 = np.full((4, 6, 3), 100, np.uint8)
    int8 = fp32.copy()
    int8[0, 0] = 103
    picture = np.asarray(worst_tile_picture(fp32, int8))
    assert picture.shape == (4, 3 * 6 + 2 * GAP, 3)
    difference = picture[:, 2 * (6 + GAP) :]
    assert difference[0, 0].tolist() == [128 + 3 * AMPLIFICATION] * 3
    assert (difference.reshape(-1, 3)[1:] == 128).all()
