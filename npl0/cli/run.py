"""`python -m npl0 run`: train, prune, retrain, measure and record, in one command."""

import json
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from npl0 import cli, data, report, runs, runtime, training
from npl0.cli.guard import guard
from npl0.settings.flags import Parser, add_config_flags, add_thread_flag, flag_name, merge, settings_from
from npl0.settings.sections import SECTIONS, RunConfig, build_config
from npl0.settings.toml import format_toml, read_toml
from npl0.storage.files import reported

DESCRIPTION = """\
Train a network with a method that makes it sparse, prune it, retrain it briefly, measure it, and record everything in a
run folder. No flag is needed: the default trains LeNet-5 on MNIST with L0 gates. A run that was interrupted resumes by
itself; for a finished run the result is shown."""

EPILOG = """\
Settings are taken from, later ones over earlier ones: the defaults, the presets of model and method (one more with
--init-from), --quick, --config, flags. --dry-run prints the outcome. Exit codes: 0 done, 1 failed, 2 usage,
130 interrupted."""


def build_parser(prog: str = "python -m npl0.run") -> Parser:
    """Return the parser of the command."""
    parser = Parser(prog=prog, description=DESCRIPTION, epilog=EPILOG)
    add_config_flags(parser)
    group = parser.add_argument_group("where settings come from")
    group.add_argument("--config", metavar="FILE", help="TOML file of settings, as in every run folder")
    group.add_argument("--quick", action="store_true", help="at most 2 + 1 epochs, faster gates, magnitude at 20x")
    group = parser.add_argument_group("how to run it (results do not depend on these)")
    add_thread_flag(group)
    group.add_argument("--offline", action="store_true", help="never download data")
    group.add_argument("--out", default="runs", metavar="DIR", help="folder of all runs (default: runs)")
    group.add_argument("--force", action="store_true", help="repeat a finished run, or replace one of other settings")
    group.add_argument("--explain", action="store_true", help="say after each stage what it did and why, in sentences")
    group.add_argument("--report", action="store_true", help="make report.html in the run folder at the end")
    group.add_argument("--quiet", action="store_true", help="no progress and no stage lines")
    group.add_argument("--json", action="store_true", help="print result.json on stdout and nothing else there")
    group.add_argument("--dry-run", action="store_true", help="print the settings and the run folder, and stop")
    return parser


def main(arguments: list[str] | None = None, prog: str = "python -m npl0.run") -> int:
    """Run the command; return its exit code."""
    options = build_parser(prog).parse_args(arguments)
    return guard(lambda: Command(options, prog).execute(), prog)


def resolve(flags: dict[str, Any], config_file: str | None = None, quick: bool = False) -> RunConfig:
    """Put the configuration together from a file and flags; ConfigError if it is not valid."""
    settings = merge(read_toml(config_file) if config_file else {}, flags)
    if str(settings.get("model", "")).endswith(".toml"):
        path = Path(settings["model"])
        settings = {**settings, "model": path.stem, "network": read_toml(path)}
    # Data and start are the same from whatever folder, and in whatever spelling, they are named.
    if settings.get("data_dir") and isinstance(settings["data_dir"], str):
        settings["data_dir"] = str(Path(settings["data_dir"]).resolve())
    if settings.get("init_from") and isinstance(settings["init_from"], str):
        folder, name = os.path.split(path := os.path.normpath(settings["init_from"]))
        settings["init_from"] = (folder or os.curdir) if name == "model.npz" else path
    return build_config(settings, quick)


def idle_flags(flags: dict[str, Any], config: RunConfig) -> list[str]:
    """Return the flags that were given and have no effect with the method chosen."""
    idle = flags.keys() & SECTIONS.keys() - config.used().keys()
    return [flag_name(section, name) for section in sorted(idle) for name in flags[section]]


class Command:
    """One call of the command.

    Parameters
    ----------
    options : the parsed flags; prog : the name of the command in messages.
    """

    def __init__(self, options: Any, prog: str) -> None:
        flags = settings_from(options)
        self.options, self.prog = options, prog
        self.config = resolve(flags, options.config, options.quick)
        if idle := idle_flags(flags, self.config):
            print(f"{prog}: note: {', '.join(idle)} has no effect with method {self.config.method}", file=sys.stderr)

    def execute(self) -> int:
        """Show or make the result; return the exit code."""
        if self.options.report:
            report.check_plots()
        self.folder = runs.RunFolder(self.options.out, self.config)
        if self.options.dry_run:
            self._check()
            print(f"# run folder: {self.folder.path}\n{format_toml(self.config.used())}", end="")
            return 0
        self.bar = runs.ProgressBar(self.options.quiet, self.config.retrain.epochs if self.config.prunes else 0)
        # With --force the run would begin anew.
        again = "the same command" + (" without --force" if self.options.force else "")
        try:
            result = self._find_result() or self._train()
        except (training.StopTraining, KeyboardInterrupt):
            there = self.folder.checkpoint.is_file()
            then = f"{again} resumes {self.folder.path}" if there else "there is no checkpoint yet"
            self._say(f"interrupted; {then}")
            return 130
        except OSError as error:
            kept = self.folder.checkpoint.is_file()
            after = f"; once that is corrected, {again} resumes {self.folder.path}" if kept else ""
            self._say(f"{error}{after}")
            return 1
        finally:
            self.bar.close()
        if self.options.json:
            print(json.dumps(result, indent=2))
        else:
            print(f"\n{cli.result_tables(result)}\n\nrun folder: {self.folder.path}")
        if self.options.report:
            report.write_report([report.read_run(self.folder.path)], self.folder.report)
            self._note(f"report: {self.folder.report}")
        return 0

    def _say(self, line: str) -> None:
        self.bar.close()
        print(f"{self.prog}: {line}", file=sys.stderr)

    def _note(self, line: str) -> None:
        if not self.options.quiet:
            self.bar.write(line)

    def _announce(self, line: str) -> None:
        self.bar.close()
        if not self.options.quiet and not self.options.json:
            print(line, flush=True)

    def _load_data(self) -> Any:
        config, options = self.config, self.options
        return data.load_dataset(config.data, config.data_dir or None, options.offline, options.quiet)

    def _check(self) -> None:
        """Report what does not fit before the data are loaded, which may mean a download."""
        if self.config.data_dir:
            # The shape of the images is known only once they are loaded.
            return
        network = runs.build_network(self.config)
        runs.build_pruner(self.config, network)
        # A run that has begun does without its start, which may be gone.
        if self.config.init_from and (self.options.force or not self.folder.begun):
            runs.load_start(self.config, network)

    def _find_result(self) -> dict[str, Any] | None:
        """Return the result of a finished run, None if there is none; an error if data or start have changed."""
        result = None if self.options.force else self.folder.finished()
        if result is None:
            return None
        path = self.folder.path
        # What cannot be shown is no result.
        with reported(runs.RunFolderError, f"{self.folder.result} is damaged", "repeat the run with --force"):
            cli.result_tables(result)
            fingerprint, start = result["data"]["fingerprint"], (result["init_from"] or {}).get("sha256")
        # The user's own files may have changed since.
        if self.config.data_dir and fingerprint != self._load_data().fingerprint:
            raise runs.RunFolderError(f"{path} was made with other data; repeat with --force")
        source = self.config.init_from
        digest = runs.digest_start(source) if source else None
        if digest is not None and start != digest:
            raise runs.RunFolderError(f"{path} began from another network than {source}; repeat with --force")
        self._note(f"{path} is finished; this is its result (--force repeats it)")
        for sentence in runs.explain_finished(self.folder, result) if self.options.explain else ():
            self._announce(sentence)
        return result

    def _train(self) -> dict[str, Any]:
        """Begin or resume the run, and return its result."""
        options, folder = self.options, self.folder
        self._check()
        folder.check_writable()
        dataset = self._load_data()
        with (
            runtime.Workers(options.threads or runtime.available_threads()) as workers,
            runs.interruptible() as self.bar.stop,
            self._warnings_as_notes(),
        ):
            # Whatever does not fit is reported here, before anything is written.
            observers = self.bar, self._announce
            run = runs.Run(self.config, dataset, folder, workers, *observers, options.force, options.explain)
            with say_if_slow("compiling the kernels (once on a machine; some seconds)", 1.0, options.quiet):
                runs.compile_kernels(run.network)
            waiting = f"which works in {folder.path}"
            with folder.opened(options.force, lambda holder: self._note(f"waiting for {holder}, {waiting}")):
                # Another process may have finished the run in the meantime.
                if result := self._find_result():
                    return result
                if folder.checkpoint.exists() and not options.force:
                    self._note(f"resuming {folder.path}")
                return run.execute()

    @contextmanager
    def _warnings_as_notes(self) -> Iterator[None]:
        def show(message: Warning | str, *_: Any, **__: Any) -> None:
            if isinstance(message, runs.PruningWarning):
                message = message.text(lambda name: flag_name("", name))
            self.bar.write(f"warning: {message}")

        with warnings.catch_warnings():
            for category in (runs.PruningWarning, runs.ResumeWarning):
                warnings.simplefilter("always", category)
            warnings.showwarning = show
            yield


@contextmanager
def say_if_slow(text: str, after: float, quiet: bool) -> Iterator[None]:
    """Print `text` on stderr if the block takes longer than `after` seconds."""
    timer = threading.Timer(after, lambda: quiet or print(text, file=sys.stderr, flush=True))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
