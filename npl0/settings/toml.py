"""Settings as TOML files."""

import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from npl0.settings.sections import ConfigError


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a configuration file; ConfigError names the file and the place of an error."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def format_toml(settings: Mapping[str, Any]) -> str:
    """Write settings (scalars, then sections of scalars) as TOML that `read_toml` reads back equal."""
    scalars = {key: value for key, value in settings.items() if not isinstance(value, Mapping)}
    lines = [f"{key} = {_toml_value(value)}" for key, value in scalars.items()]
    for name, section in settings.items():
        if isinstance(section, Mapping):
            lines += ["", f"[{name}]", *(f"{key} = {_toml_value(value)}" for key, value in section.items())]
    return "\n".join(lines) + "\n"


def _toml_value(value: Any) -> str:
    # JSON's escapes are TOML's, but for surrogate pairs (so text stays as it is) and the DEL that JSON leaves bare.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
