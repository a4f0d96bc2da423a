"""The model file: the description of a network and its arrays in one file, from which it is built again.

It is an `.npz` or, if its name says so, a safetensors file. The header (plain JSON values) holds the result of
`describe_network` under `network`, beside whatever else the writer adds (classes, settings, data). A layer class of
your own must be defined when such a file is loaded.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from npl0.nn.network import Network
from npl0.nn.parameter import check_arrays
from npl0.storage.archive import CheckpointError, load_arrays, save_arrays
from npl0.storage.description import build_described, describe_network
from npl0.storage.files import reported
from npl0.storage.tensors import load_tensors, save_tensors


def save_model(path: str | Path, network: Network, data: Any = None, **header: Any) -> None:
    """Write a network to a file, atomically.

    Parameters
    ----------
    path : where to write; an existing file is replaced. A name that ends in `.safetensors` gives such a file, with the
        description in its metadata (the extra `export`).
    network : its arrays are stored as they are; after `Pruner.finalise` the weights are the pruned ones.
    data : the `Dataset` that it was trained on; the file then names its classes, for `predict`, and its fingerprint,
        by which `eval` tells whether it measures on the same data.
    header : further JSON values to store, such as `classes`, the names of the classes.

    Raises
    ------
    ValueError
        If there are more classes than outputs, an array holds NaN or infinity, `settings` or `data` is no dictionary,
        or the layers do not fit each other or their arrays any more.
    """
    if hasattr(data, "describe"):
        header, data = {"classes": data.classes, **header}, data.describe()
    if data is not None:
        header["data"] = data
    if "classes" in header:
        header["classes"] = classes = list(header["classes"])
        if len(classes) > network.output_shape[0]:
            raise ValueError(f"{len(classes)} classes are named, but the network has {network.output_shape[0]}")
    if reserved := sorted({"format", "arrays"} & header.keys()):
        raise ValueError(f"npl0 itself writes {' and '.join(reserved)} into the header; choose another word")
    _check_stored(header, network.state())
    described = {**header, "kind": "model", "network": describe_network(network)}
    # Layers or their arrays may have been replaced since the network was made.
    try:
        check_arrays(network.name, build_described(described["network"]).state(), network.state())
    except ValueError as error:
        raise ValueError(
            f"{network.name} could not be read again: {error}; make a new network of its layers"
        ) from error
    if Path(path).suffix == ".safetensors":
        save_tensors(path, described, network.state())
    else:  # compression is what makes the zeros of a pruned network cheap
        save_arrays(path, described, network.state(), compress=True)


def load_model(path: str | Path) -> Network:
    """Build a network from a model file or from the folder of a finished run.

    Parameters
    ----------
    path : a file that `save_model` or a run wrote, or a run folder.

    Returns
    -------
    network : with the stored weights; ready for `predict`, and for more training (after pruning, with
        `npl0.FixedMask(network)`). Its `header` holds the values stored beside the arrays: `network`, and for a run
        also `classes`, `settings` and `data`.

    Raises
    ------
    CheckpointError
        If there is no such file, or it is damaged, or not a model.
    """
    path = find_model(path)
    shapes: dict[str, Any] = {}

    def room(header: dict[str, Any]) -> int:
        # The zeros of a network that is not drawn take no memory, so that what is described costs nothing yet; deflate
        # packs at most 1,032 bytes into one.
        blank = build_described({**header["network"], "dtype": "float32"}, most=1032 * path.stat().st_size)
        shapes.update({name: array.shape for name, array in blank.state().items()})
        return (1 << 24) + 8 * sum(map(math.prod, shapes.values()))

    with reported(CheckpointError, f"{path} is damaged or not a model of npl0's", "make it again"):
        own = path.suffix == ".safetensors"
        header, arrays = load_tensors(path, room) if own else load_arrays(path, "model", room)
        if shapes != {name: array.shape for name, array in arrays.items()}:
            raise ValueError("its arrays do not have the names and shapes of its layers")
        network = build_described(header["network"])
        network.load_state(arrays)
        _check_stored(header, arrays)
    network.header = header
    return network


def _check_stored(header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    for key, kind in {"classes": list, "settings": dict, "data": dict}.items():
        if not isinstance(header.get(key, kind()), kind):
            raise ValueError(f"{key} of its header is no {kind.__name__}")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name} holds NaN or infinity, so this is no model to use")


def find_model(path: str | Path) -> Path:
    """Return the model file in a run folder; a path that is not a folder is returned unchanged.

    CheckpointError, which says why and what to pass instead, if there is no such path or no model in the folder.
    """
    folder = Path(path)
    model = folder / "model.npz"
    if folder.is_file() or model.is_file():
        return folder if folder.is_file() else model
    if not folder.exists():
        fault = f"{folder} does not exist (the current directory is {Path.cwd()}); name a finished run or its model.npz"
    elif (folder / "checkpoint.npz").is_file():
        command = f"python -m npl0.run --config {folder / 'config.toml'} --out {folder.parent}"
        fault = f"the run {folder} is not finished; finish it with: {command}"
    elif (folder / "result.json").is_file():
        remedy = "repeat the run in another --out, or replace this one with --force"
        fault = f"the run {folder} is finished, but its model.npz is not there; {remedy}"
    else:
        inside = sorted(entry.parent.name for entry in folder.glob("*/model.npz"))
        hint = f"it holds the runs {', '.join(inside[:5])}: name one of them" if inside else ""
        fault = f"{folder} has no model.npz; {hint or 'name the folder of a finished run'}"
    raise CheckpointError(fault)
