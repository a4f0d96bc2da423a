"""Ctrl-C and SIGTERM before and after the work of a command, when there is nothing to give up."""

import os
import signal
from types import FrameType


def leave_on_signals() -> None:
    """Let Ctrl-C and SIGTERM end the process at once, with a word and code 130."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    # No exception: inside an import it would become a traceback and another code, or be lost.
    os.write(2, b"npl0: interrupted\n")
    os._exit(130)
