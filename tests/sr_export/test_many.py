"""Several engines as one: order kept, all used, errors come out, nothing hangs."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from types import TracebackType
from typing import Self

import numpy as np
import pytest

from sr_export.engines import EngineName, Precision, choose
from sr_export.engines.base import Pixels, Traits, Watch
from sr_export.engines.many import AHEAD, ManyEngines
from sr_export.engines.onnx_engine import OnnxEngine
from sr_export.errors import EngineFailed, EngineUnavailable
from sr_export.gpu import Driver, Gpu
from sr_export.model import Prepared


class FakeEngine:
    """Gives each batch back, after a while, from one buffer of its own; holds `depth` batches as a real one does."""

    def __init__(self, device: str, seconds: float = 0.0, depth: int = 2, fails_at: int | None = None) -> None:
        self.traits = Traits(EngineName.TORCH, Precision.FP32, device, "0", 1, 0, 0, 64, 0)
        self._seconds, self._depth, self._fails_at = seconds, depth, fails_at
        self._buffer = np.zeros((1, 2, 2, 3), dtype=np.uint8)
        self.done = 0
        self.closed = False

    def stream(self, batches: Iterable[Pixels], watch: Watch | None = None) -> Generator[Pixels]:
        held: list[Pixels] = []
        for batch in batches:
            held.append(batch)
            if len(held) == self._depth:
                yield self._finish(held.pop(0))
                if watch is not None:
                    watch("compute", 0.0, self._seconds)
        while held:
            yield self._finish(held.pop(0))

    def _finish(self, batch: Pixels) -> Pixels:
        if self._fails_at == int(batch[0, 0, 0, 0]):
            raise EngineFailed("it broke")
        time.sleep(self._seconds)
        self.done += 1
        self._buffer[:] = batch
        return self._buffer

    def close(self) -> None:
        self.closed = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def numbered(count: int) -> Iterator[Pixels]:
    return (np.full((1, 2, 2, 3), number, dtype=np.uint8) for number in range(count))


def numbers(results: Iterable[Pixels]) -> list[int]:
    return [int(result[0, 0, 0, 0]) for result in results]


@pytest.mark.parametrize("count", [0, 1, 2, 40])
@pytest.mark.parametrize("depth", [1, 2, 5])
def test_results_keep_the_order_of_the_batches(count: int, depth: int) -> None:
    engines = [FakeEngine("a", 0.001, depth), FakeEngine("b", 0.004, depth), FakeEngine("c", 0, depth)]
    with ManyEngines(engines) as many:
        assert numbers(many.stream(numbered(count))) == list(range(count))
    assert sum(engine.done for engine in engines) == count
    assert all(engine.closed for engine in engines)


def test_the_faster_engine_takes_more() -> None:
    slow, fast = FakeEngine("slow", 0.03), FakeEngine("fast", 0.001)
    assert len(numbers(ManyEngines([slow, fast]).stream(numbered(30)))) == 30
    assert fast.done > slow.done > 0


def test_a_watch_is_told_which_engine_did_what() -> None:
    told: list[tuple[str, int]] = []

    def watch(what: str, begun: float, ended: float, lane: int = 0) -> None:
        assert begun <= ended
        told.append((what, lane))

    engines = [FakeEngine("a", 0.002, depth=1), FakeEngine("b", 0.002, depth=1)]
    assert numbers(ManyEngines(engines).stream(numbered(20), watch)) == list(range(20))
    assert [told.count(("compute", lane)) for lane in (0, 1)] == [engine.done for engine in engines]


def test_no_more_batches_are_read_than_the_engines_can_use() -> None:
    read: list[int] = []

    def batches() -> Iterator[Pixels]:
        for number, batch in enumerate(numbered(50)):
            read.append(number)
            yield batch

    results = ManyEngines([FakeEngine("a"), FakeEngine("b")]).stream(batches())
    next(results)
    assert len(read) <= 2 * AHEAD + 1
    results.close()


def test_an_error_in_one_engine_comes_out_and_the_threads_end() -> None:
    many = ManyEngines([FakeEngine("a", fails_at=7), FakeEngine("b", 0.01, fails_at=7)])
    with pytest.raises(EngineFailed, match="it broke"):
        numbers(many.stream(numbered(20)))


def test_an_abandoned_stream_does_not_disturb_the_next() -> None:
    many = ManyEngines([FakeEngine("a", 0.002), FakeEngine("b", 0.001)])
    results = many.stream(numbered(20))
    next(results)
    results.close()
    assert numbers(many.stream(numbered(9))) == list(range(9))


def test_two_real_engines_give_the_pictures_of_one(tiny: Prepared) -> None:
    random = np.random.default_rng(0)
    batches = [random.integers(0, 256, (1, 8 + number, 12, 3), dtype=np.uint8) for number in range(8)]
    with OnnxEngine(tiny, Precision.FP32, 1) as one:
        expected = [result.copy() for result in one.stream(batches)]
    with ManyEngines([OnnxEngine(tiny, Precision.FP32, 1), OnnxEngine(tiny, Precision.FP32, 1)]) as many:
        assert many.traits.device == "cpu,cpu"
        for result, wanted in zip(many.stream(batches), expected, strict=True):
            assert np.array_equal(result, wanted)


@pytest.mark.gpu
def test_one_engine_for_each_gpu_gives_the_pictures_of_one(tiny: Prepared) -> None:
    random = np.random.default_rng(0)
    batches = [random.integers(0, 256, (1, 16, 12, 3), dtype=np.uint8) for _ in range(12)]
    with choose.open_engine(tiny, EngineName.TORCH, Precision.FP32, "cuda:0") as one:
        expected = [result.copy() for result in one.stream(batches)]
    with choose.open_engine(tiny, EngineName.TORCH, Precision.FP32, "all") as every:
        for result, wanted in zip(every.stream(batches), expected, strict=True):
            assert np.abs(result.astype(int) - wanted).max() <= 1  # the cards may be of different kinds


def test_all_means_every_gpu_and_is_refused_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    two = Driver((Gpu(0, "A", "8.9", 1), Gpu(1, "B", "8.9", 1)), "13.0")
    monkeypatch.setattr(choose, "ask_driver", lambda: two)
    assert choose._parse_devices("all") == ["cuda:0", "cuda:1"]
    assert choose._parse_devices("1, cuda:0") == ["cuda:1", "cuda:0"]
    monkeypatch.setattr(choose, "ask_driver", lambda: Driver(problem="there is none"))
    with pytest.raises(EngineUnavailable, match="there is none; use --device cpu"):
        choose._parse_devices("all")


@pytest.mark.parametrize("text", ["0,0", "cpu,0", "auto,1"])
def test_devices_that_are_not_different_gpus_are_refused(text: str) -> None:
    with pytest.raises(EngineUnavailable, match="0,1 or all"):
        choose._parse_devices(text)
