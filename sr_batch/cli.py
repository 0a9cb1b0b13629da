"""`sr-batch`: upscale photos and videos. The only place of this package where text is printed and the process ended.

    options.py   the command line as one value
    run.py       the run: what the options name is found, an engine opened, all jobs done, reported and summed up
    choices.py   what the options mean for a model and an engine
    dry_run.py   --dry-run

Exit codes: 0 all done, 1 some files failed, 2 usage or engine not available, 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from sr_batch.options import Options, parse_options

__all__ = ["main"]

DONE, SOME_FAILED, USAGE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143


class Terminated(BaseException):
    """SIGTERM came. Like KeyboardInterrupt: cleans up on its way and is caught only in main."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command and end the process with its exit code."""
    try:
        with _signals_wait():
            options = parse_options(arguments)
            import sr_batch.run  # noqa: F401 - the heavy part
        sys.exit(_exit_code(options))
    except KeyboardInterrupt as interrupt:
        _tell_end("interrupted", interrupt)
        sys.exit(INTERRUPTED)
    except Terminated as interrupt:
        _tell_end("terminated", interrupt)
        sys.exit(TERMINATED)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output is gone
        sys.exit(SOME_FAILED)


def _tell_end(how: str, interrupt: BaseException) -> None:
    """Its notes say how far a video came."""
    for note in getattr(interrupt, "__notes__", ()):
        print("".join(c if c.isprintable() else "?" for c in note), file=sys.stderr)
    print(f"{how}; what is finished stays, and the same command goes on from there", file=sys.stderr)


def _exit_code(options: Options) -> int:
    """Run the command; an error that the user can mend is printed as one sentence."""
    from sr_batch.progress import printable
    from sr_batch.run import run
    from sr_train.errors import SRError

    def say(line: str) -> None:
        if not options.quiet:
            print(printable(line), file=sys.stderr, flush=True)

    try:
        return DONE if run(options, say, sys.stdout) else SOME_FAILED
    except SRError as error:
        print(f"sr-batch: {printable(str(error))}", file=sys.stderr)
        return USAGE


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Ctrl-C and SIGTERM take effect at the end of the block, then at once.

    An import that an exception interrupts leaves half a module, and other libraries answer that with an error of their
    own instead of ours.
    """
    came: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as nohup and a shell's background jobs have it
            signal.signal(number, lambda number, _frame: came.append(number))
    yield
    for number, answer in ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, _terminate)):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, answer)
    if came:
        raise KeyboardInterrupt if came[0] == signal.SIGINT else Terminated


def _terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


if __name__ == "__main__":
    main()
