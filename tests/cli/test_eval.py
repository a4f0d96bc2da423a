"""`eval` repeats the numbers of a run on its own data, and measures on other data."""

import json
from pathlib import Path

import numpy as np

import npl0
from npl0.cli import run as run_module
from npl0.data.cifar10 import RECORD

ROOT = Path(__file__).parent.parent.parent


def test_eval_repeats_the_accuracy_of_the_run(command, finished):
    result = json.loads((finished / "result.json").read_text())
    for target in (finished, finished / "model.npz"):
        code, out, err = command("eval", target, "--json", "--threads", "2")
        answer = json.loads(out)
        assert (code, err) == (0, "")
        assert answer["accuracy"] == result["accuracy"]["retrained"] > 0.5
        assert (answer["correct"], answer["total"]) == (result["correct"]["retrained"], 500)
        assert (answer["weights_kept"], answer["weights"]) == (result["nnz"]["weights"], 266_200)
        assert answer["compression_ratio"] == result["compression_ratio"] and answer["same_data"]
    code, out, err = command("eval", finished)
    assert (code, err) == (0, "")
    assert f"accuracy      {100 * answer['accuracy']:.2f} % ({answer['correct']} of 500)" in out
    assert f"kept          {answer['weights_kept']:,} of 266,200 weights (4.0x)" in out


def test_eval_of_the_training_images(command, finished):
    _, out, _ = command("eval", finished, "--split", "train", "--json")
    answer = json.loads(out)
    assert (answer["split"], answer["total"]) == ("train", 2000)
    assert answer["accuracy"] > 0.5


def test_eval_on_other_data_says_so(command, finished, tmp_path, write_idx):
    data = npl0.load_dataset("synthetic")
    for part, images, labels in (
        ("train", data.train_images[:10], data.train_labels[:10]),
        ("t10k", data.test_images[:100], data.test_labels[:100]),
    ):
        write_idx(tmp_path / f"{part}-images-idx3-ubyte.gz", images[:, 0])
        write_idx(tmp_path / f"{part}-labels-idx1-ubyte.gz", labels.astype(np.uint8))
    code, out, err = command("eval", finished, "--data-dir", tmp_path, "--json")
    assert code == 0 and json.loads(out)["total"] == 100 and json.loads(out)["accuracy"] > 0.5
    assert not json.loads(out)["same_data"]
    assert err == "note: this is not the data that the network was trained on\n"
    # A set of another size is refused.
    write_idx(tmp_path / "train-images-idx3-ubyte.gz", data.train_images[:10, 0, :20, :20])
    write_idx(tmp_path / "t10k-images-idx3-ubyte.gz", data.test_images[:100, 0, :20, :20])
    code, _, err = command("eval", finished, "--data-dir", tmp_path)
    assert code == 1 and f"takes images of shape (1, 28, 28) in at most 10 classes; {tmp_path.name} has" in err


def test_eval_knows_the_data_of_a_model_that_was_saved_with_them(command, tmp_path):
    data, network = npl0.load_dataset("synthetic"), npl0.build_model("lenet300")
    npl0.save_model(tmp_path / "m.npz", network, data)
    header = npl0.load_model(tmp_path / "m.npz").header
    assert (header["classes"], header["data"]["fingerprint"]) == (list(data.classes), data.fingerprint)
    code, out, err = command("eval", tmp_path / "m.npz", "--json")
    answer = json.loads(out)
    assert (code, err) == (0, "") and answer["same_data"] is True and answer["canonical"] is data.canonical
    assert answer["correct"] == npl0.count_correct(network, data.test_images, data.test_labels)
    # Of data that npl0 does not have, the name alone is no help.
    parts = ("train_images", "train_labels", "test_images", "test_labels")
    npl0.save_model(tmp_path / "m.npz", network, npl0.Dataset("mine", *(getattr(data, part)[:50] for part in parts)))
    code, _, err = command("eval", tmp_path / "m.npz")
    assert code == 1 and "was trained on mine, which npl0 cannot load by name; give --data-dir" in err


def test_eval_says_nothing_of_data_that_the_file_does_not_name_and_that_a_set_is_not_canonical(
    command, tmp_path, write_idx
):
    data = npl0.load_dataset("synthetic")
    for part, name in (("train", "train"), ("test", "t10k")):
        write_idx(tmp_path / f"{name}-images-idx3-ubyte.gz", getattr(data, f"{part}_images")[:50, 0])
        write_idx(tmp_path / f"{name}-labels-idx1-ubyte.gz", getattr(data, f"{part}_labels")[:50].astype(np.uint8))
    npl0.save_model(tmp_path / "m.npz", npl0.build_model("lenet300"))
    code, out, err = command("eval", tmp_path / "m.npz", "--data-dir", tmp_path)
    assert (code, err) == (0, "") and f"test images of {tmp_path.name} (not the canonical set)" in out
    _, out, _ = command("eval", tmp_path / "m.npz", "--data-dir", tmp_path, "--json")
    assert json.loads(out)["same_data"] is None and json.loads(out)["canonical"] is False


def test_eval_reads_rgb_data_for_a_network_that_takes_it(command, tmp_path):
    generator = np.random.default_rng(0)
    for part in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"):
        records = generator.integers(0, 256, (20, RECORD), np.uint8)
        records[:, 0] = np.arange(20) % 10
        records.tofile(tmp_path / f"{part}.bin")
    network = npl0.build_vgg16(width=0.02)
    npl0.save_model(tmp_path / "v.npz", network)
    code, out, _ = command("eval", tmp_path / "v.npz", "--data-dir", tmp_path, "--json")
    answer = json.loads(out)
    images = npl0.load_dataset("cifar10", tmp_path).test_images
    size = sum(weight.size for weight in network.weights)
    assert (code, answer["data"], answer["total"], answer["weights"]) == (0, tmp_path.name, 20, size)
    assert answer["correct"] == (network.predict(images).argmax(axis=1) == np.arange(20) % 10).sum()


def test_eval_offline_never_downloads(command, monkeypatch, tmp_path):
    # A proxy that cannot be there: should it ask the network all the same, it fails at once and says something else.
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("NPL0_DATA", str(tmp_path / "cache"))
    monkeypatch.setenv("NPL0_OFFLINE", "0")
    npl0.save_model(tmp_path / "v.npz", npl0.build_vgg16(width=0.02), settings={"data": "cifar10"})
    code, out, err = command("eval", tmp_path / "v.npz", "--offline")
    assert (code, out) == (1, "") and "cifar10 is not in the cache" in err and "the network is off" in err


def test_eval_of_a_run_with_a_validation_split_says_so(command, tmp_path):
    run_module.main(
        [
            "--model",
            "lenet300",
            "--data",
            "synthetic",
            "--method",
            "magnitude",
            "--quiet",
            "--epochs",
            "1",
            "--retrain-epochs",
            "0",
            "--validation",
            "100",
            "--out",
            str(tmp_path),
        ]
    )
    code, _, err = command("eval", *tmp_path.iterdir())
    assert code == 0 and "are those of its validation split" in err


def test_eval_refuses(command, finished, tmp_path):
    code, out, err = command("eval", tmp_path)
    assert (code, out) == (1, "") and "has no model.npz" in err
    code, _, err = command("eval", tmp_path / "nowhere")
    assert code == 1 and "nowhere does not exist" in err
    code, _, err = command("eval", finished, "--data-dir", tmp_path / "nowhere")
    assert code == 1 and "nowhere does not exist" in err
    code, _, err = command("eval", finished, "--threads", "0")
    assert code == 2 and "argument --threads: must be a whole number of at least 1, not 0" in err
    code, _, err = command("eval", finished, "--jsn")
    assert code == 2 and "did you mean '--json'?" in err
    npl0.save_model(tmp_path / "own.npz", npl0.build_model("lenet300"))
    code, _, err = command("eval", tmp_path / "own.npz")
    assert code == 1 and "names no data set; give --data-dir" in err
