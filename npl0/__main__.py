"""`python -m npl0 COMMAND`."""

import sys

from npl0.cli.guard import exit_with

COMMANDS = {
    "run": "train, prune, retrain, measure and record (the same as python -m npl0.run)",
    "eval": "measure the accuracy of a run's pruned network",
    "predict": "classify images with a run's pruned network",
    "summary": "show the layers of a model",
    "data": "download, import or check a data set",
    "gradcheck": "check every backward pass against numerical differences",
}


def main(arguments: list[str] | None = None) -> int:
    """Run a command; return its exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print("usage: python -m npl0 COMMAND [-h] ...\n\ncommands:")
        print("\n".join(f"  {name:10} {text}" for name, text in COMMANDS.items()))
        print("\npython -m npl0 COMMAND --help tells about one of them.")
        return 0
    name, *rest = arguments
    if name == "--version":
        from npl0 import __version__

        print(f"npl0 {__version__}")
        return 0
    if name not in COMMANDS:
        from npl0.settings.sections import suggest

        print(f"python -m npl0: {name!r} is no command: {suggest(name, COMMANDS)}", file=sys.stderr)
        return 2
    prog = f"python -m npl0 {name}"
    if name == "run":
        from npl0.cli.run import main as run

        return run(rest, prog)
    if name == "gradcheck":
        from npl0.cli.gradcheck import main as gradcheck

        return gradcheck(rest, prog)
    if name == "data":
        from npl0.cli.data import main as data

        return data(rest, prog)
    from npl0.cli import inspect_model

    return getattr(inspect_model, f"{name}_command")(rest, prog)


if __name__ == "__main__":
    exit_with(main)
