"""`python -m npl0 COMMAND`."""

from npl0.cli.leave import leave_on_signals

if __name__ == "__main__":
    # Before the other imports, which take most of the time of a short command.
    leave_on_signals()

import importlib
import sys

from npl0 import __version__
from npl0.cli.guard import exit_with
from npl0.declare import suggest

# Each command is the `main` of the file of its name in `npl0.cli`.
COMMANDS = {
    "run": "train, prune, retrain, measure and record (the same as python -m npl0.run)",
    "eval": "measure the accuracy of a run's pruned network",
    "predict": "classify images with a run's pruned network",
    "export": "write a run's pruned network as a file for use without npl0",
    "import": "bring in a network that another program trained",
    "summary": "show the layers of a model",
    "bench": "time a run's pruned network in all its forms, beside PyTorch",
    "data": "download, import or check a data set",
    "report": "make one HTML page on one or several runs",
    "explain": "draw what a gate does: its distribution, test gates and gradients",
    "gradcheck": "check every backward pass against numerical differences",
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: python -m npl0 COMMAND [-h] ...\n\ncommands:")
        print("\n".join(f"  {name:10} {text}" for name, text in COMMANDS.items()))
        print("\npython -m npl0 COMMAND --help describes a command.")
        return 0
    name, *rest = arguments
    if name == "--version":
        print(f"npl0 {__version__}")
        return 0
    if name not in COMMANDS:
        print(f"python -m npl0: {name!r} is no command: {suggest(name, COMMANDS)}", file=sys.stderr)
        return 2
    return importlib.import_module(f"npl0.cli.{name}").main(rest, f"python -m npl0 {name}")


if __name__ == "__main__":
    exit_with(main)
