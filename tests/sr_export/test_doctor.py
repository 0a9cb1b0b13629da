"""The doctor: every part has a line, what is missing comes with its fix, and nothing broken stops it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sr_export import doctor
from sr_export.cli import main
from sr_export.doctor import Finding, examine, to_text
from sr_export.gpu import Driver, Gpu

PARTS = ("sr-toolkit", "CPU", "NVIDIA driver", "PyTorch", "TensorRT", "TensorRT-RTX", "ONNX Runtime", "OpenVINO")


def test_every_part_has_a_line_and_what_is_missing_has_a_fix() -> None:
    findings = examine()
    for part in PARTS:
        assert any(finding.what.startswith(part) for finding in findings), part
    assert all(finding.found or finding.fix for finding in findings)


def test_gpus_are_listed_with_what_decides_about_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ask_driver", lambda: Driver((Gpu(0, "NVIDIA L4", "8.9", 24_000_000_000),), "13.0"))
    text = to_text(doctor._gpus())
    assert "CUDA up to 13.0" in text and "NVIDIA L4, compute capability 8.9, 24000 MB" in text


def test_no_driver_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "ask_driver", lambda: Driver(problem="there is none"))
    (finding,) = doctor._gpus()
    assert not finding.good and "there is none" in finding.fix and "r580" in finding.fix


def test_a_part_that_breaks_is_a_line_and_the_rest_is_still_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken() -> list[Finding]:
        raise RuntimeError("libopenvino.so is cut short")

    monkeypatch.setattr(doctor, "_openvino", broken)
    monkeypatch.setattr(doctor, "_torch", broken)
    findings = examine()
    assert sum("libopenvino.so is cut short" in finding.fix for finding in findings) == 2
    assert any(finding.what == "CPU" and finding.good for finding in findings)


def test_two_onnxruntimes_in_one_place_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_installed", lambda _: True)
    assert "overwrite each other" in doctor._onnxruntime()[0].fix


def test_cpu_features_are_read_from_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text("model name\t: X\nflags\t\t: sse2 avx2 avx512_bf16\nflags\t\t: other\n")
    monkeypatch.setattr(doctor, "CPU_INFO", tmp_path / "cpuinfo")
    assert doctor._cpu_flags() == {"sse2", "avx2", "avx512_bf16"}
    monkeypatch.setattr(doctor, "CPU_INFO", tmp_path / "none")
    assert doctor._cpu_flags() == set()


def test_the_command_prints_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["doctor"])
    said = capsys.readouterr().out
    assert end.value.code == 0 and said.isascii() and "OpenVINO" in said and "\x1b" not in said
