"""TensorRT and TensorRT-RTX. Written from documentation: what needs a GPU here has never run.

The engine has one plan of one fixed tile shape, with the fastest kernels, for all full windows, and a second plan
that takes every shape up to it, built when a smaller window first comes: from an image that is smaller than a tile.
`traits.fixed_tile` asks sr_batch to cut larger images into windows of exactly this size, so that the second plan is
rare. Nothing is padded but the number of images in a batch (slots.py says why).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from sr_export.engines.base import EngineName, Pixels, Precision, Traits, Watch
from sr_export.engines.cuda_device import CudaDevice
from sr_export.engines.slots import SlotRunner
from sr_export.errors import EngineFailed, EngineUnavailable, OutOfDeviceMemory
from sr_export.export import fp16_onnx
from sr_export.flavour import Flavour, load_flavour, refuse_without_gpu
from sr_export.gpu import Gpu, ask_driver
from sr_export.model import Prepared
from sr_export.plan import PlanOptions, Profile, is_out_of_memory, make_logger, plan_file
from sr_export.shape import BatchShape
from sr_train.atomic_file import atomic_file

if TYPE_CHECKING:
    import tensorrt_rtx

__all__ = ["DEFAULT_SHAPE", "PlanRefused", "TensorRtEngine", "open_at_a_size_that_fits"]

DEFAULT_SHAPE = BatchShape(1, 256, 256)  # not measured: there was no GPU
SMALLER_SIDES = (512, 384, 256, 192, 128, 96, 64)  # LR pixels: tried in turn when a tile does not fit
IN_FLIGHT = 2  # slots: one uploads or downloads while the other computes

Say = Callable[[str], None]
Opened = TypeVar("Opened")


class PlanRefused(EngineFailed):
    """A plan from the cache does not load on this machine: it is of another version, driver or GPU, or damaged."""


class TensorRtEngine:
    """See sr_export.engines.base.Engine. Batches and windows up to the shape in `shape`; larger ones are refused."""

    def __init__(
        self,
        prepared: Prepared,
        flavour: Flavour,
        precision: Precision,
        index: int = 0,  # of the GPU
        shape: BatchShape = DEFAULT_SHAPE,
        say: Say = lambda _: None,
    ) -> None:
        """Build or find the plan, load it, and take the memory. The driver is asked before TensorRT is touched.

        Raises EngineUnavailable without a GPU, its package or for a precision that it has not, PlanError,
        Fp16Unsafe, OutOfDeviceMemory when not even the smallest tile fits.
        """
        refuse_without_gpu(flavour)
        if precision not in (Precision.FP16, Precision.FP32, Precision.INT8):
            raise EngineUnavailable(f"engine {flavour} has no {precision}; use --precision fp16, fp32 or int8")
        gpu = _pick(flavour, index)
        onnx_path = fp16_onnx(prepared, say) if precision is Precision.FP16 else prepared.onnx_path

        def load(profile: Profile) -> _LoadedPlan:
            return _LoadedPlan(prepared, onnx_path, flavour, profile, gpu, say)

        self._load = load
        self._dynamic: _LoadedPlan | None = None
        self._fixed, self.shape = open_at_a_size_that_fits(lambda fits: load(Profile.fixed(fits)), shape, say)
        facts = prepared.facts
        version = str(load_flavour(flavour).__version__)
        self.traits = Traits(
            EngineName(flavour.value), precision, f"cuda:{index}", version, facts.scale, facts.halo,
            facts.halo_measured, min(self.shape.height, self.shape.width), 0, fixed_tile=True,
        )  # fmt: skip

    def stream(self, batches: Iterable[Pixels], watch: Watch | None = None) -> Generator[Pixels]:
        side = (self.shape.height, self.shape.width)
        for is_full, group in groupby(batches, key=lambda batch: batch.shape[1:3] == side):
            yield from (self._fixed if is_full else self._for_smaller()).runner.stream(group, watch)

    def stream_tensors(self, batches: Iterable[Tensor]) -> Generator[Tensor]:
        """See sr_export.engines.base.StreamsTensors."""
        side = (self.shape.height, self.shape.width)
        for is_full, group in groupby(batches, key=lambda batch: tuple(batch.shape[1:3]) == side):
            yield from (self._fixed if is_full else self._for_smaller()).runner.stream_tensors(group)

    @property
    def runner(self) -> SlotRunner:
        """What runs full windows, for measurements."""
        return self._fixed.runner

    @property
    def plan_path(self) -> Path:
        """The cached plan of full windows."""
        return self._fixed.path

    def close(self) -> None:
        for plan in (self._fixed, self._dynamic):
            if plan is not None:
                plan.close()
        self._dynamic = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _for_smaller(self) -> _LoadedPlan:
        if self._dynamic is None:
            self._dynamic = self._load(Profile.up_to(self.shape))
        return self._dynamic


def open_at_a_size_that_fits(
    attempt: Callable[[BatchShape], Opened], shape: BatchShape, say: Say
) -> tuple[Opened, BatchShape]:
    """What `attempt` gives for the shape, or for the largest smaller tile that fits into the GPU's memory, and which.

    Raises OutOfDeviceMemory when the smallest does not fit either.
    """
    while True:
        try:
            return attempt(shape), shape
        except OutOfDeviceMemory as error:
            side = max((s for s in SMALLER_SIDES if s < max(shape.height, shape.width)), default=None)
            if side is None:
                raise
            smaller = BatchShape(shape.count, min(side, shape.height), min(side, shape.width))
            say(f"{shape} does not fit into the GPU's memory ({error}); trying {smaller}")
            shape = smaller


def _pick(flavour: Flavour, index: int) -> Gpu:
    gpus = ask_driver().gpus
    if index >= len(gpus):
        raise EngineUnavailable(f"there is no GPU {index} here ({len(gpus)} in all); use --device cuda:0")
    if not torch.cuda.is_available():
        raise EngineUnavailable(
            f"engine {flavour} takes its GPU memory through PyTorch, and this PyTorch is built without CUDA; "
            "reinstall torch from PyTorch's CUDA index, or use --engine auto"
        )
    return gpus[index]


class _LoadedPlan:
    """A plan in GPU memory with its contexts and the runner on them. What it keeps must outlive the contexts."""

    def __init__(
        self, prepared: Prepared, onnx_path: Path, flavour: Flavour, profile: Profile, gpu: Gpu, say: Say
    ) -> None:
        capabilities = (gpu.compute_capability,) if flavour is Flavour.RTX else ()
        options = PlanOptions(flavour, profile, capabilities)
        self._flavour = flavour
        with torch.cuda.device(gpu.index):
            try:
                self._path = self._find(prepared.model.name, onnx_path, options, gpu, say)
                self._load()
            except PlanRefused as error:
                say(f"{error}; building it again")
                self._path.unlink(missing_ok=True)
                self._path = self._find(prepared.model.name, onnx_path, options, gpu, say)
                self._load()
            names = (self._engine.get_tensor_name(0), self._engine.get_tensor_name(1))
            contexts = [self._make_context() for _ in range(IN_FLIGHT)]
            # TensorRT-RTX captures graphs itself, so that it can swap in kernels that it compiles meanwhile.
            graphs = flavour is Flavour.TRT
            device, scale = CudaDevice(gpu.index), prepared.facts.scale
            dtype = np.float32 if prepared.facts.door == "deep" else np.uint8
            self.runner = SlotRunner(contexts, device, names, profile.most, scale, graphs, dtype)

    @property
    def path(self) -> Path:
        return self._path

    def close(self) -> None:
        self._save_runtime_cache()
        del self.runner, self._config, self._engine, self._runtime

    @staticmethod
    def _find(name: str, onnx_path: Path, options: PlanOptions, gpu: Gpu, say: Say) -> Path:
        told: set[str] = set()

        def progress(phase: str, _done: int, _steps: int) -> None:
            if not told:
                told.add(phase)
                say(f"building the {options.flavour} plan for {options.profile} (first use; kept for the next run)")

        return plan_file(name, onnx_path, options, gpu, progress)

    def _load(self) -> None:
        if TYPE_CHECKING:
            import tensorrt_rtx as trt
        else:
            trt = load_flavour(self._flavour)
        self._errors: list[str] = []
        self._logger = make_logger(self._flavour, self._errors)
        self._runtime = trt.Runtime(self._logger)
        plan = self._path.read_bytes()
        if self._flavour is Flavour.RTX:  # reads the header only
            validity, why = self._runtime.get_engine_validity(plan)
            if validity == trt.EngineValidity.INVALID:
                raise PlanRefused(f"the cached plan does not fit this machine (diagnostics {why})")
        engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise self._failure(PlanRefused, "the cached plan does not load")
        self._engine = engine
        self._config = self._runtime_config(trt.CudaGraphStrategy) if self._flavour is Flavour.RTX else None

    def _runtime_config(self, strategies: type[tensorrt_rtx.CudaGraphStrategy]) -> tensorrt_rtx.IRuntimeConfig:
        """TensorRT-RTX: its own graphs, and what it compiled for this GPU in earlier runs."""
        config = self._engine.create_runtime_config()
        config.cuda_graph_strategy = strategies.WHOLE_GRAPH_CAPTURE
        self._runtime_cache = config.create_runtime_cache()
        if self._runtime_cache_path().is_file():
            # It checks version, GPU and driver itself, and stays empty if they differ.
            self._runtime_cache.deserialize(self._runtime_cache_path().read_bytes())
        config.set_runtime_cache(self._runtime_cache)
        return config

    def _make_context(self) -> tensorrt_rtx.IExecutionContext:
        engine = self._engine
        context = engine.create_execution_context(self._config) if self._config else engine.create_execution_context()
        if context is None:
            raise self._failure(EngineFailed, "TensorRT makes no execution context")
        return context

    def _failure(self, kind: type[EngineFailed], what: str) -> EngineFailed:
        words = "; ".join(self._errors[-2:]) or "it gives no reason"
        if is_out_of_memory(words):
            return OutOfDeviceMemory(f"{words}; use a smaller --tile or --batch")
        return kind(f"{what} ({words})")

    def _runtime_cache_path(self) -> Path:
        return self._path.with_suffix(".jit")

    def _save_runtime_cache(self) -> None:
        if self._config is not None:
            with atomic_file(self._runtime_cache_path()) as partial:
                partial.write_bytes(bytes(self._runtime_cache.serialize()))
