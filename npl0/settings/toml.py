"""Settings as TOML files."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from npl0.declare import ConfigError
from npl0.storage.files import brief


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file; ConfigError names the file and the place of an error."""
    try:
        settings = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        _check(settings)
        return settings
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not valid TOML: {brief(error)}") from error


def _check(value: Any, depth: int = 0, longest: int = 1000) -> None:
    """Raise ValueError for values that no setting takes, and that messages could not show."""
    if isinstance(value, dict):
        for key, inner in value.items():
            _check(key)
            _check(inner, depth + 1, 4096 if key in ("data_dir", "init_from") else longest)
    for inner in value if isinstance(value, list) else ():
        _check(inner, depth + 1)
    wrong_text = isinstance(value, str) and (len(value) > longest or "\0" in value)
    if wrong_text or depth > 16 or (isinstance(value, int) and not -(2**63) <= value < 2**63):
        raise ValueError("a value is too long, holds NUL, has more than 64 bits, or is nested more than 16 deep")


def format_toml(settings: Mapping[str, Any]) -> str:
    """Write settings as TOML that `read_toml` reads back equal."""
    # Imported here, because only a run that is recorded or shown writes TOML.
    import tomli_w

    return tomli_w.dumps(settings)
