"""`python -m npl0.run`: train, prune, retrain, measure, record, in one command."""

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any

from npl0.cli.guard import exit_with
from npl0.settings.flags import Parser, add_config_flags, flag_name, merge, settings_from
from npl0.settings.sections import SECTIONS, ConfigError, RunConfig, build_config
from npl0.settings.toml import format_toml, read_toml

DESCRIPTION = """\
Train a network with a method that makes it sparse, prune it, retrain it briefly, measure it, and record everything in a
run folder. No flag is needed: the default trains LeNet-5 on MNIST with L0 gates. A run that was interrupted resumes by
itself; one that is finished shows its result."""

EPILOG = """\
Settings are taken from, later ones over earlier ones: the defaults, the presets of model and method (one more with
--init-from), --quick, --config, flags. --dry-run prints what comes out. Exit codes: 0 done, 1 failed, 2 usage,
130 interrupted."""

COMPILING = "loading the kernels; the first time on a machine this compiles them, some seconds"


def build_parser(prog: str = "python -m npl0.run") -> Parser:
    """Return the parser of the command."""
    parser = Parser(prog=prog, description=DESCRIPTION, epilog=EPILOG)
    add_config_flags(parser)
    group = parser.add_argument_group("where settings come from")
    group.add_argument("--config", metavar="FILE", help="TOML file of settings, as written to every run folder")
    group.add_argument(
        "--quick", action="store_true", help="a first look: at most 2 + 1 epochs, faster gates, magnitude at 20x"
    )
    group = parser.add_argument_group("how to run it (results do not depend on these)")
    group.add_argument("--threads", type=int, metavar="N", help="threads (default: the cores)")
    group.add_argument("--offline", action="store_true", help="never download data")
    group.add_argument("--out", default="runs", metavar="DIR", help="folder of all runs (default: runs)")
    group.add_argument("--force", action="store_true", help="repeat a finished run, or one of other settings")
    group.add_argument("--quiet", action="store_true", help="no progress and no stage lines")
    group.add_argument("--json", action="store_true", help="print result.json on stdout and nothing else there")
    group.add_argument("--dry-run", action="store_true", help="print the settings and the run folder, and stop")
    return parser


def main(arguments: list[str] | None = None, prog: str = "python -m npl0.run") -> int:
    """Run the command; return its exit code."""
    parser = build_parser(prog)
    options = parser.parse_args(arguments)
    try:
        flags = settings_from(options)
        config = resolve(flags, options.config, options.quick)
        if options.threads is not None and options.threads < 1:
            raise ConfigError(f"threads = {options.threads} is out of range: it must be at least 1")
    except ConfigError as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2
    if idle := idle_flags(flags, config):
        print(f"{prog}: note: {', '.join(idle)} does nothing with method {config.method}", file=sys.stderr)
    try:
        if options.dry_run:
            return dry_run(config, options, prog)
        return execute(config, options, prog)
    except KeyboardInterrupt:
        folder = Path(options.out) / config.run_name()
        there = (folder / "checkpoint.npz").is_file()
        how = f"{folder} resumes from its last checkpoint" if there else "there is no checkpoint yet to resume from"
        print(f"{prog}: interrupted; {how}", file=sys.stderr)
        return 130


def dry_run(config: RunConfig, options: Any, prog: str) -> int:
    """Check a configuration against its model and print it; return the exit code."""
    from npl0.runs.build import check_fit
    from npl0.runs.folder import RunFolder
    from npl0.storage.archive import CheckpointError

    folder = RunFolder(options.out, config)
    try:
        check_fit(config, folder.begun and not options.force)
    except (ConfigError, CheckpointError, OSError) as error:
        print(f"{prog}: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    print(f"# run folder: {folder.path}\n{format_toml(config.used())}", end="")
    return 0


def resolve(flags: dict[str, Any], config_file: str | None = None, quick: bool = False) -> RunConfig:
    """Put the configuration together from a file and flags; ConfigError if it is not sound."""
    settings = merge(read_toml(config_file) if config_file else {}, flags)
    # A set of data is the same wherever it is named from.
    if settings.get("data_dir") and isinstance(settings["data_dir"], str):
        settings["data_dir"] = str(Path(settings["data_dir"]).resolve())
    # A start is known by its content; its name counts only in that one spelling of it gives one run folder.
    if settings.get("init_from") and isinstance(settings["init_from"], str):
        folder, name = os.path.split(path := os.path.normpath(settings["init_from"]))
        settings["init_from"] = (folder or os.curdir) if name == "model.npz" else path
    return build_config(settings, quick)


def idle_flags(flags: dict[str, Any], config: RunConfig) -> list[str]:
    """Return the flags that were given and do nothing with the method chosen."""
    idle = flags.keys() & SECTIONS.keys() - config.used().keys()
    return [flag_name(section, name) for section in sorted(idle) for name in flags[section]]


def execute(config: RunConfig, options: Any, prog: str) -> int:
    """Run a checked configuration; return the exit code."""
    # Heavy imports come only now, so that help and usage errors are quick.
    from npl0.cli.progress import ProgressBar
    from npl0.cli.tables import result_tables
    from npl0.data import DataError
    from npl0.runs.build import check_fit
    from npl0.runs.folder import RunFolder, RunFolderError
    from npl0.storage.archive import CheckpointError
    from npl0.training.loop import DivergedError, StopTraining

    bar = ProgressBar(options.quiet)
    folder = RunFolder(options.out, config)
    # With --force it would begin anew.
    again = "the same command" + (" without --force" if options.force else "")

    def say_waiting(holder: str) -> None:
        if not options.quiet:
            print(f"waiting for {holder}, which is at work in {folder.path}", file=sys.stderr)

    try:
        start = check_fit(config, folder.begun and not options.force)
        # A result is shown without a lock, also where nothing can be written.
        result = _find_result(config, options, folder, start)
        if result is None:
            with folder.opened(options.force, say_waiting):
                # Another process may have finished it meanwhile.
                result = _find_result(config, options, folder, start) or _train(config, options, folder, start, bar)
    except ConfigError as error:
        return _fail(bar, prog, error, 2)
    except OSError as error:
        kept = f"; once that is corrected, {again} resumes {folder.path}" if folder.checkpoint.exists() else ""
        return _fail(bar, prog, f"{error}{kept}", 1)
    except (DataError, RunFolderError, CheckpointError, DivergedError, MemoryError) as error:
        return _fail(bar, prog, error, 1)
    except StopTraining:
        return _fail(bar, prog, f"interrupted; {again} resumes {folder.path}", 130)
    except KeyboardInterrupt:
        bar.close()
        raise
    bar.close()
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        print(f"\n{result_tables(result)}\n\nrun folder: {folder.path}")
    return 0


def _find_result(config: RunConfig, options: Any, folder: Any, start: Any) -> dict[str, Any] | None:
    """Return the result of a finished run, None if there is none; RunFolderError if it was made from something else."""
    from npl0.data import load_dataset
    from npl0.runs.folder import RunFolderError

    result = None if options.force else folder.finished()
    if result is None:
        return None
    # Files of the user's own may hold something else than they did.
    if config.data_dir:
        dataset = load_dataset(config.data, config.data_dir, options.offline, options.quiet)
        if result["data"]["fingerprint"] != dataset.fingerprint:
            raise RunFolderError(f"{folder.path} was made with other data; repeat with --force")
    if start is not None and result["init_from"]["sha256"] != start.sha256:
        raise RunFolderError(f"{folder.path} began from another network than {start.path}; repeat with --force")
    if not options.quiet:
        print(f"{folder.path} is finished; this is its result (--force repeats it)", file=sys.stderr)
    return result


def _train(config: RunConfig, options: Any, folder: Any, start: Any, bar: Any) -> dict[str, Any]:
    """Begin or resume a run, and return its result."""
    from npl0.cli.progress import interruptible, notice_if_slow
    from npl0.data import load_dataset
    from npl0.pruning.checkup import PruningWarning
    from npl0.runs.pipeline import Run
    from npl0.runtime.threads import Workers, available_threads
    from npl0.training.warm_up import compile_kernels

    def announce(line: str) -> None:
        bar.close()
        if not options.quiet and not options.json:
            print(line, flush=True)

    def show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
        bar.write(f"warning: {message}")

    dataset = load_dataset(config.data, config.data_dir or None, options.offline, options.quiet)
    with Workers(options.threads or available_threads()) as workers, interruptible(bar), warnings.catch_warnings():
        warnings.simplefilter("always", PruningWarning)
        warnings.showwarning = show_warning
        bar.run = run = Run(config, dataset, folder, workers, bar, announce, start)
        with notice_if_slow(COMPILING, 1.0, options.quiet):
            compile_kernels(run.network)
        if options.force:
            folder.clear()
        if folder.checkpoint.exists() and not options.quiet:
            bar.write(f"resuming {folder.path}")
        return run.execute()


def _fail(bar: Any, prog: str, error: object, code: int) -> int:
    bar.close()
    print(f"{prog}: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    exit_with(main)
