"""What every command has around its work."""

import os
import sys
from collections.abc import Callable
from typing import NoReturn


def guarded(
    work: Callable[[], int | None], prog: str, *expected: type[Exception], interrupted: str = "interrupted"
) -> int:
    """Do the work and return its exit code, 0 if it has none; turn an expected failure into a message and exit code 1.

    Parameters
    ----------
    work : what is to be done.
    prog : the command, for messages.
    expected : failures that their message explains, beside those of the system: OSError and MemoryError.
    interrupted : what to say, with exit code 130, of an interrupt.

    Raises
    ------
    BrokenPipeError
        If nobody reads the output any more, which is for `exit_with`.
    """
    try:
        return work() or 0
    except BrokenPipeError:
        raise
    except (*expected, OSError, MemoryError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{prog}: {interrupted}", file=sys.stderr)
        return 130


def exit_with(main: Callable[[], int]) -> NoReturn:
    """Run a command and leave with its exit code; with 1 if stdout does not take what it prints.

    Whoever reads the output may want no more of it (`| head`), which is not worth a word; a full disk is told.
    """
    try:
        try:
            code = main()
        except SystemExit as leaving:
            code = leaving.code
        # Now, since at the interpreter's own end nobody can answer for it.
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            print(f"npl0: {error}", file=sys.stderr)
        code = 1
        # What is left to be written would fail once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)
