"""Parity: what is measured, what passes, and what the reports say. On the samples it is the project's parity test."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from sr_export.cli import main
from sr_export.deploy import deploy
from sr_export.engines import EngineName
from sr_export.engines.openvino_engine import computes_in_bf16
from sr_export.export import OnnxOptions, export_model
from sr_export.model import Prepared, find_model
from sr_export.parity import Difference
from sr_export.parity_report import HEAT_LEVELS, heat_map, to_html, to_json, write_report
from sr_export.parity_run import Measured, Parity, find_forms, load_images, measure_parity
from sr_train.checkpoint import load_checkpoint
from sr_train.errors import UsageError
from tests.conftest import SAMPLES


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sr_export.parity_run.MIN_SECONDS", 0.01)


def with_one_weight_changed(prepared: Prepared, folder: Path) -> Prepared:
    graph = onnx.load(str(prepared.onnx_path))
    tensor = next(t for t in graph.graph.initializer if len(t.dims) == 4)
    weights = onnx.numpy_helper.to_array(tensor).copy()
    weights.flat[0] += 1
    tensor.CopyFrom(onnx.numpy_helper.from_array(weights, tensor.name))
    onnx.save(graph, str(folder / "broken.onnx"))
    return replace(prepared, onnx_path=folder / "broken.onnx")


def by_name(parity: Parity) -> dict[str, Measured]:
    return {form.name: form for form in parity.measured}


def difference_of(form: Measured) -> Difference:
    assert form.difference is not None, form.problem
    return form.difference


def test_every_cpu_form_of_a_model_passes_its_gate(tiny: Prepared) -> None:
    parity = measure_parity("tiny", find_forms(tiny), load_images(None))
    forms = by_name(parity)
    assert parity.reference == "torch fp32" and parity.passed()
    for name in ("onnx fp32", "openvino fp32", "fp16 emulated"):
        assert forms[name].passed and forms[name].tiles_per_second and forms[name].ratio


def test_a_form_that_cannot_run_here_is_listed_with_its_reason(tiny: Prepared) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    forms = by_name(measure_parity("tiny", find_forms(tiny, [EngineName.TRT]), load_images(None)))
    assert forms["trt fp16"].passed is None
    assert "driver" in forms["trt fp16"].problem


def test_a_graph_with_one_weight_changed_fails_the_gate(tiny: Prepared, tmp_path: Path) -> None:
    broken = with_one_weight_changed(tiny, tmp_path)
    parity = measure_parity("tiny", find_forms(broken, [EngineName.ONNX]), load_images(None))
    assert by_name(parity)["onnx fp32"].passed is False
    assert not parity.passed()


def test_the_command_exits_1_when_a_gate_fails_and_0_when_all_pass(
    tiny: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["parity", str(tiny.model.path), "--engines", "onnx", "--json"]
    with pytest.raises(SystemExit) as end:
        main([*arguments, "--report", str(tmp_path / "r.html"), "--report", str(tmp_path / "r.json")])
    assert end.value.code == 0
    assert json.loads(capsys.readouterr().out) == json.loads((tmp_path / "r.json").read_text())
    broken = with_one_weight_changed(tiny, tmp_path)
    monkeypatch.setattr("sr_export.model.prepare", lambda *_: broken)
    with pytest.raises(SystemExit) as end:
        main(["parity", str(tiny.model.path), "--engines", "onnx"])
    assert end.value.code == 1
    assert "NOT PASSED" in capsys.readouterr().out


def test_the_page_has_a_heat_map_for_each_form_and_image_and_needs_nothing_else(tiny: Prepared, tmp_path: Path) -> None:
    parity = measure_parity("tiny", find_forms(tiny, [EngineName.ONNX]), load_images(None))
    page = to_html(parity)
    assert page.count("<img src='data:image/png;base64,") == len(parity.images) == 3
    assert "http" not in page and "onnx fp32" in page
    write_report(parity, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == page


def test_json_has_every_figure_and_equal_pictures_are_null() -> None:
    equal = Measured("onnx fp32", "cpu", Difference(0, float("inf"), 0.0), 2.0, 1.5, True, 0)
    missing = Measured("trt fp16", problem="there is no driver")
    content = json.loads(to_json(Parity("m", "torch fp32", ("a",), (equal, missing), (), {})))
    assert content["passed"] is True and content["forms"][0]["difference"]["psnr_db"] is None
    assert content["forms"][0]["ratio"] == 1.5 and content["forms"][1]["problem"] == "there is no driver"


def test_the_heat_map_is_black_where_equal_and_white_from_its_limit_on() -> None:
    picture = heat_map(np.array([[0, HEAT_LEVELS, 255, 1]], dtype=np.uint8))
    assert picture[0, 0].tolist() == [0, 0, 0]
    assert picture[0, 1].tolist() == picture[0, 2].tolist() == [255, 255, 255]
    assert 0 < int(picture[0, 3, 0]) < 255 and picture[0, 3, 2] == 0


def test_a_report_of_another_kind_and_a_folder_without_photos_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.html or \.json"):
        write_report(Parity("m", "r", (), (), (), {}), tmp_path / "report.pdf")
    with pytest.raises(UsageError, match="no photos"):
        load_images(tmp_path)


@pytest.mark.slow
def test_parity_on_the_samples(shipped: Prepared) -> None:
    """The project's parity test: every CPU form of the shipped model on real photos."""
    forms = [form for form in find_forms(shipped) if "cuda" not in form.name]
    parity = measure_parity("srresnet", forms, load_images(SAMPLES))
    measured = by_name(parity)
    assert difference_of(measured["onnx fp32"]).max_levels <= 1
    assert difference_of(measured["openvino fp32"]).max_levels <= 1
    assert difference_of(measured["fp16 emulated"]).psnr_db >= 55
    if computes_in_bf16():
        assert difference_of(measured["openvino bf16"]).psnr_db >= 50
    assert parity.passed()


@pytest.mark.slow
def test_the_float_door_of_the_shipped_model_is_torch_to_1e_4_on_the_samples(tmp_path: Path) -> None:
    """And the pixel door is within one level of the float door, rounded."""
    model = find_model("srresnet")
    deployed = deploy(load_checkpoint(model.path)[0])
    sessions = {}
    for door in ("float", "pixel"):
        export_model(model, tmp_path / f"{door}.onnx", OnnxOptions("pixel" if door == "pixel" else "float"))
        sessions[door] = onnxruntime.InferenceSession(
            str(tmp_path / f"{door}.onnx"), providers=["CPUExecutionProvider"]
        )
    for path in sorted(SAMPLES.glob("*.[jpw]*g")) or [SAMPLES / "cat.png"]:
        pixels = np.ascontiguousarray(np.asarray(Image.open(path).convert("RGB"))[None, 40:136, 40:136])
        image = pixels.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
        with torch.inference_mode():
            expected = deployed.core(torch.from_numpy(image)).numpy()
        given = sessions["float"].run(None, {"input": image})[0]
        assert np.abs(given - expected).max() <= 1e-4
        rounded = np.rint(np.clip(given, 0, 1) * 255).transpose(0, 2, 3, 1)
        assert np.abs(sessions["pixel"].run(None, {"input": pixels})[0] - rounded).max() <= 1
