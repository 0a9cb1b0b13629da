"""Makes docs/results.md, its pictures and the figures in the model cards from the shipped checkpoints: `make results`.

    python benchmarks/results.py [--sets Set5/HR Set14/HR] [--lpips-weights FILE] [--run RUN ...] [--models NAME ...]
    python benchmarks/results.py --card srgan --sets Set5/HR Set14/HR [--lpips-weights FILE]

All figures are those of `sr-train eval`, which this runs; pictures come from samples/, whose licences allow it. With
--sets, test sets are measured. All figures are kept in docs/results.json with the checksums of the checkpoints: those
of checkpoints that are not shipped any more are left out. --run draws the training curves of run folders (without it,
those that are there stay). --card prints the figures of one model's card.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from strips import Crop, write_curves, write_strip

import sr_train.cli
from sr_export.model import Model, ModelKind, find_model, shipped_models
from sr_export.strength import BASE, TOP, blend
from sr_train.atomic_file import atomic_file
from sr_train.checkpoint import load_checkpoint
from sr_train.degrade import through_jpeg
from sr_train.errors import SRError, UsageError
from sr_train.evaluate import TestImage, bicubic, least_side, read_test_images, upscaler
from sr_train.generator import Generator
from sr_train.metrics import Pixels
from sr_train.pictures import Skipped, open_folder

ROOT = Path(__file__).resolve().parents[1]
SRGAN, PHOTO = "srgan", "photo"  # the models that are compared on pictures that went through JPEG
TITLES = {"bicubic": "bicubic", BASE: "SRResNet", SRGAN: "SRGAN"}
ORDER = (BASE, SRGAN, PHOTO)  # of columns and rows; other models come after
CROPS = {  # HR pixels: where there is something to see
    "astronaut": Crop(8, 84, 112),
    "cat": Crop(44, 92, 112),
    "coffee": Crop(60, 132, 112),
    "mountains": Crop(56, 180, 112),
    "rocket": Crop(144, 92, 112),
}
FAILURES = {  # HR pixels: what a quarter of the size has lost for good
    "astronaut": (
        "Writing of a pixel or two a letter is gone, and small symbols become blurred strokes",
        Crop(204, 68, 80),
    ),
    "rocket": (
        "Struts thinner than a pixel of the input run together to blots",
        Crop(96, 0, 80),
    ),
}
SAMPLES = "samples"
JPEG_QUALITIES = (60, 75, 90)  # of LR, where PHOTO is measured
JPEG_SHOWN, JPEG_SAMPLES = 75, ("cat", "coffee")
JPEG_MARK = ", LR a JPEG of "  # what `sr-train eval --jpeg` adds to a set's name
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0)
STRENGTH_SAMPLE = "cat"
HEADER = "| {} | PSNR-Y, dB | SSIM-Y | PSNR-RGB, dB | LPIPS-alex |"
MEASURE = '`make results SETS="Set5/HR Set14/HR" LPIPS=FILE`'
MARKS = re.compile(r"(<!-- figures -->\n).*?(<!-- end of figures -->)", re.DOTALL)
# Published figures, read as ours are. The paper's are its tables'; the others' are of their published weights, and no
# command here repeats them. PSNR-Y / SSIM-Y / LPIPS-alex on Set5, then on Set14.
PUBLISHED = (
    ("SRGAN paper, SRResNet", "32.05 / .9019 / -", "28.49 / .8184 / -"),
    ("SRGAN paper, SRGAN", "29.40 / .8472 / -", "26.02 / .7397 / -"),
    ("leftthomas/SRGAN (5 blocks)", "30.66 / .8642 / .136", "27.69 / .7542 / .243"),
    ("Fast-SRGAN", "29.38 / .8448 / .107", "26.33 / .7137 / .178"),
    ("Real-ESRGAN x4plus", "26.64 / .8068 / .170", "25.43 / .6961 / .235"),
    ("UpscalerJS thick", "29.95 / .8523 / .260", "27.17 / .7409 / .371"),
    ("IMDN", "32.21 / .8948 / .174", "28.58 / .7811 / .287"),
    ("DAT-light", "32.57 / .8992 / .172", "28.87 / .7880 / .278"),
)

Row = dict[str, Any]  # {"set": ..., "method": ..., "mean": {...}, "images": {...}} of `sr-train eval --json`


@dataclass(frozen=True)
class Options:
    models: list[str]
    sets: list[Path]
    lpips_weights: Path | None
    run: list[Path]
    out: Path  # folder of results.md
    cards: Path  # folder of the model cards
    card: str | None


def main(arguments: Sequence[str] | None = None) -> int:
    """0, or 2 with one sentence on stderr when something must be mended first."""
    options = _options(arguments)
    try:
        models = [find_model(name) for name in ([options.card] if options.card else options.models)]
        for model in models:
            if model.kind is not ModelKind.CHECKPOINT:
                raise UsageError(f"{model.path}: only .safetensors checkpoints can be measured")
        if options.card:
            print(_card_figures(models[0], evaluate(models, options.sets, options.lpips_weights)))
        else:
            make_results(sorted(models, key=_place), options)
    except (SRError, OSError, ImportError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def make_results(models: Sequence[Model], options: Options) -> None:
    """Write the page, its pictures and the figures of the cards."""
    images = options.out / "images" / "results"
    generators = {model.name: load_checkpoint(model.path)[0] for model in models}
    samples, shifts = list(_samples()), dict.fromkeys(generators, 0.0)
    for image in samples:
        columns = [("LR", image.lr), ("bicubic", bicubic(4)(image.lr))]
        for name, generator in generators.items():
            result = upscaler(generator, torch.device("cpu"))(image.lr)
            columns.append((_title(name), result))
            shifts[name] = max(shifts[name], _colour_shift(image.lr, result))
        columns.append(("HR", image.hr))
        write_strip(images / f"{image.name}.png", CROPS[image.name], columns)
        if image.name in FAILURES:
            write_strip(images / f"failure_{image.name}.png", FAILURES[image.name][1], columns)
    if {BASE, TOP} <= generators.keys():
        _write_strengths(images / "strength.png", generators[BASE], generators[TOP], samples)
        half = upscaler(blend(generators[BASE], generators[TOP], 0.5), torch.device("cpu"))
        shifts["strength 0.5"] = max(_colour_shift(image.lr, half(image.lr)) for image in samples)
    if PHOTO in generators:
        _write_jpegs(images, generators, samples)
    if options.run:
        write_curves(images / "curves.png", options.run)
    rows = _measured(models, options)
    _write(options.out / "results.md", _page(models, samples, shifts, rows, images))
    for model in models:
        _update_card(options.cards / f"{model.name}.md", _card_figures(model, rows))


def evaluate(models: Sequence[Model], sets: Sequence[Path], lpips: Path | None, jpeg: Sequence[int] = ()) -> list[Row]:
    """The rows of `sr-train eval`, which says on stderr what is wrong when it fails; then UsageError is raised."""
    with tempfile.TemporaryDirectory() as folder:
        figures = Path(folder) / "figures.json"
        with redirect_stdout(io.StringIO()):
            try:
                sr_train.cli.main([*_eval_arguments(models, sets, lpips, jpeg), "--json", str(figures)])
            except SystemExit as ended:
                if ended.code:
                    raise UsageError("the sets were not measured; see the line above") from None
        rows: list[Row] = json.loads(figures.read_text(encoding="utf-8"))["results"]
        return rows


def _eval_arguments(
    models: Sequence[Model], sets: Sequence[Path], lpips: Path | None, jpeg: Sequence[int] = ()
) -> list[str]:
    given = ["--lpips-weights", str(lpips)] if lpips else []
    given += ["--jpeg", *map(str, jpeg)] if jpeg else []
    return ["eval", *(str(model.path) for model in models), "--data", *map(str, sets), *given]


def _measured(models: Sequence[Model], options: Options) -> list[Row]:
    """The rows of the samples and the test sets: measured now where that is asked for or needed, else as kept."""
    path = options.out / "results.json"
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"checkpoints": {}, "results": []}
    sums = {model.name: model.sha256 for model in models}
    known = {name for name, sha256 in sums.items() if kept["checkpoints"].get(name) == sha256}
    rows: list[Row] = [row for row in kept["results"] if row["method"] in known | {"bicubic"}]
    if known != sums.keys() or options.sets or options.lpips_weights:
        new = evaluate(models, [ROOT / "samples", *options.sets], options.lpips_weights)
        for row in new:
            row["set"] = SAMPLES if Path(row["set"]).name == SAMPLES else row["set"]  # whatever the clone is called
        if options.sets and PHOTO in sums:
            new += evaluate(models, options.sets, options.lpips_weights, JPEG_QUALITIES)
        again = {row["set"] for row in new}
        rows = [*new, *(row for row in rows if row["set"] not in again)]
        _write(path, json.dumps({"checkpoints": sums, "results": rows}, indent=1) + "\n")
    return rows


def _samples() -> list[TestImage]:
    """The sample photos as HR, named without suffix."""

    def refuse(skipped: Skipped) -> None:
        raise UsageError(f"{skipped.path}: {skipped.reason}; samples/ must be as it is in the repository")

    found = read_test_images(open_folder([ROOT / "samples"], least_side(4), 2, refuse), 4)
    return [replace(image, name=Path(image.name).stem) for image in found]


def _write_strengths(path: Path, base: Generator, top: Generator, samples: Sequence[TestImage]) -> None:
    image = next(one for one in samples if one.name == STRENGTH_SAMPLE)
    columns = [(f"strength {s:g}", upscaler(blend(base, top, s), torch.device("cpu"))(image.lr)) for s in STRENGTHS]
    write_strip(path, CROPS[STRENGTH_SAMPLE], columns)


def _write_jpegs(images: Path, generators: Mapping[str, Generator], samples: Sequence[TestImage]) -> None:
    """Samples whose LR went through JPEG, by SRGAN (where it is there) and PHOTO."""
    for image in samples:
        if image.name in JPEG_SAMPLES:
            lr = np.array(through_jpeg(Image.fromarray(image.lr), JPEG_SHOWN))
            columns = [(f"JPEG, {JPEG_SHOWN}", lr), ("bicubic", bicubic(4)(lr))]
            for name in (SRGAN, PHOTO):
                if name in generators:
                    columns.append((_title(name), upscaler(generators[name], torch.device("cpu"))(lr)))
            write_strip(images / f"jpeg_{image.name}.png", CROPS[image.name], [*columns, ("HR", image.hr)])


def _colour_shift(lr: Pixels, result: Pixels) -> float:
    """Levels by which the mean of a channel moved, of the one that moved most: uint8 HWC RGB."""
    return float(np.abs(result.mean(axis=(0, 1)) - lr.mean(axis=(0, 1))).max())


def _page(
    models: Sequence[Model],
    samples: Sequence[TestImage],
    shifts: Mapping[str, float],
    rows: Sequence[Row],
    images: Path,
) -> str:
    sums = "; ".join(f"`{model.name}` {model.sha256[:16]}" for model in models)
    parts = [
        "# Results\n",
        "Made by `make results` from the shipped checkpoints "
        f"({sums}); nothing here was typed in but the published figures.\n",
        "## Side by side\n",
        "Each photo of [samples](../samples/README.md) was taken as HR, shrunk to a quarter (antialiased bicubic) and "
        "enlarged again. Crops of 112x112 HR pixels, each pixel shown as 2x2.\n",
    ]
    for image in samples:
        parts.append(f"![{image.name}: LR, bicubic, the models, HR](images/results/{image.name}.png)\n")
    parts += ["Means over the five photos (a larger copy of `mountains` was trained on; the other four were not):\n"]
    parts += [_table("method", [(_title(row["method"]), row["mean"]) for row in rows if row["set"] == SAMPLES])]
    if (images / "strength.png").is_file() and TOP in {model.name for model in models}:
        parts += ["## Strength\n", f"`--strength`, from `{BASE}` (0) to `{TOP}` (1):\n"]
        parts.append("![strengths 0, 0.25, 0.5, 0.75 and 1](images/results/strength.png)\n")
    moved = "; ".join(f"{_title(name)} {levels:.2f}" for name, levels in shifts.items())
    parts.append(
        f"**Colours**, the most that a channel's mean moves from that of LR on these photos, in levels: {moved}.\n"
    )
    parts += ["## Known failures\n"]
    parts += [
        f"{what}:\n\n![{name}: LR, bicubic, the models, HR](images/results/failure_{name}.png)\n"
        for name, (what, _) in FAILURES.items()
    ]
    tests = [row for row in rows if row["set"] != SAMPLES]
    parts += ["## On the test sets\n", *_test_sets([row for row in tests if JPEG_MARK not in row["set"]])]
    if PHOTO in {model.name for model in models}:
        parts += ["## Through JPEG\n", *_through_jpeg([row for row in tests if JPEG_MARK in row["set"]])]
    if (images / "curves.png").is_file():
        parts += [
            "## Training\n",
            "![figures on the validation photos and losses, by step](images/results/curves.png)\n",
        ]
    return "\n".join(parts).rstrip() + "\n"


def _through_jpeg(rows: Sequence[Row]) -> list[str]:
    parts = [f"As phones and the web have photos: LR as above, saved as JPEG of {JPEG_SHOWN}:\n"]
    parts += [f"![{name}: JPEG, bicubic, the models, HR](images/results/jpeg_{name}.png)\n" for name in JPEG_SAMPLES]
    return parts + _tables(rows)


def _tables(rows: Sequence[Row]) -> list[str]:
    """A table for each set of these rows."""
    parts = []
    for name in dict.fromkeys(row["set"] for row in rows):
        of_set = [row for row in rows if row["set"] == name]
        parts += [f"**{name}**, {len(of_set[0]['images'])} pictures:\n"]
        parts += [_table("method", [(_title(row["method"]), row["mean"]) for row in of_set])]
    return parts or [f"Not measured with these checkpoints yet: {MEASURE}.\n"]


def _test_sets(rows: Sequence[Row]) -> list[str]:
    parts = _tables(rows)
    lines = ["| PSNR-Y / SSIM-Y / LPIPS-alex | Set5 | Set14 |", "|---|---|---|"]
    lines += [f"| {name} | {set5} | {set14} |" for name, set5, set14 in PUBLISHED]
    parts += [
        "Y: BT.601 studio range; borders of 4 pixels left out; LR by antialiased bicubic; LPIPS: lower is better. "
        "The sets state no licence, so none of their pictures is shown.\n",
        "Others, **as published** (the paper) or measured once with this reading on the weights that they publish; no "
        "command here repeats these:\n",
        "\n".join(lines) + "\n",
    ]
    return parts


def _table(first: str, rows: Sequence[tuple[str, dict[str, float | None]]]) -> str:
    lines = [HEADER.format(first), "|---|---|---|---|---|"]
    for name, mean in rows:
        lpips = "not measured" if mean["lpips"] is None else f"{mean['lpips']:.3f}"
        lines.append(f"| {name} | {mean['psnr_y']:.2f} | {mean['ssim_y']:.4f} | {mean['psnr_rgb']:.2f} | {lpips} |")
    return "\n".join(lines) + "\n"


def _card_figures(model: Model, rows: Sequence[Row]) -> str:
    """What stands in a card under Figures: the command, and the table of bicubic and this model."""
    own = [row for row in rows if row["set"] != SAMPLES and (model.name == PHOTO or JPEG_MARK not in row["set"])]
    compared = ("bicubic", SRGAN, PHOTO) if model.name == PHOTO else ("bicubic", model.name)
    shown = [row for row in own if row["method"] in compared]
    if not any(row["method"] == model.name for row in shown):
        return f"Not measured with these weights yet: {MEASURE}.\n"
    sets = [Path(name) for name in dict.fromkeys(row["set"] for row in shown) if JPEG_MARK not in name]
    lpips = None if all(row["mean"]["lpips"] is None for row in shown) else Path("FILE")
    names = [name for name in (SRGAN, PHOTO) if any(row["method"] == name for row in shown)]
    shipped = [replace(model, path=Path(f"sr_export/models/{name}.safetensors")) for name in names or [model.name]]
    runs = [(), JPEG_QUALITIES] if any(JPEG_MARK in row["set"] for row in shown) else [()]
    commands = [" ".join(["sr-train", *_eval_arguments(shipped, sets, lpips, jpeg)]) for jpeg in runs]
    table = _table("set, method", [(f"{row['set']}, {_title(row['method'])}", row["mean"]) for row in shown])
    lines = "".join(f"    {command}\n" for command in commands)
    return f"{lines}\n{table}\nOf the checkpoint with SHA-256 `{model.sha256}`.\n"


def _update_card(path: Path, figures: str) -> None:
    """Put the figures between the card's marks. A card without them is left alone."""
    if not path.is_file() or not MARKS.search(text := path.read_text(encoding="utf-8")):
        print(f"note: {path} has no <!-- figures --> to be filled", file=sys.stderr)
        return
    _write(path, MARKS.sub(lambda marks: f"{marks[1]}{figures}{marks[2]}", text))


def _title(method: str) -> str:
    return TITLES.get(method, method)


def _place(model: Model) -> int:
    return ORDER.index(model.name) if model.name in ORDER else len(ORDER)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


def _options(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(description="Make docs/results.md and the figures of the model cards.")
    add = parser.add_argument
    add("--models", nargs="+", default=shipped_models(), metavar="NAME", help="names or checkpoints (the shipped ones)")
    add("--sets", type=Path, nargs="+", default=[], metavar="DIR", help="folders of HR pictures to measure on")
    add("--lpips-weights", type=Path, metavar="FILE", help="also measure LPIPS-alex, as sr-train eval does")
    add("--run", type=Path, nargs="+", default=[], metavar="RUN", help="run folders of sr-train: draw their curves")
    add("--out", type=Path, default=ROOT / "docs", metavar="DIR", help="where results.md goes (docs)")
    add("--cards", type=Path, default=ROOT / "sr_export" / "models", metavar="DIR", help="where the model cards are")
    add("--card", metavar="NAME", help="only print the figures of this model's card; needs --sets")
    options = Options(**vars(parser.parse_args(arguments)))
    if options.card and not options.sets:
        parser.error("--card needs --sets: folders of HR pictures to measure on")
    return options


if __name__ == "__main__":
    sys.exit(main())
