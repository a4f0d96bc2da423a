"""`python -m npl0 eval`: the accuracy of a stored network."""

import json
from typing import Any

from npl0 import data, runs, runtime, sparse, storage, training
from npl0.cli.guard import guard, note
from npl0.declare import ConfigError
from npl0.settings.flags import Parser, add_thread_flag


def main(arguments: list[str] | None = None, prog: str = "python -m npl0 eval") -> int:
    """Run the command; return its exit code."""
    parser = Parser(prog=prog, description="Measure the accuracy of a run's pruned network.")
    parser.add_argument("run", metavar="RUN", help="a run folder, or a model.npz")
    parser.add_argument("--data-dir", metavar="PATH", help="files to measure on (default: the run's own data)")
    parser.add_argument("--split", choices=("test", "train"), default="test", help="part of the data (default: test)")
    parser.add_argument("--offline", action="store_true", help="never download data")
    add_thread_flag(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object on stdout and nothing else there")
    options = parser.parse_args(arguments)
    return guard(lambda: _evaluate(options), prog)


def _evaluate(options: Any) -> None:
    network = storage.load_model(options.run)
    header = network.header
    dataset = _dataset_for(network, options.data_dir, options.offline)
    known = header.get("data", {}).get("fingerprint")
    # A file that was saved without its data does not say.
    same = None if known is None else known == dataset.fingerprint
    if same is False:
        note("this is not the data that the network was trained on")
    if header.get("settings", {}).get("validation"):
        note("the accuracies in this run's result.json are those of its validation split, not of this one")
    images, labels = (getattr(dataset, f"{options.split}_{what}") for what in ("images", "labels"))
    with runtime.Workers(options.threads or runtime.available_threads()) as workers:
        correct = training.count_correct(sparse.fold_batchnorm(network), images, labels, workers)
    weights = training.WeightCount.of_network(network)
    if options.json:
        answer = {
            "model": network.name,
            "data": dataset.name,
            "same_data": same,
            "canonical": dataset.canonical,
            "split": options.split,
            "accuracy": correct / len(labels),
            "correct": correct,
            "total": len(labels),
            "weights": weights.size,
            "weights_kept": weights.kept,
            "weights_live": weights.live,
            "compression_ratio": weights.compression_ratio if weights.kept else None,
            "effective_compression": weights.effective_compression if weights.live else None,
        }
        print(json.dumps(answer, indent=2))
        return
    canonical = "" if dataset.canonical else " (not the canonical set)"
    print(f"{network.name} on the {options.split} images of {dataset.name}{canonical}")
    print(f"accuracy      {100 * correct / len(labels):.2f} % ({correct:,} of {len(labels):,})")
    print(f"kept          {weights}")


def _dataset_for(network: Any, data_dir: str | None, offline: bool) -> Any:
    """Load the data that a model file names, or the files in its place; ConfigError if they do not fit the network."""
    settings = network.header.get("settings", {})
    # A file of `save_model` has no settings, and its data may be the user's own.
    name = settings.get("data") or network.header.get("data", {}).get("name")
    if data_dir is None and name not in [*data.DATASETS]:
        what = f"was trained on {name}, which npl0 cannot load by name" if name else "names no data set"
        raise data.DataError(f"this model file {what}; give --data-dir with its files")
    # IDX files hold grey images and CIFAR-10's format RGB; an .npz file may take the place of either.
    own = "cifar10" if network.input_shape[0] == 3 else "mnist"
    name, path = (own, data_dir) if data_dir else (name, settings.get("data_dir") or None)
    dataset = data.load_dataset(name, path, offline)
    try:
        runs.check_data(network, dataset.name, dataset.image_shape, dataset.n_classes)
    except ConfigError as error:
        raise data.DataError(str(error)) from error
    return dataset
