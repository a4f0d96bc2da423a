"""`python -m npl0.run`: the same as `python -m npl0 run`."""

from npl0.cli.leave import leave_on_signals

if __name__ == "__main__":
    # Before the other imports, which take most of the time of a short command.
    leave_on_signals()

from npl0.cli.guard import exit_with
from npl0.cli.run import main

if __name__ == "__main__":
    exit_with(main)
