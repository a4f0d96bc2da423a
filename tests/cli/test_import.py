"""`python -m npl0 import`, and the formats of `export` that other programs read."""

import numpy as np
import pytest

import npl0
from npl0.sparse import to_onnx

tensors = pytest.importorskip("safetensors.numpy", reason="the package safetensors, the extra export, is not installed")
pytest.importorskip("onnx", reason="ONNX files need the package onnx, the extra export")


@pytest.mark.parametrize("kind", ["onnx", "safetensors"])
def test_a_run_goes_out_and_what_comes_in_is_measured_alike(command, finished, tmp_path, kind):
    path = tmp_path / f"net.{kind}"
    code, out, err = command("export", finished, "--format", kind, "--out", path)
    assert (code, err) == (0, "") and out.startswith(f"{path}: {path.stat().st_size:,} bytes")
    if kind == "onnx":
        code, out, err = command("import", path, "--out", tmp_path / "net.npz")
        assert (code, err) == (0, "") and out.startswith(f"{tmp_path / 'net.npz'}: Network('net', (1, 28, 28) -> 10, ")
        path = tmp_path / "net.npz"
    flags = ["--split", "test", "--data-dir"]
    data = npl0.load_dataset("synthetic")
    np.savez(tmp_path / "data.npz", **{f"{part}_{what}": getattr(data, f"{part}_{what}") for part in ("train", "test")
                                       for what in ("images", "labels")})  # fmt: skip
    answers = [command("eval", run, *flags, tmp_path / "data.npz")[1] for run in (finished, path)]
    accuracy = [[line for line in answer.splitlines() if line.startswith("accuracy")] for answer in answers]
    assert accuracy[0] == accuracy[1] != []


def test_weights_come_into_a_model_that_is_pruned(command, tmp_path):
    network, path = npl0.build_model("mlp:9", seed=5), tmp_path / "w.safetensors"
    arrays = {f"net.{i}.{p.kind}": p.value for i in (1, 2) for p in network.parameters if p.layer == f"fc{i}"}
    tensors.save_file(arrays, path)
    model = tmp_path / "mlp.npz"
    code, out, err = command("import", path, "--model", "mlp:9", "--mean", "0.5", "--std", "0.25", "--out", model)
    assert (code, err) == (0, "") and out.startswith(f"{model}: Network('mlp:9'")
    stored = npl0.load_model(model)
    np.testing.assert_array_equal(stored.weights[1].value, network.weights[1].value)
    assert (float(stored.layers[0].mean[0]), float(stored.layers[0].std[0])) == (0.5, 0.25)
    flags = ["--data", "synthetic", "--method", "magnitude", "--compression", "4", "--epochs", "0", "--quiet"]
    code, _, err = command("run", "--model", "mlp:9", "--init-from", model, *flags, "--out", tmp_path / "runs")
    assert (code, err) == (0, "")
    (run,) = (tmp_path / "runs").iterdir()
    assert np.count_nonzero(npl0.load_model(run).weights[0].value) < 0.5 * 7056


def test_a_network_of_ones_own_needs_the_statistics(command, tmp_path):
    (tmp_path / "net.toml").write_text('layers = [{layer = "Standardise"}, {layer = "Flatten"},'
                                       ' {layer = "Linear", out_features = 4}]\n')  # fmt: skip
    tensors.save_file({"a.weight": np.ones((4, 784), np.float32), "a.bias": np.zeros(4, np.float32)}, tmp_path / "w.st")
    words = ["import", tmp_path / "w.st", "--model", tmp_path / "net.toml", "--out", tmp_path / "net.npz"]
    code, out, err = command(*words)
    assert (code, out) == (2, "") and "layer 1 (Standardise): give it mean and std" in err
    assert command(*words, "--mean", "0.1", "--std", "0.3")[0] == 0
    assert npl0.load_model(tmp_path / "net.npz").output_shape == (4,)


def test_what_does_not_work_is_one_line(command, finished, tmp_path):
    (tmp_path / "net.onnx").write_bytes(to_onnx(npl0.Network([npl0.Flatten(), npl0.Linear(9, 2)], (1, 3, 3))))
    code, _, err = command("import", tmp_path / "net.onnx", "--out", tmp_path / "net.npz")
    assert code == 0 and err.startswith("note: the network takes pixels of 0..255 as they are") and err.count("\n") == 1
    scaled = ["--mean", "0.1", "--std", "0.3"]
    tensors.save_file({"a.weight": np.ones((3, 2), np.float32)}, tmp_path / "w.safetensors")
    for words, fault in (
        (["import", tmp_path / "net.onnx", *scaled, "--out", tmp_path / "missing" / "net.npz"], "missing"),
        (["import", tmp_path / "none.onnx"], "none.onnx"),
        (["import", tmp_path / "w.safetensors"], "name the network that takes the weights in"),
        (["import", tmp_path / "w.safetensors", "--model", "mlp:9"], "fc1 needs"),
        (["import", tmp_path / "w.safetensors", "--model", "lenet6"], "lenet5"),
        (["eval", tmp_path / "w.safetensors"], "describes no network"),
        (["export", finished, "--format", "onnx", "--out", tmp_path / "missing" / "a.onnx"], "missing"),
        (["export", finished, "--format", "safetensors", "--out", tmp_path / "missing" / "a.safetensors"], "missing"),
    ):
        code, out, err = command(*words)
        assert code in (1, 2) and out == "" and err.count("note:") == 0, (words, err)
        assert err.count("\n") == 1 and fault in err, (words, err)
