"""What every command has around its work: errors become one line and an exit code."""

import os
import signal
import sys
import warnings
from collections.abc import Callable
from typing import NoReturn

from npl0.cli.leave import leave_on_signals
from npl0.declare import Npl0Error


def guard(work: Callable[[], int | None], prog: str, interrupted: str = "interrupted") -> int:
    """Do the work of the command `prog` and return its exit code, 0 if it returns None.

    An expected error becomes one line on stderr and its exit code, Ctrl-C the line `interrupted` and 130. A closed
    pipe (BrokenPipeError) is left to `exit_with`.
    """
    try:
        return work() or 0
    except BrokenPipeError:
        raise
    except (Npl0Error, OSError, MemoryError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    except KeyboardInterrupt:
        print(f"{prog}: {interrupted}", file=sys.stderr)
        return 130


def exit_with(main: Callable[[], int]) -> NoReturn:
    """Run a command and exit with its code, or with 1 if its output cannot be written.

    A closed pipe (`| head`) needs no message; a full disk does. Ctrl-C and SIGTERM give code 130 until all is done.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    sys.stdout.reconfigure(errors="backslashreplace")  # for paths that the console cannot encode
    # One line, where Python would show two.
    warnings.showwarning = lambda message, *_, **__: note(message)
    try:
        try:
            code = main()
        except SystemExit as leaving:
            code = leaving.code
        except KeyboardInterrupt:
            print("npl0: interrupted", file=sys.stderr)
            code = 130
        leave_on_signals()
        # Flushed here, because an error in the interpreter's own flush at exit cannot be handled.
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            print(f"npl0: {error}", file=sys.stderr)
        code = 1
        # The interpreter's flush of what is left would fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    # The work is done. Python, while it ends, would go back to the default action of signals, and so to another code.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if code == 130:
        # Python ends with the signal, not with the code, if the interrupt came while it ran code from a string, as
        # every dataclass does when it is imported.
        os._exit(code)
    sys.exit(code)


def note(line: object) -> None:
    """Print a note on stderr."""
    print(f"note: {line}", file=sys.stderr)
