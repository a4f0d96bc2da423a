"""Snapshots: they hold what the network was, in a bounded size, and survive a resumed run."""

import numpy as np
import pytest

import npl0
from npl0.pruning.base import Pruner
from npl0.pruning.fixed_mask import FixedMask
from npl0.runs.snapshots import BINS, LEVELS, MOMENTS, MOST_CELLS, MOST_EPOCHS, Snapshots, cells, grids
from npl0.storage.archive import CheckpointError, load_arrays


def loaded(folder):
    """Return header and arrays of a run's snapshots."""
    return load_arrays(folder / "snapshots.npz", "set of snapshots")


@pytest.mark.parametrize("method", ["l0", "magnitude", "dense"])
def test_a_run_records_every_moment(run, tmp_path, runs, method):
    assert run(*runs.FLAGS_OF[method], "--quiet")[0] == 0
    folder = runs.folder_in(tmp_path / "runs")
    header, arrays = loaded(folder)
    moments = [(MOMENTS[stage], epoch) for stage, epoch, _ in arrays["moments"]]
    trained = [("start", 0), ("train", 1), ("train", 2)]
    assert moments == trained + [("pruned", 2), ("retrain", 1)] * (method != "dense")
    network = npl0.load_model(folder)
    final = [np.count_nonzero(weight.value) for weight in network.weights]
    assert arrays["kept"][-1].tolist() == final
    assert [shape for _, shape in header["layers"]] == [[300, 784], [100, 300], [10, 100]]
    # The smallest layer has a cell for each weight.
    last = arrays["cells"][-1, -1000:].reshape(10, 100)
    assert np.array_equal(last, LEVELS * (network.weights[-1].value != 0))
    assert np.allclose(arrays["first"][-1, 0, 0].ravel(), (network.weights[0].value != 0).mean(axis=0), atol=1e-3)
    if method == "l0":
        assert arrays["moments"][:, 2].tolist() == [0, 0, 0, 0, 1], "log_alpha while there are gates, then |w|"
        assert (arrays["histogram"][0].sum(axis=1) == [235_200, 30_000, 1000]).all()
    else:
        assert (arrays["histogram"].sum(axis=2) == arrays["kept"]).all()
    labels = npl0.load_dataset("synthetic").test_labels
    right = (network.predict(npl0.load_dataset("synthetic").test_images).argmax(axis=1) == labels).sum()
    assert np.array_equal(arrays["labels"], labels)
    assert (arrays[f"predicted.{'trained' if method == 'dense' else 'retrained'}"] == labels).sum() == right


def test_the_images_that_pruning_lost_are_kept(run, tmp_path, runs):
    assert run("--method", "magnitude", "--compression", "60", "--quiet")[0] == 0
    _, arrays = loaded(runs.folder_in(tmp_path / "runs"))
    data = npl0.load_dataset("synthetic")
    before, after = (arrays[f"predicted.{point}"] == data.test_labels for point in ("trained", "pruned"))
    lost = np.flatnonzero(before & ~after)
    assert len(lost) > 12 and set(lost[:12]) <= set(arrays["picked"])
    assert np.array_equal(arrays["images"], data.test_images[arrays["picked"]])
    assert len(arrays["picked"]) <= 6 * 12


def small(weights):
    """Return a network of one linear layer with these weights."""
    network = npl0.Network([npl0.Linear(weights.shape[1], len(weights))], input_shape=(weights.shape[1],))
    network.weights[0].value = weights.astype(np.float32)
    return network


def test_a_long_stage_is_thinned_and_keeps_its_last_epoch():
    network = small(np.eye(3))
    snapshots, pruner = Snapshots(network), Pruner(network)
    for epoch in range(1, 101):
        snapshots.record("train", epoch, 100, pruner, pruner.masks())
    epochs = snapshots.arrays["moments"][:, 1]
    assert len(epochs) <= MOST_EPOCHS and epochs[0] == 5 and epochs[-1] == 100


def test_stored_snapshots_of_another_network_are_refused():
    stored = Snapshots(small(np.eye(3)))
    other = Snapshots(small(np.eye(4)))
    with pytest.raises(ValueError, match="cells has shape"):
        other.load_state(stored.state())
    other.load_state({})
    with pytest.raises(ValueError, match="do not belong to this run"):
        other.load_state({"moments": np.zeros((0, 3), np.int64)})


def test_a_damaged_file_is_reported(tmp_path):
    path = tmp_path / "snapshots.npz"
    Snapshots(small(np.eye(3))).write(path, ["a", "b", "c"])
    assert load_arrays(path, "set of snapshots")[0]["classes"] == ["a", "b", "c"]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(CheckpointError, match="repeat the run to make it again"):
        load_arrays(path, "set of snapshots")


@pytest.mark.parametrize(
    "shapes",
    [
        [(20, 25), (50, 500), (500, 800), (10, 500)],
        [(64, 27), *[(512, 4608)] * 12, (512, 512), (10, 512)],
        [(4096, 4096), (1, 1)],
        [(1, 10**6)],
    ],
)
def test_maps_have_a_bounded_size(shapes):
    sizes = grids(shapes, MOST_CELLS)
    assert MOST_CELLS / 2 < sum(rows * columns for rows, columns in sizes) <= MOST_CELLS
    for (rows, columns), shape in zip(sizes, shapes, strict=True):
        assert rows <= shape[0] and columns <= shape[1]
        assert len(cells(np.ones(shape, bool), rows, columns)) == rows * columns


def test_a_cell_shows_the_fraction_of_its_weights(generator):
    mask = generator.random((7, 10)) < 0.4
    assert np.array_equal(cells(mask, 7, 10).reshape(7, 10), LEVELS * mask)
    coarse = cells(mask, 3, 4).reshape(3, 4)
    for i, rows in enumerate((slice(0, 3), slice(3, 6), slice(6, 7))):
        for j, columns in enumerate((slice(0, 3), slice(3, 6), slice(6, 9), slice(9, 10))):
            assert coarse[i, j] == np.ceil(LEVELS * mask[rows, columns].mean() - 1e-9)
    # A single weight is seen, however large its cell is.
    one = np.zeros((100, 100), bool)
    one[50, 50] = True
    assert cells(one, 2, 2).max() == 1


def test_a_histogram_counts_everything(generator):
    weights = 10.0 ** (generator.standard_normal((10, 100)) * 4)
    network, pruner = small(weights), Pruner(small(weights))
    snapshots = Snapshots(network)
    snapshots.record("start", 0, 0, pruner, pruner.masks())
    places = np.log10(network.weights[0].value.astype(np.float64).ravel())
    bins = np.floor((np.clip(places, -6, 1.999) + 6) * BINS / 8).astype(int)
    assert snapshots.arrays["histogram"][0, 0].tolist() == np.bincount(bins, minlength=BINS).tolist()
    assert bins.min() == 0 and bins.max() == BINS - 1


def test_retraining_shows_weights(generator):
    network = small(generator.standard_normal((3, 4)))
    masks = {network.weights[0].name: np.eye(3, 4) > 0}
    snapshots = Snapshots(network)
    snapshots.record("retrain", 1, 1, FixedMask(network, masks), masks)
    assert snapshots.arrays["histogram"][0].sum() == 3 == snapshots.arrays["kept"][0, 0]
