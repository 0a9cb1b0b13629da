"""`sr-calib`: INT8 calibration comes with a later release; until then the command says so."""

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
        prog="sr-calib",
        description="Make and judge INT8 forms of a model. Not in this release: it comes with a later one; "
        "sr-batch picks the fastest safe precision of this machine by itself (--precision auto).",
    )
    parser.add_argument("--version", action="version", version=f"sr-toolkit {version('sr-toolkit')}")
    parser.parse_known_args(arguments)
    print(
        "sr-calib: INT8 calibration is not in this release; sr-batch --precision auto picks the fastest safe one",
        file=sys.stderr,
    )
    sys.exit(2)


if __name__ == "__main__":
    main()
