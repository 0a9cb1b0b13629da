"""--tune: what is fastest is found in bounded time, kept, and used by auto."""

from __future__ import annotations

import io
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from PIL import Image

from sr_batch import tune as tuning
from sr_batch.choices import chosen_settings, chosen_shape
from sr_batch.options import parse_options
from sr_batch.tune import Measured, print_measured, tune
from sr_batch.tuned import Tuned, TuneKey, find_tuned, keep_tuned
from sr_export.derived import cache_folder
from sr_export.engines import EngineName, Pixels, Precision, Watch, choose, open_engine
from sr_export.engines.base import Traits
from sr_export.errors import EngineFailed, EngineUnavailable
from sr_export.model import Prepared
from sr_export.shape import BatchShape
from tests.conftest import random_pixels
from tests.sr_batch.conftest import Command

CPU = Traits(EngineName.OPENVINO, Precision.FP32, "cpu", "1", 4, 40, 12, 256, threads=4)


class Clock:
    """Time passes only where something computes."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


Seconds = Callable[[int, int, int], float]  # of (tile, batch, engines)


class FakeEngine:
    """Takes as long as it is told, by the clock."""

    def __init__(self, traits: Traits, clock: Clock, seconds: Seconds, engines: int = 1) -> None:
        self.traits, self._clock, self._seconds, self._engines = traits, clock, seconds, engines
        self.runs: list[tuple[int, int, int]] = []
        self.closed = False

    def stream(self, batches: Iterable[Pixels], watch: Watch | None = None) -> Generator[Pixels]:  # noqa: ARG002
        for number, batch in enumerate(batches):
            if number % self._engines == 0:  # the others compute at the same time
                self.runs.append((batch.shape[1], batch.shape[0], self._engines))
                self._clock.now += self._seconds(*self.runs[-1])
            yield batch

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Machine:
    """What engines cost on it, and which were opened."""

    def __init__(self, seconds: Seconds, traits: Traits = CPU) -> None:
        self.clock, self.opened, self._seconds, self._traits = Clock(), list[FakeEngine](), seconds, traits
        self.first = self.open_as(1, BatchShape(1, traits.tile, traits.tile))

    def open_as(self, engines: int, shape: BatchShape) -> FakeEngine:
        traits = replace(self._traits, tile=shape.width, device=",".join([self._traits.device] * engines))
        self.opened.append(FakeEngine(traits, self.clock, self._seconds, engines))
        return self.opened[-1]

    def tune(self, halo: int = 12, memory: int | None = None) -> tuple[Tuned, list[list[Measured]]]:
        return tune(self.first, self.open_as, halo, memory, self.clock)


def test_larger_tiles_win_by_their_smaller_halo_until_it_does_not_matter_any_more() -> None:
    best, races = Machine(lambda tile, batch, engines: tile**2 * batch * engines / 1e6).tune(memory=2_000_000_000)
    assert best == Tuned(448)  # 512 is faster by 1 %, and takes more memory; 768 takes too much
    by_tile = {one.tuned.tile: one for one in races[1]}
    assert by_tile[192].speed < by_tile[256].speed < by_tile[512].speed
    assert 768 not in by_tile
    assert by_tile[256].overhead == pytest.approx(1.2, abs=0.02)


def test_the_batch_that_fills_the_engine_is_found() -> None:
    best, _ = Machine(lambda tile, batch, engines: tile**2 * max(batch, 4) * engines / 40e6).tune()
    assert (best.batch, best.engines) == (4, 1)


def test_several_engines_are_taken_where_they_are_faster_and_only_there() -> None:
    """Four threads: one engine on all of them is held up by waiting, two are not; four fight for the memory."""
    slowdown = {1: 1.0, 2: 1.6, 4: 5.0}
    machine = Machine(lambda tile, batch, engines: tile**2 * batch / 1e7 * slowdown[engines])
    best, races = machine.tune()
    assert best.engines == 2
    assert [one.tuned.engines for one in races[0]] == [1, 2, 4]
    assert all(engine.closed for engine in machine.opened[1:])
    even, _ = Machine(lambda tile, batch, engines: tile**2 * batch * engines / 1e7).tune()
    assert even.engines == 1


@pytest.mark.parametrize("pixels_per_second", [1e3, 3e4, 1e6, 1e9])
def test_it_takes_a_bounded_time_on_slow_machines_and_fast_ones(pixels_per_second: float) -> None:
    machine = Machine(lambda tile, batch, engines: tile**2 * batch * engines / pixels_per_second)
    best, _ = machine.tune()
    slowest_single = 192**2 / pixels_per_second
    assert machine.clock.now <= sum(tuning.RACE_SECONDS.values()) + 3 * slowest_single
    assert best.tile >= 128


def test_on_a_machine_too_slow_to_measure_much_the_default_stays() -> None:
    best, _ = Machine(lambda tile, batch, engines: tile**2 * batch * engines / 1e3).tune()
    assert best == Tuned(256)


def test_measurements_take_turns_and_who_is_far_behind_drops_out() -> None:
    machine = Machine(lambda tile, batch, engines: tile**2 * batch * engines / 1e7 * (3 if tile == 192 else 1))
    machine.tune()
    tiles = [tile for tile, batch, _ in machine.first.runs if batch == 1]
    first = [tile for index, tile in enumerate(tiles) if index == 0 or tile != tiles[index - 1]]
    assert first.count(512) >= 3, "not interleaved"
    assert first.count(192) <= 3, "a third of the speed is not measured again and again"


def test_what_the_memory_may_not_hold_is_not_tried() -> None:
    machine = Machine(lambda tile, batch, engines: tile**2 * batch * engines / 1e7)
    machine.tune(memory=360**2 * tuning.BYTES_PER_PIXEL)
    assert max(tile**2 * batch * engines for e in machine.opened for tile, batch, engines in e.runs) < 360**2


def test_a_candidate_that_fails_is_named_and_the_others_go_on() -> None:
    def seconds(tile: int, batch: int, engines: int) -> float:
        if tile > 300:
            raise EngineFailed("out of memory")
        return tile**2 * batch * engines / 1e7

    best, races = Machine(seconds).tune()
    assert best.tile == 256
    assert {one.tuned.tile: one.problem for one in races[1]}[512] == "out of memory"
    with pytest.raises(EngineFailed, match="nothing works"):
        Machine(lambda *_: (_ for _ in ()).throw(EngineFailed("nothing works"))).tune()


def test_engines_of_one_size_are_opened_for_each_and_that_time_is_not_counted() -> None:
    traits = replace(CPU, name=EngineName.TRT, device="cuda:0", threads=0, fixed_tile=True)
    machine = Machine(lambda tile, batch, _engines: tile**2 * (batch + 3) / 1e9, traits)
    slow_to_open = machine.open_as

    def open_as(engines: int, shape: BatchShape) -> FakeEngine:
        machine.clock.now += 300
        return slow_to_open(engines, shape)

    best, races = tune(machine.first, open_as, 12, None, machine.clock)
    assert best.batch == 8
    assert len(races) == 2, "a GPU has one engine"
    assert all({run[:2] for run in e.runs} <= {(e.traits.tile, run[1])} for e in machine.opened for run in e.runs)


def test_the_table_marks_what_is_taken() -> None:
    out = io.StringIO()
    best, races = Machine(lambda tile, batch, engines: tile**2 * batch * engines / 1e6).tune()
    print_measured(best, races, out)
    marked = [line for line in out.getvalue().splitlines() if "◀" in line]
    assert marked and all("768" in line for line in marked)
    assert "MP/s of a photo" in out.getvalue()


@pytest.fixture
def key(tiny: Prepared, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> TuneKey:
    monkeypatch.setenv("SR_TOOLKIT_CACHE", str(tmp_path_factory.mktemp("cache")))
    return TuneKey(tiny.model, CPU, 12)


def test_what_was_found_is_found_again_and_replaced_by_the_next(key: TuneKey) -> None:
    said: list[str] = []
    assert find_tuned(key, said.append) is None
    keep_tuned(key, Tuned(512, 2, 2))
    assert find_tuned(key, said.append) == Tuned(512, 2, 2)
    keep_tuned(key, Tuned(352))
    assert find_tuned(key, said.append) == Tuned(352)
    assert said == []


@pytest.mark.parametrize("change", ["version", "precision", "device", "halo", "model", "threads"])
def test_another_machine_model_or_engine_does_not_get_it(
    key: TuneKey, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_tuned(key, Tuned(512))
    match change:
        case "halo":
            other = replace(key, halo=40)
        case "model":
            other = replace(key, model=replace(key.model, sha256="0"))
        case "threads":
            monkeypatch.setattr("sr_batch.tuned.cpu_threads", lambda: 77)
            other = key
        case "version":
            other = replace(key, traits=replace(CPU, version="2"))
        case "precision":
            other = replace(key, traits=replace(CPU, precision=Precision.BF16))
        case _:
            other = replace(key, traits=replace(CPU, device="cuda:0"))
    assert find_tuned(other, print) is None


@pytest.mark.parametrize("damage", ["truncated", "flipped", "another tool's", "negative", "all halo"])
def test_what_is_damaged_is_ignored_with_a_word(key: TuneKey, damage: str) -> None:
    keep_tuned(key, Tuned(-4) if damage == "negative" else Tuned(20 if damage == "all halo" else 512))
    [path] = cache_folder().glob("*.tuned.json")
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:9])
    elif damage == "flipped":
        path.write_bytes(path.read_bytes().replace(b"512", b"513"))
    elif damage == "another tool's":
        path.write_text("[]")
    said: list[str] = []
    assert find_tuned(key, said.append) is None
    assert len(said) == 1 and "--tune again" in said[0]


def test_auto_takes_what_was_found_and_named_options_win() -> None:
    tuned = Tuned(512, 4, 1)
    auto = chosen_settings(parse_options(["x"]), CPU, 12, tuned)
    assert (auto.tile, auto.batch) == (512, 4)
    named = chosen_settings(parse_options(["x", "--tile", "128", "--batch", "2"]), CPU, 12, tuned)
    assert (named.tile, named.batch) == (128, 2)
    plain = chosen_settings(parse_options(["x"]), CPU, 12)
    assert (plain.tile, plain.batch) == (256, 1)
    assert chosen_shape(parse_options(["x"]), 12, tuned) == BatchShape(4, 512, 512)


@pytest.fixture
def _nothing_stays() -> Iterator[None]:
    """In the cache that all tests share."""
    yield
    for path in cache_folder().glob("*.tuned.json*"):
        path.unlink()


@pytest.mark.usefixtures("_nothing_stays")
def test_the_command_tunes_prints_the_table_and_uses_it_from_then_on(
    sr_batch: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(tuning, "RACE_SECONDS", dict.fromkeys(tuning.RACE_SECONDS, 0.2))
    monkeypatch.setattr(tuning, "SIDES", (64, 96))
    monkeypatch.setattr(tuning, "_winner", lambda *_: Tuned(64))  # whatever the noise
    code, out, err = sr_batch("--tune", "--precision", "fp32")
    assert code == 0 and "tuning tiny on openvino" in err
    assert "MP/s of a photo" in out
    Image.fromarray(random_pixels(70, 70)).save(tmp_path / "photo.png")
    code, out, err = sr_batch(tmp_path / "photo.png", "--precision", "fp32")
    assert code == 0 and "tile 64" in err and out == ""
    code, _, err = sr_batch(tmp_path / "photo.png", "--precision", "fp32", "--tile", "66", "--overwrite")
    assert code == 0 and "tile 66" in err


@pytest.mark.usefixtures("_nothing_stays")
def test_ctrl_c_leaves_nothing_behind_and_the_defaults_in_force(
    sr_batch: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(tuning, "tune", interrupted)
    code, out, _ = sr_batch("--tune")
    assert (code, out) == (130, "")
    assert not list(cache_folder().glob("*tuned*"))


@pytest.mark.parametrize("name", [EngineName.OPENVINO, EngineName.ONNX])
def test_two_engines_on_one_cpu_give_the_pictures_of_one_to_the_bit(name: EngineName, tiny: Prepared) -> None:
    batches = [random_pixels(40 + number, 60, number)[None] for number in range(9)]
    with open_engine(tiny, name, Precision.FP32, "cpu", threads=1) as one:
        expected = [result.copy() for result in one.stream(batches)]
    with open_engine(tiny, name, Precision.FP32, "cpu,cpu", threads=2) as two:
        assert two.traits.device == "cpu,cpu" and two.traits.threads == 2
        results = [result.copy() for result in two.stream(batches)]
    for result, wanted in zip(results, expected, strict=True):
        assert (result == wanted).all()


@pytest.mark.parametrize(
    ("name", "device", "words"),
    [
        (EngineName.OPENVINO, "cpu,cpu,cpu", "do not fit on 2"),
        (EngineName.TORCH, "cpu,cpu", "one pool"),
        (EngineName.OPENVINO, "cpu,0", "not several different GPUs"),
    ],
)
def test_engines_that_cannot_share_the_cpu_are_refused(
    name: EngineName, device: str, words: str, tiny: Prepared
) -> None:
    with pytest.raises(EngineUnavailable, match=words):
        open_engine(tiny, name, Precision.FP32, device, threads=2)


def test_photos_through_two_engines_on_one_cpu_are_those_of_one_to_the_bit(
    sr_batch: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "photos").mkdir()
    for index in range(5):
        Image.fromarray(random_pixels(70 + index, 90, index)).save(tmp_path / "photos" / f"{index}.png")
    for device, threads in (("cpu", 1), ("cpu,cpu", 2)):
        monkeypatch.setattr(choose, "cpu_threads", lambda threads=threads: threads)
        arguments = ("--device", device, "--engine", "onnx", "--precision", "fp32", "--tile", "48")
        code, _, err = sr_batch(tmp_path / "photos", "-o", tmp_path / device, *arguments)
        assert code == 0 and f"on {device} ({threads} thread" in err
    for index in range(5):
        assert (tmp_path / "cpu" / f"{index}.png").read_bytes() == (tmp_path / "cpu,cpu" / f"{index}.png").read_bytes()
