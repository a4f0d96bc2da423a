"""A section of settings: a frozen dataclass whose fields know their range and what they are."""

import dataclasses
import difflib
import numbers
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any


class ConfigError(ValueError):
    """A setting is unknown or out of range; the message names the value, the range and the remedy."""


def setting(
    default: Any,
    help: str,
    low: float | None = None,
    high: float | None = None,
    choices: Iterable[str] | None = None,
    above: float | None = None,
    metavar: str = "",
    bare: Any = None,
) -> Any:
    """Declare a field.

    Parameters
    ----------
    default, help : its value if nothing is said, and what it is.
    low, high, above, choices : its range: `low` and `high` inclusive, `above` exclusive.
    metavar : what help texts call its value.
    bare : the value of its flag when given without one; None: the flag needs a value.
    """
    metadata = {"help": help, "low": low, "high": high, "above": above, "choices": tuple(choices or ())}
    metadata |= {"metavar": metavar, "bare": bare}
    return field(default=default, metadata=metadata)


def suggest(name: str, known: Iterable[str]) -> str:
    """Return `did you mean ...?` for a near miss, else the list of what is known."""
    known = list(known)
    near = difflib.get_close_matches(name.lower(), known, 1)
    return f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(known)}"


def allowed_range(metadata: Mapping[str, Any]) -> str:
    """Describe the range of a field in words, for help texts and errors; empty if there is none."""
    if metadata["choices"]:
        return "one of " + ", ".join(metadata["choices"])
    low, high, above = metadata["low"], metadata["high"], metadata["above"]
    if above is not None:
        return f"above {above:g}" + (f", at most {high:g}" if high is not None else "")
    if low is not None and high is not None:
        return f"{low:g} to {high:g}"
    return f"at least {low:g}" if low is not None else ""


_KIND_NAMES = {int: "a whole number", float: "a number", str: "a text"}


class Settings:
    """The base of all settings: checks every field against its type and range."""

    def __post_init__(self) -> None:
        for entry in dataclasses.fields(self):
            value = getattr(self, entry.name)
            if dataclasses.is_dataclass(value):
                continue
            object.__setattr__(self, entry.name, self._checked(entry, value))

    def _checked(self, entry: dataclasses.Field, value: Any) -> Any:
        kind = type(entry.default)
        # NumPy's scalars are numbers too; what is kept is Python's own, which JSON and TOML can write.
        if kind is float and isinstance(value, numbers.Real) and not isinstance(value, bool):
            value = float(value)
        if kind is int and isinstance(value, numbers.Integral) and not isinstance(value, bool):
            value = int(value)
        if type(value) is not kind:
            raise ConfigError(f"{entry.name} must be {_KIND_NAMES[kind]}, not {value!r}")
        metadata = entry.metadata
        out_of_range = (
            (metadata["choices"] and value not in metadata["choices"])
            or (metadata["low"] is not None and not value >= metadata["low"])
            or (metadata["above"] is not None and not value > metadata["above"])
            or (metadata["high"] is not None and not value <= metadata["high"])
        )
        if metadata["choices"] and out_of_range:
            raise ConfigError(f"{entry.name} {value!r} is unknown: {suggest(value, metadata['choices'])}")
        if out_of_range:
            raise ConfigError(f"{entry.name} = {value} is out of range: it must be {allowed_range(metadata)}")
        return value
