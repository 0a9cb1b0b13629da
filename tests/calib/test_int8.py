"""What `--precision int8` runs: made once, judged once on this machine, used or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from calib import int8
from calib.errors import CalibrationError, GateRefused
from calib.gate import Figures
from calib.int8 import Wish, calibrate, int8_form, require_int8, target_for
from calib.quantize import Target
from calib.samples import Samples
from sr_export.engines import Engine, EngineName, Precision, open_engine
from sr_export.engines.base import Pixels
from sr_export.model import Prepared
from tests.conftest import random_pixels

GOOD = Figures(48.6, 0.015, 0.0008, None, (0.0, -0.04, 0.01), 0, 44.0)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few: Samples) -> None:
    """Nothing is calibrated before, and what is, with few tiles."""
    monkeypatch.setenv("SR_TOOLKIT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(int8, "built_in_samples", lambda: few)


def _open(form: Prepared, precision: Precision | str) -> Engine:
    return open_engine(form, EngineName.OPENVINO, Precision.FP32 if precision == "auto" else Precision(precision))


def _verdict(monkeypatch: pytest.MonkeyPatch, figures: Figures, speed: float) -> list[str]:
    judged: list[str] = []

    def judge(prepared: Prepared, fast: Engine, _float_form: Engine) -> tuple[Figures, float]:
        judged.append(prepared.model.name)
        assert fast.traits.precision is Precision.INT8
        return figures, speed

    monkeypatch.setattr(int8, "judge", judge)
    return judged


def test_the_form_is_made_once_and_runs_close_to_fp32(tiny: Prepared) -> None:
    said: list[str] = []
    form = int8_form(tiny, Target.CPU, said.append)
    assert int8_form(tiny, Target.CPU, said.append) == form
    assert len(said) == 1
    pixels: Pixels = random_pixels(40, 50)[None]
    results = []
    for prepared, precision in ((tiny, Precision.FP32), (form, Precision.INT8)):
        with _open(prepared, precision) as engine:
            results.append(next(iter([result.astype(np.int16) for result in engine.stream([pixels])])))
    assert np.abs(results[1] - results[0]).mean() < 2


def test_a_form_that_passes_here_is_used_and_judged_once(tiny: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    judged = _verdict(monkeypatch, GOOD, 1.6)
    forms = [require_int8(tiny, Target.CPU, _open) for _ in range(2)]
    assert forms[0] == forms[1]
    assert forms[0].facts.precision == "int8"
    assert len(judged) == 1


@pytest.mark.parametrize(
    ("figures", "speed", "reason"),
    [(GOOD, 0.7, "is not faster here"), (Figures(30, 0, 0, None, (0, 0, 0), 0, 30), 2.0, "30.0 dB to fp32")],
)
def test_a_form_that_fails_here_is_refused_with_the_reason_and_the_fix(
    figures: Figures, speed: float, reason: str, tiny: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    _verdict(monkeypatch, figures, speed)
    with pytest.raises(GateRefused, match=rf"{reason}.*use --precision auto"):
        require_int8(tiny, Target.CPU, _open)


def test_a_file_that_is_int8_already_is_taken_as_it_is_but_not_quantised_again(tiny: Prepared, few: Samples) -> None:
    form = int8_form(tiny, Target.CPU)
    assert require_int8(form, Target.CPU, _open) is form
    with pytest.raises(CalibrationError, match="is quantised already; give the model it was made from"):
        calibrate(form, few, Wish())


def test_each_engine_gets_the_form_that_follows_its_rules() -> None:
    assert target_for(EngineName.OPENVINO, "auto") is Target.CPU
    assert target_for(EngineName.ONNX, "cpu") is Target.CPU
    assert {target_for(name, "auto") for name in (EngineName.TRT, EngineName.RTX)} == {Target.TENSORRT}
