"""The slots' order of work, buffers and graphs, against a fake device and context. This tests our Python only.

The context computes on raw pointers with ONNX Runtime, as TensorRT does with its own kernels. The fake streams do
nothing until they are waited for, so a result that is read, or a buffer that is reused, too early shows. What CUDA and
TensorRT really do is not tested here.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from sr_export.deploy import deploy
from sr_export.engines.base import Pixels
from sr_export.engines.slots import SlotRunner
from sr_export.errors import EngineFailed
from sr_export.onnx_file import OnnxFacts, export_onnx
from sr_export.shape import BatchShape
from sr_train.generator import GeneratorConfig, random_generator

SCALE = 2
MOST = BatchShape(2, 20, 24)


class FakeMark:
    """Knows when the stream came to it."""

    def __init__(self) -> None:
        self.at: float | None = None

    def come(self) -> None:
        self.at = time.perf_counter()

    def seconds_after(self, earlier: FakeMark) -> float:
        assert self.at is not None and earlier.at is not None, "asked before the stream was waited for"
        return self.at - earlier.at


class LazyStream:
    """Work is queued, and done when somebody waits."""

    streams: dict[int, LazyStream] = {}  # noqa: RUF012 - by handle, as a driver has them

    def __init__(self) -> None:
        self.handle = len(self.streams) + 1
        self.streams[self.handle] = self
        self.queue: list[Callable[[], object]] = []
        self.captured = 0
        self.replayed = 0
        self._recording: list[Callable[[], object]] | None = None

    def add(self, work: Callable[[], object]) -> None:
        (self.queue if self._recording is None else self._recording).append(work)

    def copy(self, source: torch.Tensor, target: torch.Tensor) -> None:
        assert source.shape == target.shape
        self.add(lambda: target.copy_(source))

    def run(self, launch: Callable[[], None]) -> None:
        launch()

    def capture(self, launch: Callable[[], None]) -> Callable[[], None]:
        assert not self.queue, "captured while work was queued"
        self.captured += 1
        recorded: list[Callable[[], object]] = []
        self._recording = recorded
        launch()
        self._recording = None

        def replay() -> None:
            self.replayed += 1
            self.queue.extend(recorded)

        return replay

    def follow(self) -> None:
        self.followed = len(self.queue)

    def mark(self) -> FakeMark:
        mark = FakeMark()
        self.add(mark.come)
        return mark

    def synchronize(self) -> None:
        queue, self.queue = self.queue, []
        for work in queue:
            work()


class FakeDevice:
    def host_buffer(self, size: int) -> torch.Tensor:
        return torch.zeros(size, dtype=torch.uint8)

    def device_buffer(self, size: int) -> torch.Tensor:
        return torch.full((size,), 77, dtype=torch.uint8)  # stale images must not matter

    def stream(self) -> LazyStream:
        return LazyStream()


class FakeContext:
    """Runs an ONNX session on the addresses it was given, when its stream comes to it."""

    def __init__(self, session: onnxruntime.InferenceSession, scale: int = SCALE, most: BatchShape = MOST) -> None:
        self._session, self._scale, self._most = session, scale, most
        self._addresses: dict[str, int] = {}
        self._shape: tuple[int, ...] = ()
        self.enqueued: list[tuple[int, ...]] = []
        self.accepts = True

    def set_input_shape(self, _name: str, shape: tuple[int, ...]) -> bool:
        self._shape = shape
        return shape[1] <= self._most.height and shape[2] <= self._most.width

    def set_tensor_address(self, name: str, memory: int) -> bool:
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        shape = self._shape
        self.enqueued.append(shape)
        LazyStream.streams[stream_handle].add(lambda: self._compute(shape))
        return self.accepts

    def _compute(self, shape: tuple[int, ...]) -> None:
        n, h, w, _ = shape
        result = self._session.run(None, {"input": self._at("input", shape).copy()})[0]
        self._at("output", (n, h * self._scale, w * self._scale, 3))[...] = result

    def _at(self, name: str, shape: tuple[int, ...]) -> Pixels:
        kind = ctypes.c_uint8 if "uint8" in self._session.get_inputs()[0].type else ctypes.c_float
        memory = (kind * int(np.prod(shape))).from_address(self._addresses[name])
        pixels: Pixels = np.ctypeslib.as_array(memory).reshape(shape)
        return pixels


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> onnxruntime.InferenceSession:
    path = tmp_path_factory.mktemp("onnx") / "tiny.onnx"
    deployed = deploy(random_generator(GeneratorConfig(channels=4, blocks=1, scale=SCALE), seed=5))
    export_onnx(deployed, path, OnnxFacts(SCALE, None, None, "pixel", "fp32", ""))
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def pixels(*shapes: tuple[int, int, int]) -> list[Pixels]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (*shape, 3), dtype=np.uint8) for shape in shapes]


def check(runner: SlotRunner, session: onnxruntime.InferenceSession, batches: Sequence[Pixels]) -> None:
    """Every result, looked at when it comes, is ONNX Runtime's for that batch alone, in order."""
    results = runner.stream(iter(batches))
    for batch, result in zip(batches, results, strict=True):
        expected = session.run(None, {"input": batch})[0]
        assert result.shape == expected.shape
        assert np.array_equal(result, expected)


def make(
    session: onnxruntime.InferenceSession, depth: int = 2, graphs: bool = True
) -> tuple[SlotRunner, list[FakeContext]]:
    contexts = [FakeContext(session) for _ in range(depth)]
    return SlotRunner(contexts, FakeDevice(), ("input", "output"), MOST, SCALE, graphs), contexts


def test_floats_of_the_deep_door_flow_as_pixels_do(tmp_path: Path) -> None:
    deployed = deploy(random_generator(GeneratorConfig(channels=4, blocks=1, scale=SCALE), seed=5))
    export_onnx(deployed, tmp_path / "deep.onnx", OnnxFacts(SCALE, None, None, "deep", "fp32", ""))
    deep = onnxruntime.InferenceSession(str(tmp_path / "deep.onnx"), providers=["CPUExecutionProvider"])
    contexts = [FakeContext(deep) for _ in range(2)]
    runner = SlotRunner(contexts, FakeDevice(), ("input", "output"), MOST, SCALE, dtype=np.float32)
    check(runner, deep, [batch / np.float32(255) for batch in pixels((2, 20, 24), (1, 8, 24), (2, 20, 24))])


@pytest.mark.parametrize("graphs", [True, False])
def test_what_lies_on_the_device_flows_without_the_hosts_memory(
    session: onnxruntime.InferenceSession, graphs: bool
) -> None:
    runner, _ = make(session, 2, graphs)
    for slot in runner._slots:
        del slot.host_in, slot.host_out
    whole = pixels((2, 20, 24), (2, 20, 24), (1, 20, 24), (2, 8, 24), (2, 20, 24))
    windows = [torch.from_numpy(batch)[:, :, 3:20] for batch in whole]  # cut out of a picture: not contiguous
    for window, result in zip(windows, runner.stream_tensors(iter(windows)), strict=True):
        expected = session.run(None, {"input": window.contiguous().numpy()})[0]
        assert np.array_equal(result.numpy(), expected)


@pytest.mark.parametrize("depth", [1, 2, 3])
@pytest.mark.parametrize("graphs", [True, False])
def test_results_come_in_order_and_are_each_batchs_own(
    session: onnxruntime.InferenceSession, depth: int, graphs: bool
) -> None:
    runner, _ = make(session, depth, graphs)
    check(runner, session, pixels(*[(2, 20, 24)] * 7))


def test_a_partial_batch_runs_in_the_full_shape_and_gives_only_its_own_images(
    session: onnxruntime.InferenceSession,
) -> None:
    runner, contexts = make(session)
    check(runner, session, pixels((2, 20, 24), (2, 20, 24), (1, 20, 24)))
    assert {shape for context in contexts for shape in context.enqueued} == {(2, 20, 24, 3)}


def test_smaller_windows_run_in_their_own_height_and_width(session: onnxruntime.InferenceSession) -> None:
    runner, contexts = make(session)
    check(runner, session, pixels((2, 20, 24), (1, 8, 24), (2, 1, 1), (2, 20, 24), (1, 8, 24), (1, 8, 24), (1, 8, 24)))
    assert (2, 8, 24, 3) in {shape for context in contexts for shape in context.enqueued}


def test_a_graph_is_captured_after_a_plain_enqueue_and_replayed_from_then_on(
    session: onnxruntime.InferenceSession,
) -> None:
    LazyStream.streams.clear()
    runner, contexts = make(session, depth=1)
    check(runner, session, pixels(*[(2, 20, 24)] * 5))
    (stream,) = LazyStream.streams.values()
    assert (len(contexts[0].enqueued), stream.captured, stream.replayed) == (2, 1, 4)  # once plainly, once recorded


def test_a_new_shape_drops_the_graph_of_the_old_one(session: onnxruntime.InferenceSession) -> None:
    LazyStream.streams.clear()
    runner, _ = make(session, depth=1)
    check(runner, session, pixels(*[(2, 20, 24)] * 3, *[(2, 8, 8)] * 3, *[(2, 20, 24)] * 3))
    (stream,) = LazyStream.streams.values()
    assert stream.captured == 3


def test_a_watch_is_told_the_three_steps_of_each_batch_by_the_devices_clock(
    session: onnxruntime.InferenceSession,
) -> None:
    told: list[tuple[str, float, float]] = []

    def watch(what: str, begun: float, ended: float, lane: int = 0) -> None:
        assert lane == 0
        told.append((what, begun, ended))

    before = time.perf_counter()
    assert len(list(make(session)[0].stream(pixels(*[(2, 20, 24)] * 5), watch))) == 5
    assert [what for what, _, _ in told] == ["upload", "compute", "download"] * 5
    for (_, begun, ended), (_, following, _) in pairwise(told):
        assert before <= begun <= ended  # no end: the two clocks are set a moment apart, on a busy machine a long one
        assert following == pytest.approx(ended) or following > ended


def test_as_many_batches_are_in_flight_as_there_are_slots(session: onnxruntime.InferenceSession) -> None:
    taken: list[int] = []

    def batches() -> Iterator[Pixels]:
        for number, batch in enumerate(pixels(*[(1, 20, 24)] * 6)):
            taken.append(number)
            yield batch

    results = make(session, depth=3)[0].stream(batches())
    next(results)
    assert taken == [0, 1, 2]
    next(results)
    assert taken == [0, 1, 2, 3]
    results.close()


def test_an_abandoned_stream_leaves_nothing_running_and_the_next_one_is_right(
    session: onnxruntime.InferenceSession,
) -> None:
    LazyStream.streams.clear()
    runner, _ = make(session)
    results = runner.stream(iter(pixels(*[(2, 20, 24)] * 4)))
    next(results)
    results.close()
    assert all(not stream.queue for stream in LazyStream.streams.values())
    check(runner, session, pixels(*[(1, 8, 24)] * 4))


@pytest.mark.parametrize("shape", [(3, 20, 24), (1, 21, 24), (1, 20, 25)])
def test_a_batch_beyond_the_plan_is_refused(session: onnxruntime.InferenceSession, shape: tuple[int, int, int]) -> None:
    with pytest.raises(EngineFailed, match=r"larger than this engine's 2x20x24"):
        list(make(session)[0].stream(iter(pixels(shape))))


def test_a_refused_launch_is_an_error_and_no_old_picture(session: onnxruntime.InferenceSession) -> None:
    runner, contexts = make(session)
    contexts[1].accepts = False
    results = runner.stream(iter(pixels(*[(2, 20, 24)] * 3)))
    with pytest.raises(EngineFailed, match="refuses to run"):
        list(results)


def test_a_strided_read_only_view_is_taken_as_it_is(session: onnxruntime.InferenceSession) -> None:
    (picture,) = pixels((1, 20, 24))
    picture.flags.writeable = False
    view = picture[:, ::-1, 2:20]
    (result,) = make(session)[0].stream(iter([view]))
    assert np.array_equal(result, session.run(None, {"input": np.ascontiguousarray(view)})[0])
