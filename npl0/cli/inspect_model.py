"""`python -m npl0 eval`, `predict` and `summary`: what a trained network can do, and what it is made of."""

import json
import sys
from typing import TYPE_CHECKING, Any

from npl0.cli.guard import guarded
from npl0.settings.flags import Parser
from npl0.settings.sections import MODEL_NAMES, ConfigError, RunConfig, suggest

# Heavy imports wait inside the functions, so that help and usage errors are quick.
if TYPE_CHECKING:
    import numpy as np

    from npl0.data import Dataset
    from npl0.nn import Layer, Network

RUN_HELP = "a run folder, or a model.npz"


class InspectError(ValueError):
    """What was asked for cannot be done; the message says why."""


# ---- eval -----------------------------------------------------------------------------------------------------------


def eval_command(arguments: list[str], prog: str) -> int:
    """Measure the accuracy of a stored network; return the exit code."""
    parser = Parser(prog=prog, description="Measure the accuracy of a run's pruned network.")
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument("--data-dir", metavar="DIR", help="files to measure on (default: the run's own data)")
    parser.add_argument("--split", choices=("test", "train"), default="test", help="part of the data (default: test)")
    parser.add_argument("--offline", action="store_true", help="never download data")
    parser.add_argument("--threads", type=int, metavar="N", help="threads (default: the cores)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else there")
    options = parser.parse_args(arguments)
    if options.threads is not None and options.threads < 1:
        parser.error(f"threads = {options.threads} is out of range: it must be at least 1")
    return _guarded(lambda: _evaluate(options), prog)


def _evaluate(options: Any) -> None:
    from npl0.cli.tables import ratio
    from npl0.nn import fold_batchnorm
    from npl0.runtime.threads import Workers, available_threads
    from npl0.storage.model_file import load_model
    from npl0.training.metrics import count_correct, measure_layers

    network, header = load_model(options.run)
    dataset = _dataset_for(network, header, options.data_dir, options.offline)
    same = dataset.fingerprint == header.get("data", {}).get("fingerprint")
    if not same:
        _say("this is not the data that the network was trained on")
    if header.get("settings", {}).get("validation"):
        _say("the accuracies in this run's result.json are those of its validation split, not of this one")
    images, labels = (
        (dataset.test_images, dataset.test_labels)
        if options.split == "test"
        else (dataset.train_images, dataset.train_labels)
    )
    with Workers(options.threads or available_threads()) as workers:
        correct = count_correct(fold_batchnorm(network), images, labels, workers)
    layers = measure_layers(network)
    size, kept = sum(row.size for row in layers), sum(row.nnz for row in layers)
    if options.json:
        answer = {
            "model": network.name,
            "data": dataset.name,
            "same_data": same,
            "split": options.split,
            "accuracy": correct / len(labels),
            "correct": correct,
            "total": len(labels),
            "weights": size,
            "weights_kept": kept,
            "compression_ratio": size / kept if kept else None,
        }
        print(json.dumps(answer, indent=2))
        return
    print(f"{network.name} on the {options.split} images of {dataset.name}")
    print(f"accuracy      {100 * correct / len(labels):.2f} % ({correct:,} of {len(labels):,})")
    print(f"weights kept  {kept:,} of {size:,} ({ratio(size, kept)})")


def _dataset_for(network: "Network", header: dict[str, Any], data_dir: str | None, offline: bool) -> "Dataset":
    """Load the data that a model file names, or the directory in its place; InspectError if it does not fit."""
    from npl0.data import load_dataset

    settings = header.get("settings", {})
    if data_dir is None and "data" not in settings:
        raise InspectError("this model file names no data set; give --data-dir with its files")
    if data_dir is not None:
        # IDX files, which the loader of mnist reads, hold grey images; CIFAR-10's own format is for RGB.
        dataset = load_dataset("cifar10" if network.input_shape[0] == 3 else "mnist", data_dir, offline)
    else:
        dataset = load_dataset(settings["data"], settings.get("data_dir") or None, offline)
    if dataset.image_shape != network.input_shape or dataset.n_classes > network.output_shape[0]:
        raise InspectError(
            f"{network.name} takes images of shape {network.input_shape} in at most {network.output_shape[0]} classes; "
            f"{dataset.name} has {dataset.image_shape} in {dataset.n_classes}"
        )
    return dataset


# ---- predict --------------------------------------------------------------------------------------------------------

PREDICT_DESCRIPTION = """\
Classify images. Pixel values are 0..255; for networks that take grey ones, ink is bright on a dark ground, as in MNIST.
An IMAGE is a picture (PNG, JPEG and whatever else Pillow reads), an IDX file of grey images, plain or .gz, or a .npy
array, integers or floats, of shape (H, W) or (N, H, W) if grey, (H, W, 3) or (N, H, W, 3) if RGB, or (C, H, W) or
(N, C, H, W). Arrays whose largest value is 1 are refused, not guessed at: --scale 255 takes them.
Pictures become grey (or RGB, as the network needs), what is transparent becomes white, and another size is scaled to
the network's."""


def predict_command(arguments: list[str], prog: str) -> int:
    """Classify image files with a stored network; return the exit code."""
    parser = Parser(prog=prog, description=PREDICT_DESCRIPTION)
    parser.add_argument("run", metavar="RUN", help=RUN_HELP)
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="a file of one image or of several")
    parser.add_argument("--top", type=int, default=1, metavar="K", help="likeliest classes to show (default: 1)")
    parser.add_argument("--invert", action="store_true", help="the images have dark ink on a light ground")
    parser.add_argument(
        "--scale", type=float, default=1.0, metavar="X", help="factor on the values of arrays; 255 for values in 0..1"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON array on stdout and nothing else there")
    options = parser.parse_args(arguments)
    if options.top < 1:
        parser.error(f"top = {options.top} is out of range: it must be at least 1")
    if not 0 < options.scale <= 1e6:
        parser.error(f"scale = {options.scale:g} is out of range: it must be above 0, at most 1e6")
    return _guarded(lambda: _predict(options), prog)


def _predict(options: Any) -> None:
    import numpy as np

    from npl0.data.images import read_images
    from npl0.nn import fold_batchnorm
    from npl0.storage.model_file import load_model

    network, header = load_model(options.run)
    # Every file is read before the first line is printed, so that a bad one does not leave half an answer.
    parts = [read_images(path, network.input_shape, options.scale, options.invert, _say) for path in options.images]
    names = [
        path if len(part) == 1 else f"{path}[{i}]"
        for path, part in zip(options.images, parts, strict=True)
        for i in range(len(part))
    ]
    probabilities = softmax(fold_batchnorm(network).predict(np.concatenate(parts)))
    # A set of fewer classes than the network has outputs leaves the others without a name.
    named = header.get("classes") or []
    classes = [*named, *(str(i) for i in range(len(named), probabilities.shape[1]))]
    answers = []
    for name, row in zip(names, probabilities, strict=True):
        likeliest = np.argsort(-row, kind="stable")[: options.top]
        top = [{"class": classes[i], "probability": float(row[i])} for i in likeliest]
        answers.append({"image": name, **top[0], "top": top})
    if options.json:
        print(json.dumps(answers, indent=2))
        return
    for answer in answers:
        print(answer["image"] + "".join(f"  {c['class']} {100 * c['probability']:.2f} %" for c in answer["top"]))


def softmax(logits: "np.ndarray") -> "np.ndarray":
    """Return `exp(x) / sum exp(x)` of every row, float64, (N, classes)."""
    import numpy as np

    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


# ---- summary --------------------------------------------------------------------------------------------------------


def summary_command(arguments: list[str], prog: str) -> int:
    """Show the layers of a model or of a stored network; return the exit code."""
    parser = Parser(prog=prog, description="Show the layers of a model: shapes, weights, multiply-adds of one example.")
    parser.add_argument("model", metavar="MODEL|RUN", help=f"one of {', '.join(MODEL_NAMES)}, or {RUN_HELP}")
    parser.add_argument(
        "--width", type=float, metavar="X", help="factor on the channels of vgg16's layers (default: 1)"
    )
    parser.add_argument(
        "--conv", metavar="NAME", help="convolution algorithm: auto, im2col or winograd (default: auto)"
    )
    options = parser.parse_args(arguments)
    chosen = {name: value for name in ("width", "conv") if (value := getattr(options, name)) is not None}
    if chosen and options.model not in MODEL_NAMES:
        parser.error(f"--{next(iter(chosen))} is for a MODEL, one of {', '.join(MODEL_NAMES)}; a RUN has its own")
    try:
        return _guarded(lambda: print(_summary(options.model, chosen)), prog)
    except ConfigError as error:
        parser.error(str(error))


def _summary(name: str, chosen: dict[str, Any]) -> str:
    from pathlib import Path

    from npl0.cli.tables import ratio, table
    from npl0.runs.build import build_network
    from npl0.storage.model_file import load_model
    from npl0.training.metrics import measure_layers

    stored = name not in MODEL_NAMES
    if stored and not Path(name).exists():
        raise InspectError(f"{name!r} is neither file nor model: {suggest(name, MODEL_NAMES)}")
    network = load_model(name)[0] if stored else build_network(RunConfig(model=name, **chosen))
    nnz = {row.name: row.nnz for row in measure_layers(network)}
    rows = list(network.summary())
    lines = [
        [
            row.name,
            row.kind,
            " x ".join(str(side) for side in row.output_shape),
            f"{row.weights:,}",
            *([f"{nnz.get(row.name, 0):,}"] if stored else []),
            f"{row.biases:,}",
            f"{row.macs:,}",
            _algorithm(layer),
        ]
        for row, layer in zip(rows, network.layers, strict=True)
    ]
    weights, kept = sum(row.weights for row in rows), sum(nnz.values())
    biases, macs = sum(row.biases for row in rows), sum(row.macs for row in rows)
    total = ["all", "", "", f"{weights:,}", *([f"{kept:,}"] if stored else []), f"{biases:,}", f"{macs:,}", ""]
    header = ["layer", "kind", "output", "weights", *(["kept"] if stored else []), "biases", "MACs", "convolution"]
    title = f"{network.name}: {' x '.join(str(side) for side in network.input_shape)} in"
    return f"{title}{f', compression {ratio(weights, kept)}' if stored else ''}\n\n{table(header, [*lines, total])}"


def _algorithm(layer: "Layer") -> str:
    from npl0.nn import Conv2d

    if not isinstance(layer, Conv2d):
        return ""
    tile, kernel_size = layer.tile, layer.weight.value.shape[2]
    return f"winograd F({tile}x{tile},{kernel_size}x{kernel_size})" if tile else "im2col"


# ---- what they share ------------------------------------------------------------------------------------------------


def _guarded(work: Any, prog: str) -> int:
    """Do the work, and return the exit code."""
    from npl0.data import DataError
    from npl0.data.images import ImageError
    from npl0.storage.archive import CheckpointError

    return guarded(work, prog, InspectError, CheckpointError, DataError, ImageError)


def _say(line: str) -> None:
    print(f"note: {line}", file=sys.stderr)
