"""What the command line of `sr-batch` says, as one frozen value. Nothing heavy is imported: `--help` is quick.

A new option is a field of Options, with its unit, and an `add` in the group where people will look for it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from importlib.metadata import version
from pathlib import Path

from sr_batch.sizes import Limit, parse_limit

__all__ = ["Options", "options_record", "parse_options"]

ENGINES = ("auto", "torch", "onnx", "openvino", "trt", "rtx")
PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")
CODECS = ("copy-of-input", "h264", "hevc", "av1", "vp9", "prores", "ffv1")
HARDWARE = ("none", "auto", "nvenc", "qsv", "videotoolbox", "amf", "nvdec-nvenc")
FORMATS = ("same", "png", "jpg", "webp", "tiff", "avif")


@dataclass(frozen=True)
class Options:
    """The command line, checked value by value. Defaults are where `parse_options` adds them, beside their help."""

    inputs: list[Path]
    more_inputs: list[Path]  # of -i
    files_from: str | None  # a list's name; "-": standard input
    output: Path | None
    suffix: str | None
    on_collision: str
    overwrite: bool
    retry_failed: bool
    dry_run: bool

    scale: float | None  # None: the model's
    target_size: Limit | None  # not together with scale
    skip_larger_than: Limit | None
    max_pixels: float  # megapixels of a photo
    max_output: float  # megapixels of a result

    format: str
    quality: int  # 1 to 100
    png_level: str
    alpha: str
    icc: str
    clip: bool
    strip: bool
    mtime: bool  # keep the modification time

    model: str
    strength: float | None  # 0 to 1: between strength_base and the model
    strength_base: str | None
    engine: str
    precision: str
    device: str
    tile: int  # LR pixels; 0: auto
    halo: str | int  # "auto", "exact", or LR pixels
    batch: int  # tiles; 0: auto
    tune: bool
    compile: bool
    jobs: tuple[int, int]  # decoding and encoding threads
    cluster: str | None  # address of a Ray cluster

    stream: int | None  # which of a video's video streams, from 0
    range: tuple[Fraction | None, Fraction | None]  # seconds from a video's first frame: start, end
    preview: int  # frames; 0: the whole video
    on_bad_frame: str
    deinterlace: str
    codec: str
    crf: float | None
    preset: str | None
    pix_fmt: str | None
    hw: str

    report: list[Path]  # .json or .html
    profile: Path | None  # .json
    json: bool
    quiet: bool
    verbose: bool


def options_record(options: Options) -> dict[str, object]:
    """The options by their names, for JSON: what is neither number, text nor list is written as it is typed."""

    def plain(value: object) -> object:
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)

    return {name: plain(value) for name, value in vars(options).items()}


def parse_options(arguments: Sequence[str] | None = None) -> Options:
    """The options of this command line (None: the process's own). Bad usage and --help end the process, as argparse
    has it: code 2 and 0."""
    return Options(**vars(_parser().parse_args(arguments)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sr-batch",
        description="Upscale photos with a super-resolution network: single files, or folders with all that is in "
        "them. Results of a folder 'photos' go to 'photos_x4' beside it. What is there already is not done again.",
        epilog="exit codes: 0 all done, 1 some photos failed, 2 usage or engine not available, 130 interrupted, "
        "143 terminated",
    )
    parser.add_argument("--version", action="version", version=f"sr-toolkit {version('sr-toolkit')}")
    _add_files(parser.add_argument_group("files"))
    _add_sizes(parser.add_argument_group("sizes"))
    _add_results(parser.add_argument_group("results"))
    _add_engine(parser.add_argument_group("model and engine"))
    _add_videos(parser.add_argument_group("videos"))
    _add_messages(parser.add_argument_group("messages"))
    return parser


def _add_files(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("inputs", nargs="*", type=Path, metavar="INPUT", help="photos, folders, patterns like 'p/**/*.jpg'")
    add("-i", "--input", dest="more_inputs", action="append", default=[], type=Path, metavar="INPUT", help="one more")
    add("--files-from", metavar="LIST", help="a file of paths, one a line or NUL-separated; - for standard input")
    add("-o", "--output", type=Path, help="folder for the results; for a single photo also a file")
    add("--suffix", help="added to each result's name (_x4 beside a single photo, else nothing)")
    add("--on-collision", choices=("rename", "skip", "fail"), default="rename",
        help="files with one result (a.jpg, a.png): name it a.jpg.png, do the first, or none (rename)")  # fmt: skip
    add("--overwrite", action="store_true", help="do again what is there already")
    add("--retry-failed", action="store_true", help="try photos again that an earlier run could not read")
    add("--dry-run", action="store_true", help="say what would be done, and do nothing")


def _add_sizes(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    size = group.add_mutually_exclusive_group()
    size.add_argument(
        "-s", "--scale", type=_factor, metavar="N", help="enlarge this many times: 4, 3, 2, 1.5 (the model's)"
    )
    size.add_argument(
        "--target-size", type=_limit, metavar="WxH|long=N|mp=N",
        help="enlarge to what fits into W x H pixels, to a longest side of N, or to N megapixels",
    )  # fmt: skip
    add("--skip-larger-than", type=_limit, metavar="WxH|long=N|mp=N", help="leave photos alone that are larger already")
    add("--max-pixels", type=_megapixels, default=500.0, metavar="MP", help="refuse larger photos undecoded (500)")
    add("--max-output", type=_megapixels, default=8000.0, metavar="MP", help="refuse to make larger results (8000)")


def _add_results(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("-f", "--format", choices=FORMATS, default="same", help="of the results (same as each photo)")
    add("--quality", type=_quality, default=95, metavar="N", help="of JPEG, WebP and AVIF, 1 to 100 (95)")
    add("--png-level", choices=("fast", "small"), default="fast", help="small: smaller PNGs, ten times slower (fast)")
    add("--alpha", choices=("lanczos", "model"), default="lanczos", help="what enlarges transparency (lanczos)")
    add("--clip", action="store_true", help="float photos: clip values outside 0 to 1 instead of refusing the photo")
    add("--icc", choices=("keep", "srgb"), default="keep", help="keep each colour profile, or convert to sRGB (keep)")
    add("--strip", action="store_true", help="leave out all metadata (date, place, camera, text)")
    add("--no-mtime", dest="mtime", action="store_false", help="results are dated now, not like their photos")


def _add_engine(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("-n", "--model", default="photo", help="shipped model, .safetensors checkpoint or .onnx file (photo)")
    add("--strength", type=float, metavar="0..1", help="how much of stage 2: between srresnet (0) and photo or -n (1)")
    add("--strength-base", metavar="MODEL", help="the model at strength 0, of the same layout (srresnet)")
    add("--engine", choices=ENGINES, default="auto", help="what computes (auto: the best that is here)")
    add("--precision", choices=PRECISIONS, default="auto", help="auto: the fastest that gives fp32's pictures")
    add("-g", "--device", "--devices", default="auto", metavar="DEVICE",
        help="auto, cpu (-1), mps, cuda, cuda:N, N; several GPUs as 0,1 or all; cpu,cpu: two engines")  # fmt: skip
    add(
        "-t", "--tile", type=_tile, default=0, metavar="auto|N", help="longest side of a tile, halo included, in pixels"
    )
    add("--halo", type=_halo, default="auto", metavar="auto|exact|N", help="auto: errors stay below half a grey level")
    add("--batch", type=_batch, default=0, metavar="auto|N", help="tiles in one engine call (auto)")
    add("--tune", action="store_true", help="measure for a minute what runs fastest here, and keep it for auto")
    add("--compile", action="store_true", help="engine torch: torch.compile it (slow start; needs a C++ compiler)")
    add("-j", "--jobs", type=_jobs, default=(1, 2), metavar="N|LOAD:PROC:SAVE", help="threads that decode and encode")
    add(
        "--cluster",
        metavar="ADDRESS",
        help="photos on all machines of a Ray cluster: auto or host:port (docs)",
    )


def _add_videos(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--codec", choices=CODECS, default="copy-of-input", help="of the results (as the input, if it can hold them)")
    add("--crf", type=_not_negative, metavar="N", help="quality in the encoder's measure, lower is better")
    add("--preset", help="the encoder's own: x264's veryslow, SVT-AV1's 6, ProRes's profile hq")
    add("--pix-fmt", metavar="NAME", help="FFmpeg's name of a pixel format (as the input's)")
    add("--hw", choices=HARDWARE, default="none",
        help="hardware encoder; auto: what is here; nvdec-nvenc: frames stay on the GPU (none)")  # fmt: skip
    add("--stream", type=_whole, metavar="N", help="which video stream of a file with several, from 0 (the first)")
    add("--range", type=_range, default=(None, None), metavar="START-END",
        help="only this piece: seconds or H:MM:SS from the first frame, one of them may be left out")  # fmt: skip
    add("--preview", type=_positive, default=0, metavar="N", help="instead: N frames as pictures, before and after")
    add("--deinterlace", choices=("auto", "refuse"), default="auto", help="interlaced videos: made whole, or not done")
    add("--on-bad-frame", choices=("repeat", "fail"), default="repeat",
        help="a frame that cannot be decoded: show the one before, or give up (repeat)")  # fmt: skip


def _add_messages(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--report", type=Path, action="append", default=[], metavar="FILE",
        help="FILE.html: a page with before and after; FILE.json: for programs; may be given twice")  # fmt: skip
    add("--profile", type=Path, metavar="FILE.json",
        help="where the time goes, for ui.perfetto.dev, and what set the pace")  # fmt: skip
    add("--json", action="store_true", help="print events as JSON lines on stdout")
    talk = group.add_mutually_exclusive_group()
    talk.add_argument("-q", "--quiet", action="store_true", help="say only what failed")
    talk.add_argument(
        "-v", "--verbose", action="store_true", help="name each photo, and why no better engine was taken"
    )


def _not_negative(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of 0 or more")
    return value


def _range(text: str) -> tuple[Fraction | None, Fraction | None]:
    first, dash, last = text.partition("-")
    start, end = _seconds(first), _seconds(last)
    backwards = start is not None and end is not None and start >= end
    if not dash or (start is None and end is None) or backwards:
        raise argparse.ArgumentTypeError(f"'{text}' is no START-END, such as 10-20.5, 1:00- or -0:01:30")
    return start, end


def _seconds(text: str) -> Fraction | None:
    """Of 90, 90.5, 1:30 and 0:01:30.5; None for nothing."""
    if not text:
        return None
    parts = text.split(":")
    if len(parts) > 3 or not all(part.replace(".", "", 1).isdecimal() for part in parts):
        raise argparse.ArgumentTypeError(f"'{text}' is no time; write seconds, M:SS or H:MM:SS")
    return sum((Fraction(part) * 60**place for place, part in enumerate(reversed(parts))), Fraction(0))


def _whole(text: str) -> int:
    value = text.removesuffix("x")
    if not value.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number")
    return int(value)


def _factor(text: str) -> float:
    try:
        value = float(text.removesuffix("x"))
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0")
    return value


def _limit(text: str) -> Limit:
    try:
        return parse_limit(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _positive(text: str) -> int:
    if (value := _whole(text)) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' must be at least 1")
    return value


def _tile(text: str) -> int:
    """0 means auto, as other upscalers have it."""
    return 0 if text == "auto" else _whole(text)


def _batch(text: str) -> int:
    return 0 if text == "auto" else _positive(text)


def _halo(text: str) -> str | int:
    return text if text in ("auto", "exact") else _whole(text)


def _quality(text: str) -> int:
    if not 1 <= (value := _whole(text)) <= 100:
        raise argparse.ArgumentTypeError(f"'{text}' is not between 1 and 100")
    return value


def _megapixels(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of megapixels above 0")
    return value


def _jobs(text: str) -> tuple[int, int]:
    """(decoding, encoding) threads of N or LOAD:PROC:SAVE; PROC is there for other upscalers' scripts, and not used."""
    parts = text.split(":")
    if len(parts) not in (1, 3):
        raise argparse.ArgumentTypeError(f"'{text}' is neither N nor LOAD:PROC:SAVE")
    return _positive(parts[0]), _positive(parts[-1])
