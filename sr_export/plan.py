"""Plans: an ONNX file becomes a file that TensorRT or TensorRT-RTX loads. One code path for both.

    ONNX ──parse──▶ network ──profile, options──▶ build_plan ──▶ plan bytes ──plan_file──▶ cache

Networks are strongly typed: the ONNX file alone says what is half and what is float. The types of the calls are those
of TensorRT-RTX (stubs/), whose Python API is TensorRT 11's; what only full TensorRT needs is in full_tensorrt.py.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from sr_export.derived import derived_file, sha256_of
from sr_export.errors import EngineUnavailable, OutOfDeviceMemory, PlanError
from sr_export.flavour import Flavour, load_flavour
from sr_export.full_tensorrt import TimingCache, tune
from sr_export.gpu import Gpu, ask_driver
from sr_export.shape import BatchShape
from sr_train.atomic_file import atomic_file
from sr_train.errors import UsageError

if TYPE_CHECKING:
    import tensorrt_rtx

__all__ = [
    "PlanOptions",
    "Profile",
    "build_plan",
    "is_out_of_memory",
    "load_network",
    "make_logger",
    "plan_file",
    "plan_recipe",
    "write_plan",
]

PLAN_RECIPE = 1  # raise it when the same recipe must give another plan

OUT_OF_MEMORY = ("out of memory", "outofmemory", "insufficient memory", "cudaerrormemoryallocation")

Progress = Callable[[str, int, int], None]  # phase, steps done, steps in all


@dataclass(frozen=True)
class Profile:
    """The shapes that a plan takes: from `least` to `most`, fastest at `best`."""

    least: BatchShape
    best: BatchShape
    most: BatchShape

    def __post_init__(self) -> None:
        if not (self.best.holds(self.least) and self.most.holds(self.best)):
            raise UsageError(f"profile {self} is not in order; write the least, the best and the largest shape")

    @classmethod
    def fixed(cls, shape: BatchShape) -> Self:
        """One shape only: the fastest kernels."""
        return cls(shape, shape, shape)

    @classmethod
    def up_to(cls, shape: BatchShape) -> Self:
        """Every shape up to this one."""
        return cls(BatchShape(1, 1, 1), shape, shape)

    def __str__(self) -> str:
        return f"{self.least} to {self.most}, best at {self.best}"


@dataclass(frozen=True)
class PlanOptions:
    """How a plan is built."""

    flavour: Flavour
    profile: Profile
    compute_capabilities: tuple[str, ...] = ()  # rtx: "8.9", ...; none: any GPU from 8.0 on. Not for trt
    optimization_level: int = 3  # trt, 0 to 5: how long TensorRT looks for faster kernels; 3 is its default
    workspace_bytes: int = 4 << 30  # trt: device memory that a kernel may use
    portable: bool = False  # trt: any GPU of the same compute capability, not only this model; slower

    def __post_init__(self) -> None:
        if self.flavour is Flavour.TRT and self.compute_capabilities:
            raise UsageError(
                "full TensorRT builds for the GPU of this machine; --compute-capability is for --flavour rtx"
            )


def plan_recipe(onnx_path: Path, options: PlanOptions, version: str, gpu: Gpu | None) -> dict[str, Any]:
    """Everything that a plan depends on. `version`: of TensorRT. `gpu`: that it is built on; not used for rtx.

    Raises EngineUnavailable for full TensorRT without a GPU, on which it has to time its kernels.
    """
    recipe: dict[str, Any] = {
        "recipe": PLAN_RECIPE,
        "flavour": options.flavour.value,
        "version": version,
        "onnx_sha256": sha256_of(onnx_path),
        "profile": str(options.profile),
        "platform": f"{platform.system()} {platform.machine()}",
    }
    if options.flavour is Flavour.RTX:
        return recipe | {"compute_capabilities": ",".join(options.compute_capabilities)}
    if gpu is None:
        raise EngineUnavailable(
            f"full TensorRT times kernels on the GPU that it builds for, and {ask_driver().problem}; "
            "use --flavour rtx, which builds anywhere"
        )
    return recipe | {
        "gpu": "" if options.portable else gpu.name,
        "compute_capability": gpu.compute_capability,
        "optimization_level": options.optimization_level,
        "workspace_bytes": options.workspace_bytes,
        "portable": options.portable,
    }


def plan_file(
    name: str, onnx_path: Path, options: PlanOptions, gpu: Gpu | None = None, progress: Progress | None = None
) -> Path:
    """The cached plan for this ONNX file, TensorRT, GPU and options; built if there is no valid one.

    Raises EngineUnavailable without the package (or, for full TensorRT, without a GPU), PlanError, CacheError.
    """
    version = str(load_flavour(options.flavour).__version__)
    recipe = plan_recipe(onnx_path, options, version, gpu)

    def build(path: Path) -> None:
        cache = None
        if options.flavour is Flavour.TRT and gpu is not None:
            cache = TimingCache(gpu, version)
        path.write_bytes(build_plan(onnx_path, options, progress, cache))

    return derived_file(name, f".{options.flavour}.plan", recipe, build)


def write_plan(
    name: str, onnx_path: Path, options: PlanOptions, target: Path, gpu: Gpu | None, progress: Progress | None
) -> str:
    """Write the plan where the user wants it, with its recipe beside it as TARGET.json; returns TensorRT's version.

    Taken from the cache when it is there. Raises what plan_file raises, and UsageError when it cannot be written.
    """
    cached = plan_file(name, onnx_path, options, gpu, progress)
    sidecar = cached.with_name(cached.name + ".json").read_bytes()
    try:
        with atomic_file(target) as partial:
            partial.write_bytes(cached.read_bytes())
        with atomic_file(target.with_name(target.name + ".json")) as partial:
            partial.write_bytes(sidecar)
    except OSError as error:
        raise UsageError(f"{target} cannot be written ({error.strerror}); choose another place with -o") from error
    return str(json.loads(sidecar)["recipe"]["version"])


def build_plan(
    onnx_path: Path, options: PlanOptions, progress: Progress | None = None, timing: TimingCache | None = None
) -> bytes:
    """The plan itself. `progress` is told of TensorRT's phases; what it raises stops the build and comes out here.

    Raises PlanError with the node's name and TensorRT's own sentence, EngineUnavailable when TensorRT does not start,
    OutOfDeviceMemory when the GPU that it times kernels on is too small.
    """
    if TYPE_CHECKING:
        import tensorrt_rtx as trt
    else:
        trt = load_flavour(options.flavour)
    parsed = load_network(onnx_path, options.flavour)
    config = parsed.builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    config.clear_flag(trt.BuilderFlag.TF32)  # fp32 means fp32
    _add_profile(parsed, config, options.profile)
    monitor = _monitor(options.flavour, progress) if progress is not None else None
    if monitor is not None:
        config.progress_monitor = monitor
    if options.flavour is Flavour.RTX:
        _set_compute_capabilities(config, options.compute_capabilities)
    else:
        tune(trt, config, options.optimization_level, options.workspace_bytes, options.portable, timing)
    plan = parsed.builder.build_serialized_network(parsed.network, config)
    if monitor is not None and monitor.stopped_by is not None:
        raise monitor.stopped_by
    if plan is None and is_out_of_memory(parsed.last_words()):
        raise OutOfDeviceMemory(parsed.last_words())
    if plan is None:
        raise PlanError(f"TensorRT cannot build {onnx_path.name} ({parsed.last_words()})")
    if timing is not None:
        timing.save(config)
    return bytes(plan)


@dataclass(frozen=True)
class Parsed:
    """A network, and what must stay referenced while it is used: TensorRT crashes otherwise."""

    builder: tensorrt_rtx.Builder
    network: tensorrt_rtx.INetworkDefinition
    parser: tensorrt_rtx.OnnxParser
    logger: tensorrt_rtx.ILogger
    errors: list[str]  # what TensorRT has logged as an error so far

    def last_words(self) -> str:
        return "; ".join(self.errors[-2:]) or "it gives no reason"


def is_out_of_memory(words: str) -> bool:
    """Whether TensorRT's words say that the GPU's memory did not suffice."""
    return any(sign in words.lower() for sign in OUT_OF_MEMORY)


def load_network(onnx_path: Path, flavour: Flavour) -> Parsed:
    """Parse the ONNX file into a strongly typed network. Raises PlanError, naming the node; EngineUnavailable."""
    if TYPE_CHECKING:
        import tensorrt_rtx as trt
    else:
        trt = load_flavour(flavour)
    errors: list[str] = []
    logger = make_logger(flavour, errors)
    try:
        builder = trt.Builder(logger)
    except TypeError as error:  # "factory function returned nullptr": full TensorRT without a GPU
        raise EngineUnavailable(f"TensorRT does not start here ({'; '.join(errors) or error})") from error
    # TensorRT 10 needs the flag, in 11 and RTX there is nothing else.
    strongly = trt.NetworkDefinitionCreationFlag.__members__.get("STRONGLY_TYPED")
    network = builder.create_network(1 << int(strongly) if strongly is not None else 0)
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx_path)):
        raise PlanError(f"TensorRT rejects {onnx_path.name} {_first_error(parser, errors)}")
    return Parsed(builder, network, parser, logger, errors)


def make_logger(flavour: Flavour, errors: list[str]) -> tensorrt_rtx.ILogger:
    """A TensorRT logger that keeps errors and drops the rest: they come as exceptions, with a sentence around them."""
    if TYPE_CHECKING:
        import tensorrt_rtx as trt
    else:
        trt = load_flavour(flavour)

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)  # pybind11 asks for the explicit call

        def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
            if severity <= trt.ILogger.ERROR:
                errors.append(msg.strip())

    return Logger()


def _first_error(parser: tensorrt_rtx.OnnxParser, errors: list[str]) -> str:
    if not parser.num_errors:
        return f"({'; '.join(errors) or 'it gives no reason'})"
    error = parser.get_error(0)
    where = f"at node {error.node_name()} ({error.node_operator()}) " if error.node_name() else ""
    lines = [line.strip() for line in error.desc().splitlines() if line.strip()]
    return f"{where}({' '.join(lines[:2])})"


def _add_profile(parsed: Parsed, config: tensorrt_rtx.IBuilderConfig, profile: Profile) -> None:
    entry = parsed.network.get_input(0)
    shapes = parsed.builder.create_optimization_profile()
    least, best, most = (_dims(shape.nhwc()) for shape in (profile.least, profile.best, profile.most))
    try:
        shapes.set_shape(entry.name, least, best, most)
        accepted = config.add_optimization_profile(shapes) >= 0
    except ValueError as error:
        raise PlanError(f"TensorRT rejects the shapes {profile} ({error})") from error
    if not accepted:
        raise PlanError(f"TensorRT rejects the shapes {profile} ({parsed.last_words()})")


def _dims(shape: tuple[int, ...]) -> Any:
    return shape  # the binding turns tuples into Dims; its docstring, and so the stub, does not say so


def _set_compute_capabilities(config: tensorrt_rtx.IBuilderConfig, wanted: tuple[str, ...]) -> None:
    """Ask for code for these GPUs ("8.9", ...). Raises EngineUnavailable for one that TensorRT-RTX does not know."""
    if TYPE_CHECKING:
        import tensorrt_rtx as trt
    else:
        trt = load_flavour(Flavour.RTX)
    known = {name: value for name, value in trt.ComputeCapability.__members__.items() if name.startswith("SM")}
    config.num_compute_capabilities = len(wanted)
    for index, capability in enumerate(wanted):
        target = known.get("SM" + capability.replace(".", ""))
        if target is None:
            names = ", ".join(f"{name[2:-1]}.{name[-1]}" for name in sorted(known, key=lambda n: int(n[2:])))
            raise EngineUnavailable(
                f"TensorRT-RTX has no code for compute capability {capability} (it has {names}); use --engine trt"
            )
        config.set_compute_capability(target, index)


def _monitor(flavour: Flavour, progress: Progress) -> Any:
    """A TensorRT progress monitor. Nothing may be raised into TensorRT, so it remembers and stops the build."""
    if TYPE_CHECKING:
        import tensorrt_rtx as trt
    else:
        trt = load_flavour(flavour)

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.stopped_by: BaseException | None = None
            self._steps: dict[str, int] = {}

        def phase_start(self, phase_name: str, _parent_phase: str, num_steps: Any) -> None:
            self._steps[phase_name] = int(num_steps)
            self._tell(phase_name, 0)

        def step_complete(self, phase_name: str, step: Any) -> bool:
            self._tell(phase_name, int(step) + 1)
            return self.stopped_by is None

        def phase_finish(self, phase_name: str) -> None:
            self._steps.pop(phase_name, None)

        def _tell(self, phase: str, done: int) -> None:
            try:
                progress(phase, done, self._steps.get(phase, 0))
            except BaseException as error:  # Ctrl-C too
                self.stopped_by = error

    return Monitor()
