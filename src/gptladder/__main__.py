"""The program's front door: `gptladder` and `python -m gptladder` both begin here.

Loading the command line takes a moment. Until it is loaded there is nothing to save, so Ctrl-C ends the process at once.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType

STOPPED = 130  # the exit code of a program that Ctrl-C ended


def end(number: int, frame: FrameType | None) -> None:
    """End the process at once, with a line instead of a traceback: the handler of an early Ctrl-C."""
    if sys.stderr is not None:
        with suppress(OSError):
            os.write(2, b"stopped\n")  # print might meet itself at work
    os._exit(STOPPED)


def main() -> None:
    """Run the command line and exit with its code."""
    signal.signal(signal.SIGINT, end)
    from .cli import app

    try:
        app.main()
    except SystemExit as exit:
        if exit.code == STOPPED:  # nobody who pressed Ctrl-C waits for the worker processes of a compiler to be put away
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):
                    stream.flush()
            os._exit(STOPPED)
        raise


if __name__ == "__main__":
    main()
