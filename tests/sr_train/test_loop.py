"""A whole stage: what it writes, exact resume, interruption, guards."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sr_train import loop, steps
from sr_train.atomic_file import is_partial
from sr_train.checkpoint import load_checkpoint
from sr_train.config import DiscriminatorKind, Optimizer, TrainConfig
from sr_train.errors import Diverged, Interrupted, OutOfMemory, ResumeError, SaveFailed, TrainingError
from sr_train.evaluate import Figures, upscaler
from sr_train.losses import VggLayer, load_vgg
from sr_train.parallel import Group
from sr_train.record import read_metrics
from sr_train.runs import RunPaths, prepare, run_stage, stage_one_result
from sr_train.state import load_state
from sr_train.steps import Numerics
from sr_train.training import SRGAN, SRRESNET, new_training
from tests.sr_train.conftest import with_steps

CPU = torch.device("cpu")


class Listener:
    """A watcher that keeps what it is told, and can do something at a step."""

    def __init__(self, at: int = -1, act: object = None) -> None:
        self.lines: list[str] = []
        self.rows: list[Mapping[str, float]] = []
        self._at, self._act = at, act

    def say(self, line: str) -> None:
        self.lines.append(line)

    def started(self, stage: str, step: int, steps: int) -> None:
        self.lines.append(f"{stage} {step} of {steps}")

    def stepped(self, step: int) -> None:
        if step == self._at and callable(self._act):
            self._act()

    def logged(self, row: Mapping[str, float]) -> None:
        self.rows.append(row)

    def validated(self, step: int, figures: Figures) -> None:
        self.lines.append(f"{step}: {figures.psnr_y:.2f}")


def _run(
    config: TrainConfig, photos: Path, run: Path, vgg: Path | None, stage: str, listener: Listener | None = None
) -> Listener:
    listener = listener or Listener()
    prepared = prepare(config, RunPaths([photos], run, vgg=vgg), [stage], CPU, Group(), listener)
    init = stage_one_result(run) if stage == SRGAN else None
    run_stage(prepared, stage, init)
    return listener


def _same(first: Path, second: Path) -> None:
    """Two states hold equal values to the last bit."""
    a, b = load_state(first), load_state(second)
    names = ("generator", "discriminator", "average", "generator_optimizer", "discriminator_optimizer", "random")
    for name in names:
        if name in a or name in b:
            torch.testing.assert_close(a[name], b[name], rtol=0, atol=0)
    assert a["step"] == b["step"] and a["best"] == b["best"]


def test_both_stages_write_what_the_docs_say(tiny: TrainConfig, photos: Path, tmp_path: Path, vgg_file: Path) -> None:
    run = tmp_path / "run"
    config = replace(tiny, watch=replace(tiny.watch, save_every=1, validate_every=0))
    _run(config, photos, run, None, SRRESNET)
    listener = _run(config, photos, run, vgg_file, SRGAN)
    for stage in (SRRESNET, SRGAN):
        names = {path.name for path in (run / stage).iterdir()}
        assert names == {
            *("state.pt", "last.safetensors", "best_psnr.safetensors", "metrics.csv", "validation.jsonl"),
            *(f"epoch_000{e}.safetensors" for e in (1, 2, 3, 4)),
        }
        generator, info = load_checkpoint(run / stage / "last.safetensors")
        assert info.stage == stage and info.step == 4 and generator.config.channels == 8
    assert len(list((run / "g_image_init").glob("step_*.png"))) == 4
    assert len(list((run / "g_image").glob("step_*.png"))) == 5  # the start too
    assert {"mse_loss", "vgg_loss", "g_gan_loss", "d_loss"} <= listener.rows[0].keys()
    assert 0 <= listener.rows[0]["wait_share"] < 1
    assert [row["step"] for row in read_metrics(run / SRGAN / "metrics.csv")] == [1, 2, 3, 4]


@pytest.mark.parametrize("stage", [SRRESNET, SRGAN])
@pytest.mark.parametrize("stop_at", [1, 3])
def test_resumed_run_equals_the_one_that_was_not_interrupted(
    tiny: TrainConfig, photos: Path, tmp_path: Path, vgg_file: Path, stage: str, stop_at: int
) -> None:
    """Bit for bit, on one CPU thread; a state is saved at the interruption, in the middle of an epoch or not."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for run in (whole, broken):
        if stage == SRGAN:
            _run(with_steps(tiny, 1), photos, run, None, SRRESNET)
    _run(tiny, photos, whole, vgg_file, stage)
    with pytest.raises(Interrupted):
        stop = Listener(stop_at, lambda: os.kill(os.getpid(), signal.SIGTERM))
        _run(tiny, photos, broken, vgg_file, stage, stop)
    assert load_state(broken / stage / "state.pt")["step"] == stop_at
    torch.manual_seed(1234)  # a new process knows nothing of the old one's random state
    listener = _run(tiny, photos, broken, vgg_file, stage)
    assert any("going on" in line for line in listener.lines)
    _same(whole / stage / "state.pt", broken / stage / "state.pt")
    shipped = [load_checkpoint(run / stage / "last.safetensors")[0].state_dict() for run in (whole, broken)]
    torch.testing.assert_close(shipped[0], shipped[1], rtol=0, atol=0)
    steps = [[row["step"] for row in read_metrics(run / stage / "metrics.csv")] for run in (whole, broken)]
    assert steps[0] == steps[1]


def test_resume_restores_the_scaler_of_fp16(tiny: TrainConfig, photos: Path, tmp_path: Path, vgg_file: Path) -> None:
    from sr_train.config import Precision

    config = replace(tiny, machine=replace(tiny.machine, precision=Precision.FP16, channels_last=True))
    for run in (tmp_path / "whole", tmp_path / "broken"):
        _run(with_steps(config, 1), photos, run, None, SRRESNET)
    _run(config, photos, tmp_path / "whole", vgg_file, SRGAN)
    with pytest.raises(Interrupted):
        _run(config, photos, tmp_path / "broken", vgg_file, SRGAN, Listener(2, _send_interrupt))
    assert load_state(tmp_path / "broken/srgan/state.pt")["generator_scaler"]["_growth_tracker"] >= 0
    _run(config, photos, tmp_path / "broken", vgg_file, SRGAN)
    _same(tmp_path / "whole/srgan/state.pt", tmp_path / "broken/srgan/state.pt")


def test_resume_restores_muon(tiny: TrainConfig, photos: Path, tmp_path: Path) -> None:
    config = replace(tiny, resnet=replace(tiny.resnet, optimizer=Optimizer.MUON))
    _run(config, photos, tmp_path / "whole", None, SRRESNET)
    with pytest.raises(Interrupted):
        _run(config, photos, tmp_path / "broken", None, SRRESNET, Listener(2, _send_interrupt))
    _run(config, photos, tmp_path / "broken", None, SRRESNET)
    _same(tmp_path / "whole/srresnet/state.pt", tmp_path / "broken/srresnet/state.pt")


def _send_interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_ctrl_c_saves_first(tiny: TrainConfig, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted) as stopped:
        _run(tiny, photos, tmp_path / "run", None, SRRESNET, Listener(3, _send_interrupt))
    assert stopped.value.signal_number == signal.SIGINT
    assert load_state(tmp_path / "run/srresnet/state.pt")["step"] == 3


def test_average_is_what_is_shipped(tiny: TrainConfig, photos: Path, tmp_path: Path) -> None:
    _run(tiny, photos, tmp_path / "run", None, SRRESNET)
    shipped = load_checkpoint(tmp_path / "run/srresnet/last.safetensors")[0].state_dict()
    state = load_state(tmp_path / "run/srresnet/state.pt")
    torch.testing.assert_close(dict(shipped), dict(state["average"]), rtol=0, atol=0)
    assert not torch.equal(state["average"]["tail.weight"], state["generator"]["tail.weight"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: replace(c, model=replace(c.model, blocks=2)), r"model\.blocks was 1, now 2"),
        (lambda c: replace(c, resnet=replace(c.resnet, learning_rate=1.0)), r"resnet\.learning_rate was 0\.001"),
    ],
)
def test_resume_with_another_recipe_is_refused(
    tiny: TrainConfig, photos: Path, tmp_path: Path, change: object, message: str
) -> None:
    _run(tiny, photos, tmp_path / "run", None, SRRESNET)
    assert callable(change)
    with pytest.raises(ResumeError, match=message):
        _run(change(tiny), photos, tmp_path / "run", None, SRRESNET)


def test_resume_with_other_pictures_is_refused(tiny: TrainConfig, photos: Path, tmp_path: Path) -> None:
    _run(tiny, photos, tmp_path / "run", None, SRRESNET)
    (photos / "2.png").unlink()
    with pytest.raises(ResumeError, match="other pictures"):
        _run(tiny, photos, tmp_path / "run", None, SRRESNET)


def test_resume_may_log_more_often(tiny: TrainConfig, photos: Path, tmp_path: Path) -> None:
    _run(tiny, photos, tmp_path / "run", None, SRRESNET)
    before = (tmp_path / "run/srresnet/last.safetensors").read_bytes()
    _run(replace(tiny, watch=replace(tiny.watch, log_every=2)), photos, tmp_path / "run", None, SRRESNET)
    assert (tmp_path / "run/srresnet/last.safetensors").read_bytes() == before  # it was complete


def test_damaged_state_is_an_error(tiny: TrainConfig, photos: Path, tmp_path: Path) -> None:
    _run(tiny, photos, tmp_path / "run", None, SRRESNET)
    state = tmp_path / "run/srresnet/state.pt"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(ResumeError, match="damaged"):
        _run(tiny, photos, tmp_path / "run", None, SRRESNET)


def test_nan_stops_the_run_and_the_saved_state_stays_good(
    tiny: TrainConfig, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run(with_steps(tiny, 4), photos, tmp_path / "good", None, SRRESNET)
    real = steps.resnet_step

    def broken_step(*arguments: object) -> Mapping[str, torch.Tensor]:
        losses = real(*arguments)  # type: ignore[arg-type]
        return {name: value * float("nan") for name, value in losses.items()}

    listener = Listener(2, lambda: monkeypatch.setattr(loop, "resnet_step", broken_step))
    with pytest.raises(Diverged, match="mse_loss"):
        _run(tiny, photos, tmp_path / "run", None, SRRESNET, listener)
    assert load_state(tmp_path / "run/srresnet/state.pt")["step"] == 2


@pytest.mark.parametrize("kind", DiscriminatorKind)
def test_discriminator_may_learn_alone_at_first(
    tiny: TrainConfig, photos: Path, tmp_path: Path, vgg_file: Path, kind: DiscriminatorKind
) -> None:
    config = replace(tiny, ema=0.0, model=replace(tiny.model, discriminator=kind))
    run = tmp_path / "run"
    _run(config, photos, run, None, SRRESNET)
    start, _ = load_checkpoint(stage_one_result(run))
    learnt = []
    for steps_ in (2, 3):
        gan = replace(tiny.gan, head_start=2, steps=steps_, frozen_statistics=True)
        _run(replace(config, gan=gan), photos, run, vgg_file, SRGAN)
        state = load_state(run / "srgan/state.pt")
        learnt.append({name for name, value in start.state_dict().items() if not value.equal(state["generator"][name])})
        shutil.rmtree(run / "srgan")
    assert not learnt[0] and learnt[1]
    fresh = new_training(config, SRGAN, Numerics(), start, load_vgg(VggLayer.VGG22, vgg_file))
    assert fresh.discriminator
    network = fresh.discriminator.network.state_dict()
    assert any(not value.equal(state["discriminator"][name]) for name, value in network.items())


def test_discriminator_has_a_learning_rate_of_its_own(
    tiny: TrainConfig, photos: Path, tmp_path: Path, vgg_file: Path
) -> None:
    config = replace(tiny, gan=replace(tiny.gan, discriminator_rate=3.0))
    _run(config, photos, tmp_path / "run", None, SRRESNET)
    _run(config, photos, tmp_path / "run", vgg_file, SRGAN)
    state = load_state(tmp_path / "run/srgan/state.pt")
    rates = [state[f"{name}_optimizer"]["param_groups"][0]["lr"] for name in ("generator", "discriminator")]
    assert rates == pytest.approx([1e-3, 3e-3])


def test_collapsed_discriminator_is_reported_once_with_advice(
    tiny: TrainConfig, photos: Path, tmp_path: Path, vgg_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = steps.gan_step

    def saturated(*arguments: object) -> Mapping[str, torch.Tensor]:
        losses = real(*arguments)  # type: ignore[arg-type]
        return {**losses, "d_real": torch.tensor(0.9999), "d_fake": torch.tensor(0.00001)}

    monkeypatch.setattr(loop, "gan_step", saturated)
    config = replace(tiny, watch=replace(tiny.watch, saturated_steps=2))
    _run(config, photos, tmp_path / "run", None, SRRESNET)
    listener = _run(config, photos, tmp_path / "run", vgg_file, SRGAN)
    warnings = [line for line in listener.lines if line.startswith("warning")]
    assert len(warnings) == 1 and "gan.learning_rate" in warnings[0] and "2 steps" in warnings[0]


def test_out_of_memory_says_what_to_change(
    tiny: TrainConfig, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(loop, "resnet_step", full)
    with pytest.raises(OutOfMemory, match=r"resnet\.accumulate=2"):
        _run(tiny, photos, tmp_path / "run", None, SRRESNET)


def test_full_disk_keeps_the_checkpoint_before(
    tiny: TrainConfig, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"

    def no_space(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(bytes(data[: len(data) // 2]))
        raise OSError(28, "No space left on device")

    def fill_disk() -> None:
        monkeypatch.setattr(Path, "write_bytes", no_space)

    with pytest.raises(SaveFailed, match="No space left on device"):
        _run(tiny, photos, run, None, SRRESNET, Listener(3, fill_disk))
    monkeypatch.undo()
    assert load_state(run / "srresnet/state.pt")["step"] == 2
    load_checkpoint(run / "srresnet/last.safetensors")
    assert not [path for path in run.rglob("*") if is_partial(path.name)]
    _run(tiny, photos, run, None, SRRESNET)
    assert load_state(run / "srresnet/state.pt")["step"] == 4


def test_trained_checkpoint_is_what_the_deployed_graph_takes(tiny: TrainConfig, photos: Path, tmp_path: Path) -> None:
    """Straight from training to export: the same picture, to a grey level of rounding."""
    deploy = pytest.importorskip("sr_export.deploy").deploy
    _run(tiny, photos, tmp_path / "run", None, SRRESNET)
    generator, _ = load_checkpoint(tmp_path / "run/srresnet/best_psnr.safetensors")
    lr = torch.randint(0, 256, (1, 12, 10, 3), dtype=torch.uint8)
    with torch.inference_mode():
        expected = upscaler(generator, CPU)(lr[0].numpy())
        difference = deploy(generator)(lr)[0].int() - torch.from_numpy(expected).int()
    assert difference.abs().max() <= 1


@pytest.mark.slow
def test_compiled_networks_train_to_the_same_weights(tiny: TrainConfig, photos: Path, tmp_path: Path) -> None:
    """To rounding; the names in the checkpoint stay the network's own."""
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("no C++ compiler")
    compiled = replace(tiny, machine=replace(tiny.machine, compile=True))
    for name, config in (("plain", tiny), ("compiled", compiled)):
        _run(with_steps(config, 2), photos, tmp_path / name, None, SRRESNET)
    paths = [tmp_path / name / "srresnet/last.safetensors" for name in ("plain", "compiled")]
    weights = [load_checkpoint(path)[0].state_dict() for path in paths]
    torch.testing.assert_close(weights[0], weights[1], atol=1e-3, rtol=1e-3)


def test_failing_compiler_is_told_with_what_to_do(
    tiny: TrainConfig, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class InvalidCxxCompiler(RuntimeError):
        """As torch._inductor.exc has one."""

    InvalidCxxCompiler.__module__ = "torch._inductor.exc"

    def no_compiler(*_: object) -> None:
        raise InvalidCxxCompiler("No working C++ compiler found")

    monkeypatch.setattr(loop, "resnet_step", no_compiler)
    with pytest.raises(TrainingError, match=r"machine\.compile=false"):
        _run(tiny, photos, tmp_path / "run", None, SRRESNET)
