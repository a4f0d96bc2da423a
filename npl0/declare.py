"""Settings: frozen dataclasses whose fields know their range and their meaning.

The one declaration of a range checks the arguments of the Python interface and the values of files and flags, and
appears in help texts. This module imports nothing heavy, so that help is quick.
"""

import dataclasses
import difflib
import numbers
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any

_KIND_NAMES = {int: "a whole number", float: "a number", str: "a text"}
_NUMBERS = {int: numbers.Integral, float: numbers.Real}


class Npl0Error(Exception):
    """The base of the errors whose message is written for the user: it names the value, the cause and the remedy."""

    exit_code = 1


class ConfigError(Npl0Error, ValueError):
    """A setting is unknown, out of range, or does not fit the others."""

    exit_code = 2


def setting(default: Any, help: str, low=None, high=None, choices=(), above=None, metavar="", bare=None) -> Any:
    """Declare a field of a `Settings` class.

    Parameters
    ----------
    default, help : the default value, whose type is the field's type, and a description for help texts.
    low, high, above : numbers that bound the range, `low` and `high` inclusive, `above` exclusive; None: no bound.
    choices : the allowed texts, if there are only some.
    metavar : the name of the value in help texts.
    bare : the value of the flag when it is given without one; None: the flag needs a value.
    """
    metadata = {"help": help, "low": low, "high": high, "above": above, "choices": tuple(choices)}
    return field(default=default, metadata={**metadata, "metavar": metavar, "bare": bare})


def suggest(name: str, known: Iterable[str]) -> str:
    """Return `did you mean ...?` for a near miss, else the list of what is known."""
    by_lower_case = {entry.lower(): entry for entry in known}
    near = difflib.get_close_matches(name.lower(), by_lower_case, 1)
    return f"did you mean {by_lower_case[near[0]]!r}?" if near else f"use one of {', '.join(by_lower_case.values())}"


def allowed_range(metadata: Mapping[str, Any]) -> str:
    """Describe the range of a field in words; the empty string if it has none."""
    if metadata["choices"]:
        return "one of " + ", ".join(metadata["choices"])
    low, high, above = metadata["low"], metadata["high"], metadata["above"]
    if above is not None:
        return f"above {above:g}" + (f", at most {high:g}" if high is not None else "")
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    return f"at least {low:g}" if low is not None else ""


def declared(section: type["Settings"]) -> list[dataclasses.Field]:
    """Return the fields of a class that were declared by `setting`."""
    return [entry for entry in dataclasses.fields(section) if entry.metadata]


@dataclasses.dataclass(frozen=True)
class Settings:
    """The base of all settings: ConfigError if the type or the range of a declared field is wrong."""

    def __post_init__(self) -> None:
        for entry in declared(type(self)):
            object.__setattr__(self, entry.name, _checked(entry, getattr(self, entry.name)))


def _checked(entry: dataclasses.Field, value: Any) -> Any:
    kind, metadata = type(entry.default), entry.metadata
    # NumPy's scalars count as numbers; the stored value is Python's own, which JSON and TOML can write.
    if isinstance(value, _NUMBERS.get(kind, ())) and not isinstance(value, bool):
        value = kind(value)
    if type(value) is not kind:
        raise ConfigError(f"{entry.name} must be {_KIND_NAMES[kind]}, not {value!r}")
    if metadata["choices"] and value not in metadata["choices"]:
        raise ConfigError(f"{entry.name} {value!r} is unknown: {suggest(value, metadata['choices'])}")
    # Written so that NaN, which compares false with everything, is out of every range.
    low, high, above = metadata["low"], metadata["high"], metadata["above"]
    if not ((low is None or value >= low) and (above is None or value > above) and (high is None or value <= high)):
        raise ConfigError(f"{entry.name} = {value} is out of range: it must be {allowed_range(metadata)}")
    return value
