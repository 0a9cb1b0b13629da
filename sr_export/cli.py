"""`sr-export`: what a checkpoint becomes. Only here is text printed and the process ended."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import NoReturn

__all__ = ["main"]

DONE, USAGE, INTERRUPTED = 0, 2, 130


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and end the process: 0 done, 2 usage or a file that cannot be used, 130 interrupted."""
    options = _parser().parse_args(arguments)
    from sr_train.errors import SRError

    try:
        sys.exit(_onnx(options))
    except SRError as error:
        print(f"sr-export: {error}", file=sys.stderr)
        sys.exit(USAGE)
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        sys.exit(INTERRUPTED)


def _onnx(options: argparse.Namespace) -> int:
    from sr_export.model import find_model, write_onnx

    model = find_model(options.checkpoint)
    target = options.output or Path(f"{model.name}.{options.door}.onnx")
    facts = write_onnx(model, target, options.door)
    halo = f"halo {facts.halo} (measured: {facts.halo_measured})"
    print(f"{target}: {facts.door} door, {facts.scale}x, {halo}, {facts.precision}")
    return DONE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sr-export",
        description="Turn a checkpoint into files that run elsewhere. This release writes ONNX in fp32; "
        "TensorRT plans, fp16 and parity reports come with a later one.",
    )
    parser.add_argument("--version", action="version", version=f"sr-toolkit {version('sr-toolkit')}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    onnx = commands.add_parser("onnx", help="one ONNX file, fp32, any batch and size")
    onnx.add_argument("checkpoint", help="a .safetensors checkpoint or a shipped model's name")
    onnx.add_argument("-o", "--output", type=Path, help="the file to write (NAME.DOOR.onnx)")
    onnx.add_argument("--door", choices=("float", "pixel"), default="float",
                      help="float: NCHW RGB in [0, 1]; pixel: uint8 NHWC RGB (float)")  # fmt: skip
    return parser


if __name__ == "__main__":
    main()
