"""The command: what it prints, its exit codes, one sentence for each thing that a user can mend."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from sr_train import cli
from sr_train.checkpoint import load_checkpoint, save_checkpoint
from sr_train.generator import Generator, GeneratorConfig
from sr_train.lpips import Lpips
from tests.sr_train.conftest import picture

TINY = [
    *("--set", "model.channels=8", "--set", "model.blocks=1", "--set", "model.discriminator_channels=4"),
    *("--set", "data.crop=32", "--set", "resnet.batch=2", "--set", "gan.batch=2", "--set", "gan.vgg_layer=vgg22"),
    *("--set", "resnet.steps=2", "--set", "resnet.epochs=0", "--set", "gan.steps=2", "--set", "watch.log_every=1"),
    *("--device", "cpu"),
]


def _call(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        cli.main([str(argument) for argument in arguments])
    code = ended.value.code
    printed = capsys.readouterr()
    return code if isinstance(code, int) else 1, printed.out, printed.err


def _one_sentence(errors: str) -> None:
    assert errors.count("\n") == 1 and "Traceback" not in errors and errors.startswith("sr-train: "), errors


@pytest.mark.parametrize("preset", ["seed", "fast"])
def test_both_stages_in_one_go_and_what_comes_out_is_a_checkpoint(
    capsys: pytest.CaptureFixture[str], photos: Path, tmp_path: Path, vgg_file: Path, preset: str
) -> None:
    run = tmp_path / "run"
    code, _, errors = _call(
        capsys, "run", "--preset", preset, "--data", photos, "--out", run, "--vgg-weights", vgg_file, *TINY
    )
    assert code == 0, errors
    assert load_checkpoint(run / "srgan/last.safetensors")[1].stage == "srgan"
    assert (run / "report.html").is_file()


def test_gan_starts_from_the_checkpoint_that_is_named(
    capsys: pytest.CaptureFixture[str], photos: Path, tmp_path: Path, vgg_file: Path
) -> None:
    save_checkpoint(tmp_path / "start.safetensors", Generator(GeneratorConfig(8, 1)))
    arguments = ("gan", "--data", photos, "--out", tmp_path / "run", "--vgg-weights", vgg_file, *TINY)
    for said in ("srgan: 2 steps", "going on from"):
        code, _, errors = _call(capsys, *arguments, "--init", tmp_path / "start.safetensors")
        assert code == 0 and said in errors
    code, _, errors = _call(capsys, *arguments[:-2], "--out", tmp_path / "other", "--device", "cpu")
    assert code == 2
    _one_sentence(errors.splitlines(keepends=True)[-1])
    assert "--init" in errors


def test_missing_vgg_weights_are_told_before_any_training(
    capsys: pytest.CaptureFixture[str], photos: Path, tmp_path: Path
) -> None:
    code, _, errors = _call(
        capsys, "run", "--data", photos, "--out", tmp_path / "run", "--vgg-weights", tmp_path / "no.pth", *TINY
    )
    assert code == 2 and "no.pth" in errors
    _one_sentence(errors)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "resnet.bacth=3"], "nearest is 'resnet.batch'"),
        (["--degradation", "phot"], "photo"),
        (["--set", "data.crop=400"], "data.crop"),
        (["--init", "nowhere.safetensors"], "nowhere.safetensors"),
        (["--device", "cuda:77"], "--device"),
        (["--lpips-weights", "nowhere.safetensors"], "no such file"),
    ],
)
def test_what_a_user_can_mend_is_one_sentence(
    capsys: pytest.CaptureFixture[str], photos: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    code, _, errors = _call(capsys, "resnet", "--data", photos, "--out", tmp_path / "run", *TINY, *arguments)
    assert code == 2 and words in errors
    _one_sentence(errors)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--degradation", "photo"], "leave out either --lr-data or --degradation"),
        (["--set", "gan.shift_pictures=2"], "leave it or --lr-data out"),
    ],
)
def test_lr_pictures_of_ones_own_are_not_mixed_with_made_ones(
    capsys: pytest.CaptureFixture[str], photos: Path, tmp_path: Path, more: list[str], words: str
) -> None:
    arguments = ("resnet", "--data", photos, "--lr-data", photos, "--out", tmp_path / "run", *TINY, *more)
    code, _, errors = _call(capsys, *arguments)
    assert code == 2 and words in errors
    _one_sentence(errors)


def test_empty_folder_is_one_sentence(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, _, errors = _call(capsys, "resnet", "--data", tmp_path / "empty", "--out", tmp_path / "run", *TINY)
    assert code == 2 and "no image files" in errors
    _one_sentence(errors)


def test_one_unreadable_file_among_many_is_named_and_left_out(
    capsys: pytest.CaptureFixture[str], photos: Path, tmp_path: Path
) -> None:
    (photos / "broken.jpg").write_bytes(b"no picture")
    code, _, errors = _call(capsys, "resnet", "--data", photos, "--out", tmp_path / "run", *TINY)
    assert code == 0
    assert errors.count("broken.jpg") == 1 and "1 file(s) skipped" in errors
    assert "broken.jpg" in (tmp_path / "run/skipped.txt").read_text()
    assert "broken.jpg" in (tmp_path / "run/report.html").read_text()


def test_resume_with_another_preset_is_one_sentence(
    capsys: pytest.CaptureFixture[str], photos: Path, tmp_path: Path
) -> None:
    arguments = ("resnet", "-q", "--data", photos, "--out", tmp_path / "run", *TINY)
    assert _call(capsys, *arguments, "--preset", "seed")[0] == 0
    code, _, errors = _call(capsys, *arguments, "--preset", "fast")
    assert code == 2 and "was" in errors and "now" in errors
    _one_sentence(errors)


def test_batch_that_no_machine_can_hold_is_one_sentence(
    capsys: pytest.CaptureFixture[str], photos: Path, tmp_path: Path
) -> None:
    code, _, errors = _call(
        capsys, "resnet", "-q", "--data", photos, "--out", tmp_path / "run", *TINY, "--set", "resnet.batch=100000000000"
    )
    assert code == 1 and "100000000000 crops" in errors and "a smaller resnet.batch" in errors
    _one_sentence(errors)


def test_eval_prints_bicubic_and_the_checkpoint(
    capsys: pytest.CaptureFixture[str], photos: Path, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / "mine.safetensors", Generator(GeneratorConfig(4, 1)))
    save_file(Lpips().state_dict(), tmp_path / "lpips.safetensors")
    code, table, _ = _call(
        capsys,
        *("eval", tmp_path / "mine.safetensors", "--data", photos, "--json", tmp_path / "figures.json"),
        *("--lpips-weights", tmp_path / "lpips.safetensors", "--device", "cpu"),
    )
    assert code == 0
    rows = [line.split(" | ") for line in table.splitlines()[2:4]]
    assert [row[2] for row in rows] == ["bicubic", "mine"] and float(rows[0][3]) > float(rows[1][3])
    assert len(json.loads((tmp_path / "figures.json").read_text())["results"][0]["images"]) == 4


def test_eval_through_jpeg_has_a_table_row_for_each_quality(
    capsys: pytest.CaptureFixture[str], photos: Path, tmp_path: Path
) -> None:
    save_checkpoint(tmp_path / "mine.safetensors", Generator(GeneratorConfig(4, 1)))
    arguments = ("eval", tmp_path / "mine.safetensors", "--data", photos, "--device", "cpu", "--jpeg")
    code, table, _ = _call(capsys, *arguments, 30, 95)
    assert code == 0
    rows = [line.split(" | ") for line in table.splitlines()[2:6]]
    assert ["LR a JPEG of 30" in row[0] for row in rows] == [True, True, False, False]
    assert float(rows[0][3]) < float(rows[2][3])
    code, _, errors = _call(capsys, *arguments, 0)
    assert code == 2 and "between 1 and 100" in errors
    _one_sentence(errors)


def test_pack_and_convert_say_what_they_made(capsys: pytest.CaptureFixture[str], photos: Path, tmp_path: Path) -> None:
    code, said, _ = _call(capsys, "pack", photos, tmp_path / "all.srpack")
    assert code == 0 and "4 photos" in said
    code, _, errors = _call(capsys, "pack", photos, tmp_path / "all.bin")
    assert code == 2 and ".srpack" in errors
    torch.save({"weight": torch.zeros(1)}, tmp_path / "foreign.pth")
    code, _, errors = _call(capsys, "convert", tmp_path / "foreign.pth")
    assert code == 2 and "weight" in errors
    _one_sentence(errors)
    save_checkpoint(tmp_path / "own.safetensors", Generator(GeneratorConfig(channels=8, blocks=1)))
    code, _, errors = _call(capsys, "convert", tmp_path / "own.safetensors", "-o", tmp_path / "half.safetensors")
    assert code == 2 and "--half" in errors
    arguments = ("convert", "--half", tmp_path / "own.safetensors", "-o", tmp_path / "half.safetensors")
    code, said, _ = _call(capsys, *arguments)
    assert code == 0 and "half.safetensors" in said


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM there")
def test_sigterm_saves_and_the_same_command_goes_on(photos: Path, tmp_path: Path) -> None:
    """In a process of its own: exit code 143, then 0."""
    arguments = ["resnet", "--preset", "seed", "--data", str(photos), "--out", str(tmp_path / "run"), *TINY]
    command = [sys.executable, "-c", "from sr_train.cli import main; main()", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    endless = [*command, "--set", "resnet.steps=1000000"]
    metrics = tmp_path / "run/srresnet/metrics.csv"
    with subprocess.Popen(endless, env=environment, stderr=subprocess.PIPE) as process:
        give_up = time.monotonic() + 60
        while not (metrics.is_file() and metrics.read_text().count("\n") > 2) and time.monotonic() < give_up:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert b"the same command goes on" in errors
    assert (tmp_path / "run/srresnet/state.pt").is_file()


@pytest.mark.parametrize(
    ("statement", "loads_torch"), [("import sr_train.generator", True), ("import sr_train, sr_train.cli", False)]
)
def test_importing_loads_nothing_that_is_not_needed_yet(statement: str, loads_torch: bool) -> None:
    code = f"import sys; {statement}; print(*sys.modules)"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", code], check=True, env=environment, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert not loaded & {"torchvision", "matplotlib", "tensorboard", "PIL", "rich"}
    assert ("torch" in loaded) == loads_torch


def test_training_imports_none_of_our_other_packages() -> None:
    sources = (Path(__file__).parents[2] / "sr_train").rglob("*.py")
    lines = [line.split() for source in sources for line in source.read_text().splitlines()]
    imported = {line[1].split(".")[0] for line in lines if len(line) > 1 and line[0] in ("import", "from")}
    assert not imported & {"sr_export", "sr_batch", "calib"}


def test_photo_of_one_size_suffices(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """One photo is trained and validated on."""
    (tmp_path / "one").mkdir()
    Image.fromarray(picture(48, 48, 0)).save(tmp_path / "one/only.png")
    assert _call(capsys, "resnet", "--data", tmp_path / "one", "--out", tmp_path / "run", *TINY)[0] == 0
