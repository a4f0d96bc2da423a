"""safetensors files: those of npl0, which describe their network, and those of other programs, of weights alone."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from npl0.nn.network import Network
from npl0.storage.archive import FORMAT, CheckpointError
from npl0.storage.files import brief, optional, replacing, reported

_PYTORCH = {"scale": "weight", "shift": "bias"}  # its names for the arrays of a batch norm


def save_tensors(path: str | Path, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    """Replace a file with arrays by name; the header, plain JSON values, becomes the entry `npl0` of its metadata."""
    content = optional("safetensors.numpy").save(arrays, {"npl0": json.dumps({"format": FORMAT, **header})})
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def load_tensors(path: str | Path, check: Callable[[dict[str, Any]], Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read what `save_tensors` wrote; `check` sees the header first. Damage raises exceptions of many types."""
    with optional("safetensors").safe_open(path, "numpy") as file:
        stored = (file.metadata() or {}).get("npl0")
        if stored is None:
            raise CheckpointError(f"{path} describes no network; name it: python -m npl0 import {path} --model NAME")
        header = json.loads(stored)
        if header.get("format") != FORMAT:
            raise ValueError(f"it is of format {brief(header.get('format'))}, and this version of npl0 reads {FORMAT}")
        check(header)
        return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def import_weights(network: Network, path: str | Path) -> None:
    """Copy the weights in a safetensors file, such as that of a `state_dict` of PyTorch, into a network.

    The format keeps no order: each layer takes, of the modules with arrays of its shapes, the first by name, with
    numbers as numbers (`features.10` follows `features.3`). Batch norms are taken to add 1e-5 to the variance, the
    default of PyTorch.

    CheckpointError, which names the first layer that finds nothing, if the file cannot be read or does not fit.
    """
    tensors, modules = optional("safetensors"), dict[str, dict[str, np.ndarray]]()
    with reported(CheckpointError, f"{path} does not hold the weights of {network.name}", "import another file"):
        with tensors.safe_open(path, "numpy") as file:
            for name in sorted(file.keys(), key=lambda name: re.sub("[0-9]+", lambda n: n[0].zfill(9), name)):
                module, _, part = name.rpartition(".")
                if part != "num_batches_tracked":
                    array = modules.setdefault(module, {})[part] = file.get_tensor(name)
                    if array.dtype.kind != "f" or not np.isfinite(array.astype(network.dtype)).all():
                        raise ValueError(f"{name} holds {array.dtype}, and must hold finite floats")
        new = network.state()
        for layer in (layer for layer in network.layers if layer.parameters):
            names = [*(parameter.name for parameter in layer.parameters), *(f"{layer.name}.{b}" for b in layer.buffers)]
            own = {_PYTORCH.get(part, part): f"{layer.name}.{part}" for part in (name.split(".")[1] for name in names)}
            shapes = {part: new[name].shape for part, name in own.items()}
            fit = [m for m, parts in modules.items() if {part: array.shape for part, array in parts.items()} == shapes]
            if not fit:
                raise ValueError(f"{layer.name} needs {shapes}; left are {', '.join(modules) or 'none'}")
            new |= {own[part]: array.astype(network.dtype) for part, array in modules.pop(fit[0]).items()}
        if modules:
            raise ValueError(f"no layer takes {next(iter(modules))}")
        network.load_state(new)
