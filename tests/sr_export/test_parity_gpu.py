"""Parity of the forms that need an NVIDIA GPU. Has never run where it was written."""

from __future__ import annotations

import pytest

from sr_export.engines import Precision
from sr_export.model import Prepared
from sr_export.parity_report import to_json
from sr_export.parity_run import find_forms, load_images, measure_parity
from tests.conftest import SAMPLES


@pytest.mark.gpu
def test_parity_of_the_gpu_forms_on_the_samples(shipped: Prepared) -> None:
    forms = find_forms(shipped)
    gpu_forms = [form for form in forms[1:] if "cuda" in form.name or form.name[:3] in ("trt", "rtx")]
    parity = measure_parity("srresnet", [forms[0], *gpu_forms], load_images(SAMPLES))
    ran = [form for form in parity.measured[1:] if form.difference is not None]
    assert ran, [form.problem for form in parity.measured[1:]]
    assert parity.passed(), to_json(parity)
    assert Precision.FP16 in {form.precision for form in gpu_forms}
