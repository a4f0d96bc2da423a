"""Command-line flags, made from the fields of the settings."""

import argparse
import difflib
import re
from typing import Any, NoReturn

from npl0.declare import Settings, allowed_range, declared
from npl0.pruning.methods import METHODS
from npl0.settings.sections import SECTIONS, RunConfig


class Parser(argparse.ArgumentParser):
    """An argument parser that takes no abbreviations and suggests the nearest flag."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, allow_abbrev=False, **kwargs)

    def parse_args(self, args=None, namespace=None):
        """Parse, or exit with code 2 and a message that names the nearest flag."""
        namespace, unknown = self.parse_known_args(args, namespace)
        if unknown:
            first = unknown[0].split("=")[0]
            flags = [flag for action in self._actions for flag in action.option_strings]
            # A mistyped flag hardly means --help; and `lr` is the usual short name of the learning rate.
            known = [flag for flag in flags if flag.startswith("--") and flag != "--help"]
            near = difflib.get_close_matches(re.sub(r"\blr\b", "learning-rate", first), known, 1)
            hint = f"did you mean {near[0]!r}?" if near and first.startswith("-") else "see --help"
            self.error(f"unknown argument {first!r}: {hint}")
        return namespace

    def error(self, message: str) -> NoReturn:
        """Print the message alone, without the long usage, and exit with code 2."""
        self.exit(2, f"{self.prog}: {message}\n")


def add_config_flags(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every field of `RunConfig` and of its sections."""
    _add_section(parser.add_argument_group("what to run"), "", RunConfig)
    for name, section in SECTIONS.items():
        title = f"{METHODS[name].title} (--method {name})" if name in METHODS else f"{name}ing"
        _add_section(parser.add_argument_group(title), name, section)


def at_least_one(text: str) -> int:
    """Convert the value of a flag that takes a positive whole number."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text}")
    return int(text)


def add_thread_flag(parser: argparse._ActionsContainer) -> None:
    """Add `--threads`."""
    parser.add_argument("--threads", type=at_least_one, metavar="N", help="threads (default: the cores)")


def flag_name(section: str, name: str) -> str:
    """Return the flag of a field: `--retrain-epochs` for `epochs` of `retrain`, `--epochs` for that of `train`."""
    # Only the fields of retraining have the names of other fields.
    return "--" + (f"retrain_{name}" if section == "retrain" else name).replace("_", "-")


def _add_section(group: argparse._ArgumentGroup, name: str, section: type[Settings]) -> None:
    for entry in declared(section):
        words = [word for word in (allowed_range(entry.metadata), f"default {entry.default!r}") if word]
        group.add_argument(
            flag_name(name, entry.name),
            dest=f"{name}.{entry.name}",
            type=type(entry.default),
            default=argparse.SUPPRESS,
            metavar=entry.metadata["metavar"] or {int: "N", float: "X", str: "NAME"}[type(entry.default)],
            nargs=None if entry.metadata["bare"] is None else "?",
            const=entry.metadata["bare"],
            help=f"{entry.metadata['help']} ({'; '.join(words)})".replace("%", "%%"),
        )


def settings_from(namespace: argparse.Namespace) -> dict[str, Any]:
    """Return the settings that were given as flags: top-level ones, and nested ones by section."""
    settings: dict[str, Any] = {}
    for key, value in vars(namespace).items():
        section, dot, name = key.partition(".")
        if dot:
            (settings.setdefault(section, {}) if section else settings)[name] = value
    return settings


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return base, overridden by the settings of over; sections are merged."""
    sections = {key: {**base[key], **over[key]} for key in over if isinstance(base.get(key), dict)}
    return {**base, **over, **sections}
