"""`summary` shows the layers of models, of files of layers and of runs."""

import json

import pytest


def rows_of(out):
    """Return the rows of a table by their first column, blanks squeezed."""
    return {line.split("  ")[0]: " ".join(line.split()) for line in out.splitlines()}


def test_summary_of_lenet5(command):
    code, out, err = command("summary", "lenet5")
    assert (code, err) == (0, "")
    rows = rows_of(out)
    assert rows["conv1"] == "conv1 Conv2d(1, 20, 5) 20 x 24 x 24 500 20 288,000 im2col"
    assert rows["conv2"] == "conv2 Conv2d(20, 50, 5) 50 x 8 x 8 25,000 50 1,600,000 winograd F(4x4,5x5)"
    assert rows["fc1"] == "fc1 Linear(800, 500) 500 400,000 500 400,000"
    assert rows["all"] == "all 430,500 580 2,293,000"
    assert "kept" not in out


def test_summary_of_vgg16_at_a_width(command):
    code, out, err = command("summary", "vgg16", "--width", "0.25", "--conv", "auto")
    assert (code, err) == (0, "")
    rows = rows_of(out)
    assert rows["conv1"] == "conv1 Conv2d(3, 16, 3, padding=1, bias=False) 16 x 32 x 32 432 0 442,368 im2col"
    assert rows["conv2"].endswith(", bias=False) 16 x 32 x 32 2,304 0 2,359,296 winograd F(4x4,3x3)")
    assert rows["conv13"].endswith(", bias=False) 128 x 2 x 2 147,456 0 589,824 winograd F(2x2,3x3)")
    assert rows["all"] == "all 937,392 2,378 19,924,224"
    assert "winograd" not in command("summary", "vgg16", "--width", "0.25", "--conv", "im2col")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("vgg16", "--width", "5"), "width = 5.0 is out of range: it must be above 0, at most 4"),
        (("vgg16", "--width", "0.001"), "width = 0.001 leaves conv1 no channel of its 64"),
        (("lenet5", "--width", "2"), "width = 2 is for vgg16; lenet5 has one size"),
        (("vgg16", "--conv", "fft"), "conv 'fft' is unknown: use one of auto, im2col, winograd"),
        (("lenet6",), "model 'lenet6' is unknown: did you mean 'lenet5'?"),
        (("nowhere.toml",), "cannot read nowhere.toml: No such file or directory"),
    ],
)
def test_summary_of_a_model_that_does_not_exist(command, arguments, message):
    code, out, err = command("summary", *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_summary_of_a_run_shows_the_kept_weights(command, finished):
    code, out, _ = command("summary", finished)
    kept = json.loads((finished / "result.json").read_text())["nnz"]["weights"]
    assert code == 0 and f"\nkept {kept:,} of 266,200 weights (4.0x)\n" in out
    assert out.endswith(f"SparseNetwork('lenet300', sparse in fc1, fc2, fc3, {kept:,} multiply-adds)\n")
    assert rows_of(out)["all"] == f"all 266,200 {kept:,} 410 266,200"


def test_summary_of_a_file_of_layers(command, tmp_path):
    path = tmp_path / "net.toml"
    path.write_text('layers = [{layer = "Flatten"}, {layer = "Linear", out_features = 10}]')
    code, out, _ = command("summary", path)
    assert code == 0 and rows_of(out)["all"] == "all 7,840 10 7,840" and "Network('net', (1, 28, 28) -> 10" in out


def test_summary_refuses(command, finished, tmp_path):
    code, _, err = command("summary", finished, "--width", "2")
    assert code == 2 and "--width is for a model, not for a run, which has its own" in err
    code, _, err = command("summary", tmp_path / "nowhere")
    assert code == 1 and "nowhere does not exist" in err
    (tmp_path / "m.npz").write_bytes(b"x")
    code, _, err = command("summary", tmp_path / "m.npz")
    assert code == 1 and "m.npz is damaged or not a model of npl0's" in err and "make it again" in err
