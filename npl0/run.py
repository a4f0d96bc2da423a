"""`python -m npl0.run`: the same as `python -m npl0 run`."""

from npl0.cli.guard import exit_with
from npl0.cli.run import main

if __name__ == "__main__":
    exit_with(main)
