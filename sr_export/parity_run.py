"""Every form of a model that this machine can run, on the same photos, against torch in float32.

photos ──crops──▶ reference (torch fp32) ┐
              └──▶ each form ────────────┴──compare──▶ Measured: error, speed, gate
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sr_export.engines import Engine, EngineName, Pixels, Precision, Watch, open_engine
from sr_export.engines.base import Traits
from sr_export.errors import EngineUnavailable
from sr_export.halo import probe_crops
from sr_export.machine import cpu_threads
from sr_export.model import ModelKind, Prepared
from sr_export.parity import Difference, compare
from sr_export.shape import BatchShape
from sr_train.errors import SRError, UsageError

__all__ = ["Form", "Measured", "Parity", "find_forms", "load_images", "measure_parity"]

CROP_SIDE = 128  # LR pixels: the middle of each photo is used
SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
FP32_LEVELS = 1  # an fp32 form may round a value on the edge between two levels either way
MIN_SECONDS = 1.0  # of timing for each form, after a first pass that does not count


@dataclass(frozen=True)
class Form:
    """One way to run the model."""

    name: str  # "openvino bf16"
    precision: Precision
    open: Callable[[], Engine]  # raises SRError when this machine cannot


@dataclass(frozen=True)
class Measured:
    """How one form did. Where it could not run, `problem` says why and the figures are None."""

    name: str
    device: str = ""
    difference: Difference | None = None  # to the reference, over all images
    tiles_per_second: float | None = None
    ratio: float | None = None  # of its speed to the reference's
    passed: bool | None = None  # the gate for its precision
    worst_image: int | None = None  # index of the image with the largest error
    problem: str = ""


@dataclass(frozen=True)
class Parity:
    """A whole comparison. `results` and `reference_results`: uint8 pictures by form and image, for the heat maps."""

    model: str
    reference: str
    images: tuple[str, ...]
    measured: tuple[Measured, ...]
    reference_results: tuple[NDArray[np.uint8], ...]
    results: dict[str, tuple[NDArray[np.uint8], ...]]

    def passed(self) -> bool:
        """Whether every form that ran is within its gate."""
        return all(form.passed is not False for form in self.measured)


class EmulatedFp16:
    """fp16 as a GPU would compute it, in torch on the CPU (sr_export.fp16): an Engine, slow, for its pictures only."""

    def __init__(self, prepared: Prepared) -> None:
        from sr_export.deploy import deploy
        from sr_export.fp16 import emulate_fp16
        from sr_train.checkpoint import load_checkpoint

        generator, _ = load_checkpoint(prepared.model.path)
        self._module = emulate_fp16(deploy(generator))
        facts = prepared.facts
        self.traits = Traits(
            EngineName.TORCH, Precision.FP16, "cpu, emulated", "", facts.scale, facts.halo, facts.halo_measured,
            CROP_SIDE, cpu_threads(),
        )  # fmt: skip

    def stream(self, batches: Iterable[Pixels], watch: Watch | None = None) -> Generator[Pixels]:  # noqa: ARG002 - slow anyway
        import torch

        for batch in batches:
            with torch.inference_mode():
                result: Pixels = self._module(torch.from_numpy(np.require(batch, requirements=("C", "W")))).numpy()
            yield result

    def close(self) -> None:
        del self._module

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def find_forms(prepared: Prepared, engines: Sequence[EngineName] | None = None) -> list[Form]:
    """All forms to try, the reference (torch fp32; ONNX Runtime fp32 for an ONNX model) first. None: every engine."""
    checkpoint = prepared.model.kind is ModelKind.CHECKPOINT
    shape = BatchShape(1, CROP_SIDE, CROP_SIDE)

    def form(name: EngineName, precision: Precision, device: str) -> Form:
        label = (
            f"{name} {precision}{' cuda' if device == 'cuda' and name in (EngineName.TORCH, EngineName.ONNX) else ''}"
        )
        return Form(label, precision, lambda: open_engine(prepared, name, precision, device, shape=shape))

    torch_fp32 = form(EngineName.TORCH, Precision.FP32, "cpu")
    onnx_fp32 = form(EngineName.ONNX, Precision.FP32, "cpu")
    wanted = [
        (EngineName.OPENVINO, Precision.FP32, "cpu"),
        (EngineName.OPENVINO, Precision.BF16, "cpu"),
        (EngineName.TORCH, Precision.FP16, "cuda"),
        (EngineName.ONNX, Precision.FP32, "cuda"),
        (EngineName.ONNX, Precision.FP16, "cuda"),
        (EngineName.RTX, Precision.FP16, "cuda"),
        (EngineName.TRT, Precision.FP32, "cuda"),
        (EngineName.TRT, Precision.FP16, "cuda"),
    ]
    chosen = [entry for entry in wanted if engines is None or entry[0] in engines]
    forms = [torch_fp32] if checkpoint else [onnx_fp32]
    if checkpoint and (engines is None or EngineName.ONNX in engines):
        forms.append(onnx_fp32)
    if checkpoint and (engines is None or EngineName.TORCH in engines):
        forms.append(Form("fp16 emulated", Precision.FP16, lambda: EmulatedFp16(prepared)))
    return forms + [form(*entry) for entry in chosen]


def load_images(folder: Path | None) -> tuple[tuple[str, ...], tuple[Pixels, ...]]:
    """Names and uint8 [1, h, w, 3] crops of the middle of each photo in the folder, or the probe crops without one.

    Raises UsageError for a folder without photos.
    """
    if folder is None:
        crops = probe_crops()
        return tuple(f"probe {index}" for index in range(len(crops))), tuple(crop[None] for crop in crops)
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES) if folder.is_dir() else []
    if not paths:
        raise UsageError(f"there are no photos in {folder}; give a folder of {', '.join(sorted(SUFFIXES))}")
    try:
        images = tuple(_middle(np.asarray(Image.open(path).convert("RGB"))) for path in paths)
    except OSError as error:
        raise UsageError(f"a photo in {folder} cannot be read ({error})") from error
    return tuple(path.name for path in paths), images


def measure_parity(
    model: str, forms: Sequence[Form], images: tuple[tuple[str, ...], tuple[Pixels, ...]],
    say: Callable[[str], None] = lambda _: None,
) -> Parity:  # fmt: skip
    """Run every form on the images. The first one is the reference; a form that cannot run is listed with the reason.

    Raises SRError when the reference itself fails.
    """
    names, crops = images
    say(f"running {forms[0].name}")
    expected, speed, device = _run(forms[0], crops)
    measured = [Measured(forms[0].name, device, tiles_per_second=speed, ratio=1.0)]
    results: dict[str, tuple[NDArray[np.uint8], ...]] = {}
    for form in forms[1:]:
        say(f"running {form.name}")
        try:
            pictures, form_speed, device = _run(form, crops)
        except SRError as error:
            measured.append(Measured(form.name, problem=str(error)))
            continue
        results[form.name] = pictures
        each = [compare(picture, wanted) for picture, wanted in zip(pictures, expected, strict=True)]
        difference = compare(_flat(pictures), _flat(expected))
        worst = max(range(len(each)), key=lambda index: (each[index].max_levels, -each[index].psnr_db))
        passed = difference.max_levels <= FP32_LEVELS if form.precision is Precision.FP32 else difference.passes_gate()
        measured.append(Measured(form.name, device, difference, form_speed, form_speed / speed, passed, worst))
    return Parity(model, forms[0].name, names, tuple(measured), expected, results)


def _run(form: Form, crops: Sequence[Pixels]) -> tuple[tuple[NDArray[np.uint8], ...], float, str]:
    """(pictures, tiles a second, device) of one form."""
    with form.open() as engine:
        pictures = tuple(result.astype(np.uint8) for result in engine.stream(crops))
        if len(pictures) != len(crops):
            raise EngineUnavailable(f"{form.name} gave {len(pictures)} pictures for {len(crops)}; please report this")
        tiles, begun = 0, time.perf_counter()
        while (seconds := time.perf_counter() - begun) < MIN_SECONDS:
            tiles += sum(1 for _ in engine.stream(crops))
        return pictures, tiles / seconds, engine.traits.device


def _flat(pictures: Sequence[Pixels]) -> NDArray[np.uint8]:
    return np.concatenate([picture.reshape(-1) for picture in pictures])


def _middle(image: Pixels) -> Pixels:
    """uint8 [1, h, w, 3] of at most CROP_SIDE pixels a side."""
    top, left = (max(0, (side - CROP_SIDE) // 2) for side in image.shape[:2])
    return np.ascontiguousarray(image[None, top : top + CROP_SIDE, left : left + CROP_SIDE])
