"""What INT8 costs and gains: the frontier from all layers in INT8 to many in float, as markdown tables.

    python benchmarks/int8.py [--model MODEL] [--ranges SIDECAR.json] [--layers N] SET_DIR [SET_DIR ...]

Each SET_DIR holds HR images, read as `sr-train eval` does (PSNR-Y and SSIM-Y against HR, LR by Pillow's bicubic).
The INT8 forms are calibrated on the built-in tiles, or take the ranges of a sidecar that `sr-calib quantize` wrote;
all run in OpenVINO, their float rest in bf16 where the CPU has it.

    layers      each convolution quantised alone, the most harmful first: PSNR to fp32 on the held-out tiles
    frontier    0, 1, 2, 4, 8, ... N of the most harmful layers in float
    dB to fp32  over the middle 96x96 pixels of each image, not shrunk; `shift`: of their channels' means, in levels
    loss        fp32's PSNR-Y (SSIM-Y) minus INT8's, means over a set
    speed       against the fastest float form here that passes the gate: interleaved, medians

Check of the reading: fp32's own figures on Set5 and Set14 are those of the model's card.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import onnx

from calib.gate import Figures, Run, Truth, decide, measure
from calib.int8 import as_prepared, engine_run
from calib.network import load_network
from calib.quantize import Target
from calib.ranges import Method, Ranges, measure_ranges, read_ranges
from calib.samples import built_in_samples
from calib.search import make_form, sensitivities
from calib.speed import seconds_a_tile
from sr_export.engines import Engine, EngineName, Precision, open_engine
from sr_export.model import Prepared, find_model, prepare
from sr_train.errors import SRError
from sr_train.evaluate import least_side, read_test_images
from sr_train.metrics import mean, score
from sr_train.pictures import open_folder

Opener = Callable[[onnx.ModelProto], Engine]


def opener(stack: ExitStack) -> Opener:
    """Opens INT8 graphs in OpenVINO; they are closed with the stack."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))

    def open_form(graph: onnx.ModelProto) -> Engine:
        path = folder / "form.onnx"
        onnx.save(graph, str(path))
        return stack.enter_context(open_engine(as_prepared("form", path), EngineName.OPENVINO, Precision.INT8, "cpu"))

    return open_form


def print_layers(graph: onnx.ModelProto, ranges: Ranges, fp32: Run, scale: int) -> list[str]:
    """The table of layers; their names, the most harmful first."""

    def run_form(form: onnx.ModelProto) -> Run:
        return engine_run(opener(stack)(form))

    with ExitStack() as stack:
        truth = Truth.of(built_in_samples().held_out, scale, fp32)
        found = sensitivities(graph, ranges, Target.CPU, truth, run_form=run_form)
    print("\n| layer alone in INT8 | dB to fp32 | PSNR-Y lost |\n|---|---|---|")
    for one in found:
        print(f"| {one.layer} | {one.psnr_db:.1f} | {one.loss_db:+.4f} |")
    return [one.layer for one in found]


def print_frontier(
    graph: onnx.ModelProto, ranges: Ranges, order: list[str], truths: dict[str, Truth], fastest: Engine, most: int
) -> None:
    """The table of forms with 0, 1, 2, 4, ... layers in float; a row for each set."""
    rival = fastest.traits.precision
    print(f"\n| in float | set | dB to fp32 | PSNR-Y lost | SSIM-Y lost | shift | speed of {rival} | gate |")
    print("|---|---|---|---|---|---|---|---|")
    counts = [0, *(2**power for power in range(10) if 2**power <= min(most, len(order) - 1))]
    tiles = built_in_samples().calibration
    for count in counts:
        form, _ = make_form(graph, ranges, Target.CPU, order[:count], tiles)
        with ExitStack() as stack:
            engine = opener(stack)(form)
            seconds = seconds_a_tile({"float": fastest, "int8": engine})
            for name, truth in truths.items():
                print_row(count, name, measure(truth, engine_run(engine)), seconds["float"] / seconds["int8"])


def print_row(count: int, name: str, found: Figures, speed: float) -> None:
    shift = max(found.shift_levels, key=abs)
    verdict = "use" if decide(found, speed).use else "do not use"
    print(
        f"| {count} | {name} | {found.psnr_db:.1f} | {found.loss_db:.3f} | {found.ssim_loss:.4f} | {shift:+.2f} "
        f"| {speed:.2f}x | {verdict} |",
        flush=True,
    )


def truth_of(folder: Path, scale: int, fp32: Run) -> Truth:
    """A set as the gate takes it; prints fp32's own figures."""
    pictures = open_folder([folder], least_side(scale), threads=2, skip=lambda skipped: print(skipped))
    images = tuple(image.hr for image in read_test_images(pictures, scale))
    truth = Truth.of(images, scale, fp32)
    scores = mean([score(result, image, scale) for result, image in zip(truth.of_small, images, strict=True)])
    print(f"{folder.parent.name}/{folder.name}: {len(images)} images, fp32 {scores}", flush=True)
    return truth


def ranges_of(prepared: Prepared, graph: onnx.ModelProto, sidecar: Path | None) -> Ranges:
    if sidecar is not None:
        return read_ranges(sidecar, prepared.model.sha256)
    samples = built_in_samples()
    data = (samples.source, samples.sha256())
    return measure_ranges(
        graph, samples.calibration, Method.PERCENTILE, prepared.model.sha256, data=data, equalised=False
    )


def run(options: argparse.Namespace) -> None:
    prepared = prepare(find_model(options.model), print)
    graph = load_network(prepared)
    with ExitStack() as stack:
        fp32 = stack.enter_context(open_engine(prepared, EngineName.OPENVINO, Precision.FP32, "cpu"))
        fastest = stack.enter_context(open_engine(prepared, EngineName.OPENVINO, "auto", "cpu"))
        print(f"{prepared.model.name}: INT8 in OpenVINO beside {fastest.traits.describe()}")
        truths = {
            str(path.parent.name): truth_of(path, prepared.facts.scale, engine_run(fp32)) for path in options.sets
        }
        ranges = ranges_of(prepared, graph, options.ranges)
        order = print_layers(graph, ranges, engine_run(fp32), prepared.facts.scale)
        print_frontier(graph, ranges, order, truths, fastest, options.layers)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="INT8: layers kept in float against quality and speed.")
    parser.add_argument("sets", nargs="+", type=Path, metavar="SET_DIR", help="folder of HR images, as Set14/HR")
    parser.add_argument("--model", default="srresnet", help="shipped name or checkpoint (srresnet)")
    parser.add_argument("--ranges", type=Path, metavar="FILE", help="sidecar whose ranges are taken; saves a minute")
    parser.add_argument("--layers", type=int, default=8, metavar="N", help="at most so many layers in float (8)")
    try:
        run(parser.parse_args(arguments))
    except SRError as error:
        sys.exit(f"int8: {error}")


if __name__ == "__main__":
    main()
