"""Settings as TOML files."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from npl0.runtime.settings import ConfigError


def read_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file; ConfigError names the file and the place of an error."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def format_toml(settings: Mapping[str, Any]) -> str:
    """Write settings as TOML that `read_toml` reads back equal."""
    # Imported here, because only a run that is recorded or shown writes TOML.
    import tomli_w

    return tomli_w.dumps(settings)
