"""Measure the size of a pruned network in several formats, and its accuracy in each, as a Markdown table.

Usage: python experiments/sparse_sizes.py RUN... [--data-dir FOLDER]

- dense: all weights and biases as float32.
- masked .npz: the model.npz of the run, whose zeros are deflated.
- CSR: for each weight that is kept float32 and an int32 column, for each row an int32, and the biases as float32.
- model.npl0: see docs/format.md.
"""

import argparse
import sys
import time

import numpy as np

import npl0
from npl0.sparse import compact, reader, to_npl0
from npl0.storage.model_file import find_model


def accuracy_of(model: reader.Model, network: npl0.Network, dataset: npl0.Dataset) -> float:
    """Return the accuracy of what was read, computed by npl0, which is faster than the reader."""
    small = compact(network)
    arrays = [given for _, given in model.layers if "weight" in given]
    for layer, given in zip((layer for layer in small.layers if layer.kind in ("conv", "fc")), arrays, strict=True):
        layer.weight.value, layer.bias.value = given["weight"], given["bias"][:, 0]
    return npl0.count_correct(small, dataset.test_images, dataset.test_labels) / len(dataset.test_labels)


def main() -> None:
    """Print a table for each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a run folder")
    parser.add_argument("--data-dir", help="files to measure on (default: the run's own data)")
    options = parser.parse_args()
    for run in options.runs:
        network = npl0.load_model(run)
        dataset = npl0.load_dataset(network.header["settings"]["data"], options.data_dir)
        accuracy = npl0.count_correct(network, dataset.test_images, dataset.test_labels) / len(dataset.test_labels)
        kept = sum(np.count_nonzero(weight.value) for weight in network.weights)
        rows = sum(len(weight.value) for weight in network.weights)
        beside = 4 * sum(parameter.size for parameter in network.parameters if parameter.kind != "weight")
        sizes = {
            "dense, float32": 4 * sum(weight.size for weight in network.weights) + beside,
            "masked `.npz`": find_model(run).stat().st_size,
            "CSR, float32": 8 * kept + 4 * rows + beside,
        }
        print(f"\n{run}: {kept:,} weights kept\n\n| file | bytes | accuracy |\n|---|---|---|")
        for name, size in sizes.items():
            print(f"| {name} | {size:,} | {100 * accuracy:.2f} % |")
        for precision in reader.PRECISIONS:
            content = to_npl0(network, precision, network.header["classes"])
            start = time.perf_counter()
            model = reader.parse(content)
            seconds = time.perf_counter() - start
            accuracy = accuracy_of(model, network, dataset)
            print(f"| `model.npl0`, {precision} | {len(content):,} | {100 * accuracy:.2f} % |", flush=True)
            print(f"{precision}: read in {seconds:.2f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
