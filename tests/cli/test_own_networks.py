"""Networks and data of the user's own, from the command line."""

import json
import tomllib

import numpy as np
import pytest

from npl0.cli import run as run_module

LAYERS = """\
layers = [
    {layer = "Standardise"},
    {layer = "Conv2d", out_channels = 4, kernel_size = 5, stride = 2},
    {layer = "ReLU"},
    {layer = "Flatten"},
    {layer = "Dropout", rate = 0.1},
    {layer = "Linear", out_features = 10},
]
"""


@pytest.fixture
def own(capfd, tmp_path):
    """Run `python -m npl0.run` without the flags of a small run; return exit code, stdout and stderr."""

    def call(*flags, out=tmp_path / "runs"):
        capfd.readouterr()
        code = run_module.main([*flags, "--quiet", "--threads", "1", "--out", str(out)])
        return code, *capfd.readouterr()

    return call


SHORT = ("--data", "synthetic", "--epochs", "1", "--retrain-epochs", "0", "--method", "magnitude", "--compression", "2")


@pytest.fixture
def net(tmp_path):
    """A function that writes a file of layers."""

    def write(text=LAYERS, name="my_net.toml"):
        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


# ---- perceptrons ----------------------------------------------------------------------------------------------------


def test_a_perceptron_of_any_sizes(own, tmp_path, command):
    code, out, err = own("--model", "mlp:20-15", *SHORT, "--json")
    result = json.loads(out)
    assert (code, err) == (0, "")
    assert [row["size"] for row in result["layers"]] == [784 * 20, 20 * 15, 15 * 10]
    (folder,) = (tmp_path / "runs").iterdir()
    assert folder.name.startswith("mlp-20-15-synthetic-magnitude-") and result["config"]["model"] == "mlp:20-15"
    code, out, _ = command("eval", folder, "--json")
    assert code == 0 and json.loads(out)["accuracy"] == result["accuracy"]["retrained"] > 0.2


def test_mlp_300_100_is_lenet300(own, tmp_path, runs):
    for model in ("lenet300", "mlp:300-100"):
        assert own("--model", model, *SHORT, "--shift", "0", out=tmp_path / model[:3])[0] == 0
    one, other = (runs.outcome(runs.folder_in(tmp_path / name)) for name in ("len", "mlp"))
    arrays = [{name: array for name, array in outcome[0].items() if name != "header"} for outcome in (one, other)]
    assert arrays[0] == arrays[1] and one[2:] == other[2:]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("mlp", "model 'mlp' is unknown: use one of lenet5, lenet300, "),
        ("mlp:", "model 'mlp:' needs the sizes of its hidden layers, each at least 1, as in mlp:300-100"),
        ("mlp:300-0", "model 'mlp:300-0' needs the sizes"),
        ("mlp:300,100", "model 'mlp:300,100' needs the sizes"),
    ],
)
def test_a_perceptron_without_sound_sizes_is_a_usage_error(own, model, message):
    code, out, err = own("--model", model, *SHORT)
    assert (code, out) == (2, "") and message in err


# ---- files of layers ------------------------------------------------------------------------------------------------


def test_a_file_of_layers_is_trained_and_its_run_folder_alone_repeats_it(own, net, tmp_path, command, runs):
    path = net()
    code, out, err = own("--model", path, *SHORT, "--json")
    assert (code, err) == (0, "")
    result = json.loads(out)
    assert [(row["name"], row["size"]) for row in result["layers"]] == [("conv1", 4 * 25), ("fc1", 4 * 144 * 10)]
    folder = runs.folder_in(tmp_path / "runs")
    assert folder.name.startswith("my_net-synthetic-magnitude-") and result["model"] == "my_net"
    (tmp_path / "my_net.toml").unlink()
    # The settings in the folder hold the layers, so the file is not needed any more.
    assert own("--config", str(folder / "config.toml"), out=tmp_path / "again")[0] == 0
    again = runs.folder_in(tmp_path / "again")
    assert again.name == folder.name
    runs.same(runs.outcome(folder), runs.outcome(again))
    code, out, _ = command("eval", folder, "--json")
    assert code == 0 and json.loads(out)["accuracy"] == result["accuracy"]["retrained"] > 0.2
    assert "Conv2d(1, 4, 5, stride=2)" in command("summary", folder)[1]


def test_other_layers_are_another_run(own, net):
    names = [
        own("--model", net(text), *SHORT, "--dry-run")[1].splitlines()[0]
        for text in (LAYERS, LAYERS.replace("rate = 0.1", "rate = 0.2"))
    ]
    assert names[0] != names[1]


@pytest.mark.parametrize(
    ("old", "new", "messages"),
    [
        ('"ReLU"', '"Relu"', ["layer 3", "did you mean 'ReLU'?"]),
        ('"ReLU"', '"os.system"', ["layer 3", "unknown"]),
        ("out_channels = 4,", "", ["layer 2 (Conv2d)", "out_channels"]),
        ("out_channels = 4", "out_channels = 0", ["layer 2 (Conv2d)", "out_channels", "0"]),
        ("out_channels = 4", 'out_channels = "4"', ["layer 2 (Conv2d)", "out_channels", "'4'"]),
        ("kernel_size = 5", "kernel_size = 50", ["layer 2 (Conv2d)", "50", "(1, 28, 28)"]),
        ("stride = 2", "strid = 2", ["layer 2 (Conv2d)", "'strid' is unknown: did you mean 'stride'?"]),
        ("out_features = 10", "in_features = 99, out_features = 10", ["layer 6 (Linear)", "(99,)", "(576,)"]),
        ('    {layer = "Flatten"},\n', "", ["layer 5 (Linear)"]),
        ("out_features = 10", "out_features = 9", ["my_net takes images", "at most 9 classes", "10"]),
        ("rate = 0.1", "rate = 1.5", ["layer 5 (Dropout)", "1.5"]),
        ("layers", "layer", ["'layer'", "did you mean 'layers'?"]),
        ("layers = [", "layers = [[", ["my_net.toml is not valid TOML"]),
    ],
)
def test_a_bad_file_of_layers_is_a_usage_error_that_names_the_layer(own, net, tmp_path, old, new, messages):
    assert old in LAYERS
    path = net(LAYERS.replace(old, new))
    code, out, err = own("--model", path, *SHORT)
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert [message for message in messages if message not in err] == [], err
    assert not (tmp_path / "runs").exists()


def test_a_file_of_layers_that_does_not_exist_is_a_usage_error(own):
    code, _, err = own("--model", "nowhere.toml", *SHORT)
    assert code == 2 and "cannot read nowhere.toml: No such file or directory" in err


@pytest.mark.parametrize(("flag", "value"), [("width", "0.5"), ("conv", "im2col")])
def test_settings_of_the_models_are_not_for_a_file_of_layers(own, net, flag, value):
    code, _, err = own("--model", net(), f"--{flag}", value, *SHORT, "--dry-run")
    assert code == 2 and f"{flag} = {value} is for built-in models; set it in the layers of my_net" in err


def test_the_width_of_models_does_not_stand_in_the_settings_of_a_file_of_layers(own, net):
    code, out, _ = own("--model", net(), *SHORT, "--dry-run")
    assert code == 0 and "width" not in tomllib.loads(out)


# ---- data -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def arrays():
    """Arrays of a small data set of RGB images of 12 x 12 in three classes."""
    generator = np.random.default_rng(0)
    made = {}
    for part, n in (("train", 60), ("test", 30)):
        labels = np.arange(n) % 3
        images = generator.integers(0, 100, (n, 12, 12, 3), np.uint8)
        images[np.arange(n), :, :, labels] += 150
        made |= {f"{part}_images": images, f"{part}_labels": labels}
    return {**made, "classes": np.array(["red", "green", "blue"])}


def test_arrays_of_the_user_are_trained_evaluated_and_predicted(own, command, tmp_path, arrays):
    path = tmp_path / "colours.npz"
    np.savez(path, **arrays)
    flags = ("--model", "mlp:16", "--data-dir", str(path), "--epochs", "8", "--method", "dense", "--shift", "0")
    code, out, err = own(*flags, "--learning-rate", "0.01", "--batch-size", "20", "--json")
    result = json.loads(out)
    assert (code, err) == (0, "")
    assert result["data"]["name"] == "colours" and not result["data"]["canonical"]
    assert result["layers"][0]["size"] == 12 * 12 * 3 * 16 and result["accuracy"]["retrained"] > 0.9
    (folder,) = (tmp_path / "runs").iterdir()
    code, out, _ = command("eval", folder, "--data-dir", path, "--json")
    answer = json.loads(out)
    assert code == 0 and answer["same_data"] and answer["accuracy"] == result["accuracy"]["retrained"]
    np.save(tmp_path / "one.npy", arrays["test_images"][1])
    code, out, _ = command("predict", folder, tmp_path / "one.npy", "--json")
    assert code == 0 and json.loads(out)[0]["class"] == "green"


def test_missing_arrays_are_named(own, tmp_path, arrays):
    path = tmp_path / "colours.npz"
    del arrays["test_labels"]
    np.savez(path, **arrays)
    code, out, err = own("--model", "mlp:16", "--data-dir", str(path))
    assert (code, out) == (1, "") and err.count("\n") == 1
    assert "colours.npz has no test_labels (or y_test)" in err


def test_a_model_that_does_not_take_the_arrays_is_a_usage_error(own, tmp_path, arrays, net):
    path = tmp_path / "colours.npz"
    np.savez(path, **arrays)
    code, _, err = own("--model", "vgg16", "--data-dir", str(path))
    assert code == 2 and "vgg16 with images of shape (3, 12, 12): " in err
    grey = "input_shape = [1, 28, 28]\n" + LAYERS.replace('    {layer = "Standardise"},\n', "")
    code, _, err = own("--model", net(grey), "--data-dir", str(path))
    assert code == 2
    assert "my_net takes images of shape (1, 28, 28) in at most 10 classes; colours has (3, 12, 12) in 3" in err
