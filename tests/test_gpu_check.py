"""The GPU acceptance script, as far as a machine without a GPU goes: it refuses, and its arithmetic is right."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest
import torch
from torch import nn

from sr_export.deploy import deploy
from sr_export.gpu import ask_driver
from sr_train.generator import Generator

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "gpu_check.py"


@pytest.mark.skipif(bool(ask_driver().gpus), reason="this machine has a GPU")
def test_without_a_gpu_it_says_so_and_writes_no_report(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(tmp_path / "report.json")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=SCRIPT.parents[1], timeout=120)
    assert result.returncode == 2
    assert result.stderr.startswith("gpu-check needs an NVIDIA GPU") and result.stderr.count("\n") == 1
    assert not (tmp_path / "report.json").exists()


def test_the_work_of_a_pixel_is_that_of_the_deployed_networks_convolutions() -> None:
    spec = spec_from_file_location("gpu_check", SCRIPT)
    assert spec is not None and spec.loader is not None
    script = module_from_spec(spec)
    spec.loader.exec_module(script)
    counted = 0

    def count(layer: nn.Module, _inputs: object, output: torch.Tensor) -> None:
        nonlocal counted
        assert isinstance(layer, nn.Conv2d)
        counted += layer.weight.numel() * output.shape[2] * output.shape[3]

    core = deploy(Generator()).core
    for layer in core.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    with torch.inference_mode():
        core(torch.zeros(1, 3, 8, 6))
    assert counted == script.MACS_PER_PIXEL * 8 * 6
