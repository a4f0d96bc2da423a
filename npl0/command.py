"""What every command has around its work."""

import os
import sys
from collections.abc import Callable
from typing import NoReturn


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
