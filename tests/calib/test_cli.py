"""`sr-calib` as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from PIL import Image

from calib.cli import main
from sr_export.model import Prepared
from sr_export.onnx_file import read_facts

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def sr_calib(capsys: pytest.CaptureFixture[str]) -> Command:
    def run(*arguments: str | Path) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return int(ended.value.code or 0), captured.out, captured.err

    return run


def test_a_model_is_quantised_with_ones_own_photos_and_checked(
    sr_calib: Command, tiny: Prepared, photos: Path, tmp_path: Path
) -> None:
    target = tmp_path / "my.int8.onnx"
    few = ("--data", photos, "--tiles", "8")
    code, out, err = sr_calib("quantize", tiny.model.path, "-o", target, "--method", "minmax", *few)
    assert code in (0, 1), err  # 1: the gate's word, and the file is there to look at
    facts = read_facts(onnx.load(str(target)))
    assert facts is not None and facts.precision == "int8"
    sidecar = json.loads((tmp_path / "my.int8.onnx.json").read_text())
    assert sidecar["ranges"]["model_sha256"] == tiny.model.sha256
    assert sidecar["verdict"]["use"] is (code == 0)

    picture, figures = tmp_path / "worst.png", tmp_path / "figures.json"
    checked = ("check", target, "--against", tiny.model.path, "--picture", picture, "--json", figures, *few)
    code, out, _ = sr_calib(*checked)
    verdicts = [form["use"] for form in json.loads(figures.read_text())["int8"]]
    assert code == (0 if any(verdicts) else 1)
    assert "dB to fp32" in out and "ms a tile" in out
    with Image.open(picture) as image:
        assert image.width > 2 * image.height

    again = tmp_path / "again.onnx"
    sr_calib("quantize", tiny.model.path, "-o", again, "--ranges", tmp_path / "my.int8.onnx.json", *few)
    assert json.loads((tmp_path / "again.onnx.json").read_text())["ranges"] == sidecar["ranges"]


def test_a_kept_layer_is_in_the_sidecar(sr_calib: Command, tiny: Prepared, photos: Path, tmp_path: Path) -> None:
    target = tmp_path / "kept.onnx"
    code, _, err = sr_calib(
        "quantize", tiny.model.path, "-o", target, "--keep", "fuse", "--method", "minmax", "--data", photos
    )
    assert code in (0, 1), err
    assert "fuse" in json.loads((tmp_path / "kept.onnx.json").read_text())["keep"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["quantize", "no-such-model"], "no model 'no-such-model'"),
        (["quantize", "TINY", "--data", "missing"], "is not a folder of photos"),
        (["quantize", "TINY", "--ranges", "missing.json"], "missing.json: cannot be read"),
        (["quantize", "TINY", "--keep", "nothing", "--data", "PHOTOS"], "no layer nothing"),
        (["check", "TINY"], "is not an INT8 file; make one with sr-calib quantize"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    arguments: list[str], words: str, sr_calib: Command, tiny: Prepared, photos: Path, tmp_path: Path
) -> None:
    named = {"TINY": str(tiny.model.path), "PHOTOS": str(photos)}
    output = ["-o", str(tmp_path / "out.onnx")] if arguments[0] == "quantize" else []
    code, _, err = sr_calib(*(named.get(argument, argument) for argument in arguments), *output)
    assert (code, words in err) == (2, True), err
    assert "Traceback" not in err
    assert not (tmp_path / "out.onnx").exists()
