"""`sr-train`: training comes with a later release; until then the command says so."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import NoReturn

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Say what is not here yet; exit code 2."""
    parser = argparse.ArgumentParser(
        prog="sr-train",
        description="Train the generator on your own photos. Not in this release: training comes with a later one; "
        "sr-batch already runs any checkpoint in this project's format (sr-batch -n FILE.safetensors).",
    )
    parser.add_argument("--version", action="version", version=f"sr-toolkit {version('sr-toolkit')}")
    parser.parse_known_args(arguments)
    print(
        "sr-train: training is not in this release; to use a trained checkpoint: sr-batch -n FILE.safetensors",
        file=sys.stderr,
    )
    sys.exit(2)


if __name__ == "__main__":
    main()
