"""Command-line flags made from the fields of the settings."""

import argparse
import dataclasses
import difflib
import re
from typing import Any, NoReturn

from npl0.runtime.settings import Settings, allowed_range
from npl0.settings.sections import SECTIONS, RunConfig

# Flags of a section get this before the field's name; fields of the others have names of their own.
_PREFIX = {"retrain": "retrain_"}
_TITLES = {
    "train": "training",
    "l0": "L0 gates (--method l0)",
    "magnitude": "magnitude (--method magnitude)",
    "retrain": "retraining",
}


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
            # Nobody who looks for another flag means --help; and the field says lr.
            known = [flag for flag in flags if flag.startswith("--") and flag != "--help"]
            meant = re.sub(r"\blr\b", "learning-rate", first)
            near = difflib.get_close_matches(meant, known, 1) if first.startswith("-") else []
            self.error(f"unknown argument {first!r}: {f'did you mean {near[0]!r}?' if near else 'see --help'}")
        return namespace

    def error(self, message: str) -> NoReturn:
        """Print the message alone, without the long usage, and exit with code 2."""
        self.exit(2, f"{self.prog}: {message}\n")


def add_config_flags(parser: argparse.ArgumentParser) -> None:
    """Add one flag for every field of `RunConfig` and its sections."""
    _add_section(parser.add_argument_group("what to run"), "", RunConfig)
    for name, section in SECTIONS.items():
        _add_section(parser.add_argument_group(_TITLES[name]), name, section)


def flag_name(section: str, name: str) -> str:
    """Return the flag of a field: `--retrain-epochs` for `epochs` of `retrain`, `--epochs` for that of `train`."""
    return "--" + (_PREFIX.get(section, "") + name).replace("_", "-")


def _add_section(group: argparse._ArgumentGroup, name: str, section: type[Settings]) -> None:
    for entry in dataclasses.fields(section):
        if not entry.metadata:
            continue
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
        if not dot:
            continue
        if section:
            settings.setdefault(section, {})[name] = value
        else:
            settings[name] = value
    return settings


def merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Return base with the settings of over in its place, sections merged."""
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = {**base[key], **value} if both else value
    return merged
