"""The command as a user types it. In process where that is the same; as a process for signals, exits and imports."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from sr_export.model import Prepared
from tests.conftest import random_pixels
from tests.sr_batch import disks
from tests.sr_batch.conftest import Command, totals


def _photo(path: Path, height: int = 24, width: int = 30, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(random_pixels(height, width, seed)).save(path)
    return path


def _tree(folder: Path) -> list[str]:
    """All files but the journals."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".sr-batch.jsonl")
    return sorted(str(path.relative_to(folder)) for path in files)


def _is_complete(path: Path) -> bool:
    with Image.open(path) as image:
        image.load()
    return True


def test_a_folder_of_all_kinds_comes_out_four_times_larger(sr_batch: Command, tmp_path: Path) -> None:
    for index, suffix in enumerate((".jpg", ".png", ".webp", ".tif")):
        _photo(tmp_path / "photos" / "sub" / f"{index}{suffix}", 20 + index, 33)
    code, _, err = sr_batch(tmp_path / "photos")
    assert code == 0
    assert totals(err)["done"] == "4"
    assert f"results are in {tmp_path / 'photos_x4'}\n" in err
    for index, suffix in enumerate((".jpg", ".png", ".webp", ".tif")):
        with Image.open(tmp_path / "photos_x4" / "sub" / f"{index}{suffix}") as image:
            assert image.size == (132, 4 * (20 + index))
    before = {name: (tmp_path / "photos" / name).read_bytes() for name in _tree(tmp_path / "photos")}
    code, _, err = sr_batch(tmp_path / "photos")
    assert code == 0
    assert totals(err).items() >= {"done": "0", "already done": "4"}.items()
    assert before == {name: (tmp_path / "photos" / name).read_bytes() for name in _tree(tmp_path / "photos")}


def test_the_pixels_are_the_networks(sr_batch: Command, tiny: Prepared, tmp_path: Path) -> None:
    import torch

    from sr_export.deploy import deploy
    from sr_train.checkpoint import load_checkpoint

    _photo(tmp_path / "a.png", 100, 70)
    code, _, _ = sr_batch(tmp_path / "a.png", "--tile", "40", "--halo", "exact", "--precision", "fp32")
    assert code == 0
    expected = deploy(load_checkpoint(tiny.model.path)[0])(torch.from_numpy(random_pixels(100, 70))[None])[0].numpy()
    with Image.open(tmp_path / "a_x4.png") as image:
        assert np.abs(np.asarray(image).astype(int) - expected).max() <= 1


def test_overwrite_does_again_what_is_there_and_nothing_else_does(sr_batch: Command, tmp_path: Path) -> None:
    _photo(tmp_path / "p" / "a.png")
    sr_batch(tmp_path / "p")
    result = tmp_path / "p_x4" / "a.png"
    made = result.read_bytes()
    result.write_bytes(b"edited by somebody")
    assert sr_batch(tmp_path / "p")[0] == 0
    assert result.read_bytes() == b"edited by somebody"
    assert sr_batch(tmp_path / "p", "--overwrite")[0] == 0
    assert result.read_bytes() == made


def test_other_upscalers_flags_work(sr_batch: Command, tmp_path: Path) -> None:
    _photo(tmp_path / "a.png")
    out = tmp_path / "out"
    code, _, err = sr_batch(
        "-i", tmp_path / "a.png", "-o", out, "-s", "4", "-t", "0", "-g", "-1", "-j", "1:2:2", "-f", "jpg"
    )
    assert (code, _tree(out)) == (0, ["a.jpg"]), err


def test_inputs_come_from_patterns_and_lists_too(sr_batch: Command, tmp_path: Path) -> None:
    for name in ("p/a.png", "p/b.png", "q/c.png"):
        _photo(tmp_path / name, 8, 8)
    (tmp_path / "list.txt").write_text(f"{tmp_path / 'q' / 'c.png'}\n")
    out = tmp_path / "out"
    code, _, err = sr_batch(tmp_path / "p" / "*.png", "--files-from", tmp_path / "list.txt", "-o", out)
    assert (code, _tree(out)) == (0, ["a.png", "b.png", "c.png"]), err
    code, _, err = sr_batch("--files-from", tmp_path / "nowhere.txt")
    assert (code, "check the path" in err) == (2, True)


def test_another_quality_does_a_folder_again_and_leaves_alone_what_was_edited(
    sr_batch: Command, tmp_path: Path
) -> None:
    for name in ("a.jpg", "b.jpg"):
        _photo(tmp_path / "p" / name)
    assert sr_batch(tmp_path / "p")[0] == 0
    (tmp_path / "p_x4" / "b.jpg").write_bytes(b"edited")
    code, _, err = sr_batch(tmp_path / "p", "--quality", "50")
    assert code == 0
    assert totals(err).items() >= {"done": "1", "not ours": "1"}.items()
    assert "1 of those already there" in err
    assert (tmp_path / "p_x4" / "b.jpg").read_bytes() == b"edited"


def test_programs_get_json_on_stdout_and_a_report(sr_batch: Command, tiny: Prepared, tmp_path: Path) -> None:
    _photo(tmp_path / "p" / "a.png")
    (tmp_path / "p" / "bad.jpg").write_text("text")
    code, out, err = sr_batch(tmp_path / "p", "--json", "--report", tmp_path / "run.json", "--quality", "80")
    assert code == 1
    first, *records, last = [json.loads(line) for line in out.splitlines()]
    report = json.loads((tmp_path / "run.json").read_text())
    assert {record["event"] for record in records} == {"started", "advanced", "finished", "failed"}
    assert (first["event"], first["files"], first["version"]) == ("opened", 2, report["version"])
    for head in (first, report):
        assert head["tool_version"] == version("sr-toolkit")
        assert (head["model"], head["model_sha256"]) == (tiny.model.name, tiny.model.sha256)
        assert head["scale"] == 4 and head["precision"] in ("fp32", "bf16")
        assert datetime.fromisoformat(head["started"]).utcoffset() is not None
        assert head["options"]["quality"] == 80 and head["options"]["inputs"] == [str(tmp_path / "p")]
        assert head["engine"]
    assert last["event"] == "summary" and last == report["summary"]
    assert (last["done"], last["failed"], last["pictures"], last["pixels"]) == (1, 1, 1, 24 * 30)
    assert last["interrupted"] is report["interrupted"] is False
    assert datetime.fromisoformat(report["ended"]) >= datetime.fromisoformat(report["started"])
    assert len(report["files"]) == 2
    assert totals(err).items() >= {"done": "1", "failed": "1"}.items()


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_its_report_and_a_closing_event(
    number: signal.Signals, code: int, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    for index in range(40):
        _photo(tmp_path / "p" / f"{index:02}.png", 400, 500, index)
    process = _start(tiny_checkpoint, tmp_path / "p", "--json", "--report", tmp_path / "run.json")
    assert process.stdout is not None
    seen = ""
    while '"event": "finished"' not in seen:
        line = process.stdout.readline()
        assert line, "ended before its first photo"
        seen += line
    process.send_signal(number)
    rest, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    report = json.loads((tmp_path / "run.json").read_text())
    last = json.loads((seen + rest).splitlines()[-1])
    assert (last["event"], last["interrupted"], report["interrupted"]) == ("summary", True, True)
    assert 1 <= last["done"] == report["summary"]["done"] < 40
    assert last["seconds"] > 0
    assert {file["event"] for file in report["files"]} == {"finished"}
    assert totals(err)["done"] == str(last["done"])


def test_a_photo_above_the_limit_is_refused_with_the_option_that_raises_it(sr_batch: Command, tmp_path: Path) -> None:
    _photo(tmp_path / "p" / "a.png", 100, 100)
    code, _, err = sr_batch(tmp_path / "p", "--max-pixels", "0.009")
    assert (code, "raise it with --max-pixels" in err) == (1, True)
    assert sr_batch(tmp_path / "p")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "folder", "size"),
    [
        (["--scale", "2"], "p_x2", (60, 48)),
        (["-s", "1.5x"], "p_x1.5", (45, 36)),
        (["--target-size", "long=100"], "p_long100", (100, 80)),
        (["--target-size", "50x500"], "p_50x500", (50, 40)),
        (["--target-size", "mp=0.005"], "p_mp0.005", (79, 63)),
    ],
)
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_results_have_the_size_that_is_asked_for(
    sr_batch: Command, tmp_path: Path, arguments: list[str], folder: str, size: tuple[int, int], suffix: str
) -> None:
    _photo(tmp_path / "p" / f"a{suffix}", 24, 30)
    code, _, err = sr_batch(tmp_path / "p", *arguments, "--tile", "20", "--halo", "2")
    assert code == 0, err
    with Image.open(tmp_path / folder / f"a{suffix}") as image:
        assert image.size == size


def test_a_smaller_result_is_the_networks_shrunk(sr_batch: Command, tmp_path: Path) -> None:
    _photo(tmp_path / "a.png", 90, 70)
    options = ("--precision", "fp32", "--tile", "40", "--halo", "exact")
    assert sr_batch(tmp_path / "a.png", "-o", tmp_path / "full.png", *options)[0] == 0
    assert sr_batch(tmp_path / "a.png", "-o", tmp_path / "half.png", "--scale", "2", *options)[0] == 0
    with Image.open(tmp_path / "full.png") as full, Image.open(tmp_path / "half.png") as half:
        expected = full.resize((140, 180), Image.Resampling.LANCZOS)
        assert np.abs(np.asarray(expected).astype(int) - np.asarray(half)).max() <= 1


def test_transparency_follows_the_size(sr_batch: Command, tmp_path: Path) -> None:
    alpha = np.zeros((20, 20), dtype=np.uint8)
    alpha[:, 10:] = 255
    Image.fromarray(np.dstack([random_pixels(20, 20), alpha])).save(tmp_path / "a.png")
    for choice in ("lanczos", "model"):
        out = tmp_path / f"{choice}.png"
        assert sr_batch(tmp_path / "a.png", "-o", out, "--scale", "2.5", "--alpha", choice)[0] == 0
        with Image.open(out) as image:
            found = np.asarray(image.getchannel("A"))
        assert found.shape == (50, 50)
        assert not found[:, :22].any() and (found[:, 28:] == 255).all()


def test_another_size_is_another_result(sr_batch: Command, tmp_path: Path) -> None:
    _photo(tmp_path / "p" / "a.png")
    out = tmp_path / "out"
    assert sr_batch(tmp_path / "p", "-o", out)[0] == 0
    for arguments, done in ((["--scale", "4"], 0), (["--scale", "3"], 1), (["--target-size", "long=90"], 1)):
        assert totals(sr_batch(tmp_path / "p", "-o", out, *arguments)[2])["done"] == str(done)
    with Image.open(out / "a.png") as image:
        assert image.size == (90, 72)


def test_what_is_larger_than_the_network_draws_is_said(sr_batch: Command, tmp_path: Path) -> None:
    _photo(tmp_path / "a.png", 8, 8)
    code, _, err = sr_batch(tmp_path / "a.png", "--scale", "6")
    assert (code, "from there to 48x48 it was enlarged without new detail" in err) == (0, True)


def test_large_photos_are_left_alone_and_that_is_no_failure(sr_batch: Command, tmp_path: Path) -> None:
    _photo(tmp_path / "p" / "large.png", 60, 60)
    _photo(tmp_path / "p" / "small.png", 20, 20)
    code, out, err = sr_batch(tmp_path / "p", "--skip-larger-than", "long=50", "--dry-run")
    assert (code, "would leave alone" in out) == (0, True)
    code, _, err = sr_batch(tmp_path / "p", "--skip-larger-than", "long=50")
    assert code == 0
    assert _tree(tmp_path / "p_x4") == ["small.png"]
    assert totals(err)["large enough"] == "1"


def test_a_result_above_the_limit_is_refused_before_the_work(sr_batch: Command, tmp_path: Path) -> None:
    _photo(tmp_path / "p" / "a.png", 100, 100)
    code, _, err = sr_batch(tmp_path / "p", "--max-output", "0.1")
    assert (code, "raise it with --max-output" in err) == (1, True)


def test_a_dry_run_says_everything_and_writes_nothing(sr_batch: Command, tmp_path: Path) -> None:
    _photo(tmp_path / "p" / "a.png")
    (tmp_path / "p" / "bad.jpg").write_text("text")
    code, out, _ = sr_batch(tmp_path / "p", "--dry-run")
    assert code == 1
    assert "30x24 -> 120x96" in out
    assert "cannot do" in out and "bad.jpg" in out
    assert not (tmp_path / "p_x4").exists()


def test_a_dry_run_sees_what_a_format_cannot_hold_and_counts_every_frame(sr_batch: Command, tmp_path: Path) -> None:
    frames = [Image.fromarray(random_pixels(100, 200, seed)) for seed in range(5)]
    (tmp_path / "p").mkdir()
    frames[0].save(tmp_path / "p" / "moving.webp", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / "p" / "pages.tif", save_all=True, append_images=frames[1:])
    code, out, _ = sr_batch(tmp_path / "p", "--dry-run", "--format", "jpg")
    assert code == 1
    assert "moving.webp: is an animation of 5 frames, and JPEG holds one picture" in out
    assert "pages.tif: has 5 pages, and JPEG holds one" in out
    for kind in ("png", "avif", "webp"):
        code, out, _ = sr_batch(tmp_path / "p" / "moving.webp", "--dry-run", "--format", kind)
        assert (code, "5 frames, 200x100 -> 800x400" in out) == (0, True)
    code, out, _ = sr_batch(tmp_path / "p", "--dry-run")
    assert code == 0 and "0.2 MP would become 3.2 MP" in out


def test_quiet_says_only_what_failed(sr_batch: Command, tmp_path: Path) -> None:
    _photo(tmp_path / "p" / "a.png")
    assert sr_batch(tmp_path / "p", "-q") == (0, "", "")
    (tmp_path / "p" / "bad.jpg").write_text("text")
    code, out, err = sr_batch(tmp_path / "p", "-q")
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "bad.jpg" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "nowhere does not exist"),
        (["empty"], "no photos or videos found"),
        (["p", "-o", "p"], "is the input folder"),
        (["p", "--engine", "trt"], "use --engine auto"),
        (["p", "--engine", "torch", "--precision", "int8"], "use --engine openvino"),
        (["p", "-g", "banana"], "use auto, cpu"),
        (["p", "-o", "file.txt"], "is a file"),
        (["p", "--preview", "3"], "--preview, --range and --stream are for videos"),
        ([], "no input given"),
    ],
)
def test_bad_usage_is_one_sentence_and_code_2(
    sr_batch: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    _photo(tmp_path / "p" / "a.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").touch()
    (tmp_path / "clip.mp4").touch()
    monkeypatch.chdir(tmp_path)
    before = _tree(tmp_path)
    code, out, err = sr_batch(*arguments)
    assert code == 2
    assert words in err.splitlines()[-1]
    assert len([line for line in err.splitlines() if not line.startswith("note: ")]) == 1
    assert out == ""
    assert _tree(tmp_path) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["p", "-t", "x"],
        ["p", "-j", "1:2"],
        ["p", "--quality", "0"],
        ["p", "--batch", "0"],
        ["p", "--scale", "0"],
        ["p", "--target-size", "big"],
        ["p", "--scale", "2", "--target-size", "long=100"],
    ],
)
def test_values_that_cannot_be_meant_are_code_2(sr_batch: Command, arguments: list[str]) -> None:
    code, _, err = sr_batch(*arguments)
    assert code == 2
    assert "sr-batch: error: argument" in err


@pytest.mark.parametrize(
    ("name", "words"),
    [("srresnt", "did you mean 'srresnet'"), ("broken.safetensors", "truncated, damaged"), ("w.pth", "pickled")],
)
def test_a_model_that_cannot_be_used_is_code_2(sr_batch: Command, tmp_path: Path, name: str, words: str) -> None:
    import torch

    _photo(tmp_path / "a.png")
    (tmp_path / "broken.safetensors").write_bytes(b"12345678")
    torch.save({}, tmp_path / "w.pth")
    model = tmp_path / name if "." in name else name
    code, _, err = sr_batch(tmp_path / "a.png", model=model)
    assert code == 2
    assert words in err


def test_a_folder_full_of_trouble_is_done_as_far_as_it_can_be(sr_batch: Command, tmp_path: Path) -> None:
    """Each bad file is one sentence with its name; all the good ones are done; code 1; nothing half-written."""
    p = tmp_path / "p"
    good = [
        "plain.png",
        "with space.png",
        "ünïcødé 写真.png",
        "new\nline.png",
        "x" * 220 + ".png",
        "[bold].png",
        "dot.one.png",
    ]
    for name in good:
        _photo(p / name)
    _photo(p / "one.png", 1, 1)
    _photo(p / "thin.png", 1, 5000)
    _photo(p / "sub" / "truncated.jpg", 64, 64)
    truncated = (p / "sub" / "truncated.jpg").read_bytes()
    (p / "sub" / "truncated.jpg").write_bytes(truncated[: len(truncated) // 2])
    (p / "text.jpg").write_text("text")
    (p / "empty.png").touch()
    code, _, err = sr_batch(p)
    assert code == 1
    failed = [line for line in err.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 3
    for name in ("truncated.jpg", "text.jpg", "empty.png"):
        assert sum(name in line for line in failed) == 1
    assert _tree(tmp_path / "p_x4") == sorted([*good, "one.png", "thin.png"])
    assert all(_is_complete(tmp_path / "p_x4" / name) for name in _tree(tmp_path / "p_x4"))
    with Image.open(tmp_path / "p_x4" / "thin.png") as image:
        assert image.size == (20000, 4)
    with Image.open(tmp_path / "p_x4" / "one.png") as image:
        assert image.size == (4, 4)


def test_two_photos_with_one_result_are_both_done_and_nothing_is_overwritten(sr_batch: Command, tmp_path: Path) -> None:
    _photo(tmp_path / "p" / "a.jpg", 8, 8)
    _photo(tmp_path / "p" / "a.png", 9, 9)
    code, _, err = sr_batch(tmp_path / "p", "-f", "png")
    assert code == 0
    assert _tree(tmp_path / "p_x4") == ["a.jpg.png", "a.png.png"]
    assert err.count("another file would have the same result") == 2


def test_an_output_folder_inside_the_input_folder_is_not_upscaled_again(sr_batch: Command, tmp_path: Path) -> None:
    _photo(tmp_path / "p" / "a.png")
    for _ in range(2):
        code, _, _ = sr_batch(tmp_path / "p", "-o", tmp_path / "p" / "big")
        assert code == 0
    assert _tree(tmp_path / "p") == ["a.png", "big/a.png"]


def test_a_name_too_long_for_its_result_fails_alone(sr_batch: Command, tmp_path: Path) -> None:
    _photo(tmp_path / "p" / ("x" * 251 + ".png"))
    _photo(tmp_path / "p" / "short.png")
    code, _, err = sr_batch(tmp_path / "p", "--suffix", "_large")
    assert code == 1
    assert "too long" in err.lower()
    assert _tree(tmp_path / "p_x4") == ["short_large.png"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 kB."""
    with disks.small_disk(tmp_path / "disk", 256) as folder:
        yield folder


def test_a_full_disk_is_a_sentence_and_what_fits_is_done(sr_batch: Command, small_disk: Path, tmp_path: Path) -> None:
    for index, side in enumerate((20, 130, 100, 20)):
        noise = np.random.default_rng(index).integers(0, 256, (side, side, 3), dtype=np.uint8)
        path = tmp_path / "p" / f"{index}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(noise).save(path)
    # One file at a time: beside a large one that is about to fail, a small one would find the disk full too.
    code, _, err = sr_batch(tmp_path / "p", "-o", small_disk, "-j", "1:1:1")
    assert code == 1
    assert err.count("no space left") == 2, err
    assert "run the same command again" in err
    assert _tree(small_disk) == ["0.png", "3.png"]
    assert all(_is_complete(small_disk / name) for name in ("0.png", "3.png"))


def test_a_batch_that_cannot_fit_is_refused_before_the_work(
    sr_batch: Command, small_disk: Path, tmp_path: Path
) -> None:
    for index in range(4):
        _photo(tmp_path / "p" / f"{index}.png", 250, 250, index)
    code, _, err = sr_batch(tmp_path / "p", "-o", small_disk)
    assert code == 2
    assert "the results need at least 0.4 MB, and 0." in err
    assert _tree(small_disk) == []
    code, _, err = sr_batch(tmp_path / "p", "-o", small_disk, "--scale", "0.1")
    assert (code, totals(err)["done"]) == (0, "4"), err


@pytest.fixture
def locked_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that this process may not write."""
    folder = tmp_path / "locked"
    if os.geteuid() == 0:
        if not disks.mounted(folder, "ro"):
            pytest.skip("root can write everywhere, and cannot mount here")
        yield folder
        subprocess.run(["umount", str(folder)], check=True)
    else:
        folder.mkdir(mode=0o555)
        yield folder


def test_a_folder_without_permission_is_a_sentence_for_each_photo(
    sr_batch: Command, locked_folder: Path, tmp_path: Path
) -> None:
    _photo(tmp_path / "p" / "a.png")
    _photo(tmp_path / "p" / "sub" / "b.png")
    code, _, err = sr_batch(tmp_path / "p", "-o", locked_folder)
    assert code == 1
    failed = [line for line in err.splitlines() if line.startswith("failed: ")]
    assert len(failed) == 2
    assert all("cannot be" in line for line in failed)


def test_help_needs_nothing_heavy() -> None:
    """How long it takes is in benchmarks/README.md; here: that nothing slow to import is imported."""
    command = "try: main(['--help'])\nfinally: print(*sys.modules, file=sys.stderr)"
    program = f"import sys; from sr_batch.cli import main\n{command}"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert result.returncode == 0
    assert "--halo auto|exact|N" in result.stdout
    heavy = {"torch", "onnx", "onnxruntime", "openvino", "rich", "cv2", "av"}
    assert heavy.isdisjoint(result.stderr.split())


def _start(tiny_checkpoint: Path, *arguments: str | Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "sr_batch.cli", *map(str, arguments), "-n", str(tiny_checkpoint)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _wait_for_the_command(process: subprocess.Popen[str]) -> None:
    """Until it listens to SIGTERM: before, a signal meets Python, not us. Where that cannot be seen, a moment."""
    status = Path(f"/proc/{process.pid}/status")
    if not status.exists():
        time.sleep(1)
    while process.poll() is None and status.exists():
        caught = next((line for line in status.read_text().splitlines() if line.startswith("SigCgt")), "SigCgt: 0")
        if int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1:
            return
        time.sleep(0.005)


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_signal_at_any_moment_leaves_complete_files_and_the_next_run_goes_on(
    number: signal.Signals, code: int, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    for index in range(12):
        _photo(tmp_path / "p" / f"{index:02}.png", 500, 700, index)
    undisturbed = tmp_path / "undisturbed"
    process = _start(tiny_checkpoint, tmp_path / "p", "-o", undisturbed)
    process.communicate(timeout=60)
    assert process.returncode == 0
    interrupted = 0
    out = tmp_path / "p_x4"
    for wait in (0.0, 0.1, 0.7, 1.2, 1.7, 2.2):
        process = _start(tiny_checkpoint, tmp_path / "p")
        _wait_for_the_command(process)
        time.sleep(wait)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode in (code, 0), err
        interrupted += process.returncode == code
        assert "Traceback" not in err
        if code > 0 and process.returncode == code:
            assert "the same command goes on from there" in err
            assert not [name for name in _tree(out) if "partial" in name]
        for name in _tree(out):
            assert "partial" in name or (out / name).read_bytes() == (undisturbed / name).read_bytes()
    assert interrupted >= 2
    process = _start(tiny_checkpoint, tmp_path / "p")
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert _tree(out) == [f"{index:02}.png" for index in range(12)]
    assert all((out / name).read_bytes() == (undisturbed / name).read_bytes() for name in _tree(out))


@pytest.mark.slow
@pytest.mark.usefixtures("shipped")
def test_five_kills_of_the_whole_command_with_the_shipped_model(tmp_path: Path) -> None:
    """Whatever is there afterwards is whole, is what an undisturbed run makes, and is not done again."""
    for index in range(16):
        _photo(tmp_path / "p" / f"{index:02}.png", 48, 40 + index, index)
    command = [sys.executable, "-m", "sr_batch.cli", str(tmp_path / "p"), "--json", "--precision", "fp32"]
    subprocess.run([*command, "-o", str(tmp_path / "undisturbed")], capture_output=True, check=True)
    expected = {name: (tmp_path / "undisturbed" / name).read_bytes() for name in _tree(tmp_path / "undisturbed")}
    random, out, finished = np.random.default_rng(0), tmp_path / "out", 0
    for _ in range(5):
        with subprocess.Popen([*command, "-o", str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None and b'"opened"' in process.stdout.readline()
            time.sleep(random.uniform(0, 0.5))
            process.kill()
        there = {name: (out / name).read_bytes() for name in _tree(out) if "partial" not in name}
        assert all(content == expected[name] for name, content in there.items())
        assert len(there) >= finished
        finished = len(there)
    last = subprocess.run([*command, "-o", str(out)], capture_output=True, check=True).stdout.splitlines()[-1]
    assert json.loads(last)["done"] == 16 - finished
    assert {name: (out / name).read_bytes() for name in _tree(out)} == expected


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_without_a_terminal_a_line_comes_every_few_seconds(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """The interval is cut to nothing by a wrapper, to see the lines without waiting for them."""
    for index in range(3):
        _photo(tmp_path / "p" / f"{index}.png", 300, 300, index)
    program = "from sr_batch import progress, cli; progress.PLAIN_INTERVAL_SECONDS = 0.0; cli.main()"
    command = [sys.executable, "-c", program, str(tmp_path / "p"), "-n", str(tiny_checkpoint)]
    err = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert re.search(r"\d of 3 photos, 0\.\d of 0\.\d MP, \d+\.\d{3} MP/s, about \d+ s left", err)
    assert "\x1b" not in err


@pytest.mark.slow
@pytest.mark.usefixtures("tiny")
def test_on_a_terminal_there_is_a_bar(tiny_checkpoint: Path, tmp_path: Path) -> None:
    pty = pytest.importorskip("pty")
    _photo(tmp_path / "p" / "a.png", 300, 300)
    (tmp_path / "p" / "bad.jpg").write_text("text")
    parent, child = pty.openpty()
    command = [sys.executable, "-m", "sr_batch.cli", str(tmp_path / "p"), "-n", str(tiny_checkpoint)]
    with subprocess.Popen(command, stderr=child, env=os.environ | {"TERM": "xterm", "COLUMNS": "200"}) as process:
        os.close(child)
        shown = b""
        while True:
            try:
                piece = os.read(parent, 4096)
            except OSError:
                break
            if not piece:
                break
            shown += piece
    os.close(parent)
    text = shown.decode()
    assert "2/2 photos" in text
    assert "MP/s" in text
    assert "failed: " in text
    assert process.returncode == 1


def test_a_16_bit_gradient_stays_smooth(sr_batch: Command, tmp_path: Path) -> None:
    """Through the network, in far more levels than 8 bits have, for PNG and TIFF; a float TIFF stays float."""
    y, x = np.mgrid[:60, :80]
    levels = (20000 + 97 * x + 31 * y).astype(np.uint16)
    folder = tmp_path / "deep"
    folder.mkdir()
    assert cv2.imwrite(str(folder / "ramp.png"), np.dstack([levels, levels, levels]))
    tifffile.imwrite(folder / "ramp.tif", np.dstack([levels, levels, levels]), photometric="rgb")
    tifffile.imwrite(folder / "float.tif", (levels / 65535).astype(np.float32))
    code, _, said = sr_batch(folder, "--precision", "fp32")
    assert code == 0, said
    for result in (
        cv2.imread(str(tmp_path / "deep_x4" / "ramp.png"), -1),
        tifffile.imread(tmp_path / "deep_x4" / "ramp.tif"),
    ):
        assert result is not None and result.dtype == np.uint16
        assert len(np.unique(result)) > 4 * 256
    floats = tifffile.imread(tmp_path / "deep_x4" / "float.tif")
    assert floats.dtype == np.float32 and floats.shape == (240, 320)
    assert len(np.unique(floats)) > 4 * 256


def test_floats_above_1_are_refused_with_the_option_that_clips_them(sr_batch: Command, tmp_path: Path) -> None:
    bright = np.linspace(0, 2, 24 * 30, dtype=np.float32).reshape(24, 30)
    tifffile.imwrite(tmp_path / "bright.tif", bright)
    code, _, said = sr_batch(tmp_path / "bright.tif")
    assert code == 1 and "--clip" in said
    code, _, said = sr_batch(tmp_path / "bright.tif", "--clip")
    assert code == 0, said
    result = tifffile.imread(tmp_path / "bright_x4.tif")
    assert result.dtype == np.float32 and result.min() >= 0 and result.max() <= 1
