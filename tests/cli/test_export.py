"""`python -m npl0 export`."""

import numpy as np
import pytest

import npl0
from npl0.sparse import load


@pytest.mark.parametrize("precision", [None, "float32", "int8", "codebook"])
def test_a_run_becomes_a_model_npl0(command, finished, digits, tmp_path, precision):
    path = tmp_path / "small.npl0"
    flags = ["--precision", precision] if precision else []
    code, out, err = command("export", finished, "--out", path, *flags)
    assert (code, out, err) == (0, f"{path}: {path.stat().st_size:,} bytes, {precision or 'float16'}\n", "")
    network = npl0.load_model(finished)
    model, images = load(path), digits[0][:, None]
    assert model.classes == (
        [] if network.header["classes"] == [str(i) for i in range(10)] else network.header["classes"]
    )
    assert np.mean(model.predict(images).argmax(axis=1) == network.predict(images).argmax(axis=1)) > 0.9


def test_without_a_path_it_stands_beside_the_model(command, tmp_path):
    npl0.save_model(tmp_path / "model.npz", npl0.build_model("mlp:5"))
    code, out, _ = command("export", tmp_path / "model.npz")
    assert code == 0 and out.startswith(f"{tmp_path / 'model.npl0'}: ")
    assert load(tmp_path / "model.npl0").name == "mlp:5"


def test_what_does_not_work_is_one_line(command, finished, tmp_path):
    code, out, err = command("export", finished, "--precision", "int4")
    assert (code, out) == (2, "") and "--precision int4: npl0 takes float16, float32, int8, codebook" in err
    code, out, err = command("export", finished, "--format", "onxx")
    assert (code, out) == (2, "") and "onxx" in err
    code, out, err = command("export", finished, "--out", tmp_path / "missing" / "model.npl0")
    assert (code, out, err.count("\n")) == (1, "", 1) and "missing" in err
    code, out, err = command("export", tmp_path)
    assert (code, out, err.count("\n")) == (1, "", 1) and "no model.npz" in err


def test_a_run_becomes_a_page(command, finished, tmp_path):
    path = tmp_path / "draw.html"
    code, out, err = command("export", finished, "--format", "html", "--out", path)
    assert (code, out, err.count("\n")) == (
        2,
        "",
        1,
    ) and "may take 100,000: prune more; model.npl0 and C hold it" in err
    assert not path.exists()
    npl0.save_model(tmp_path / "model.npz", npl0.build_model("mlp:5"), classes=["<b>", "two"])
    code, out, err = command("export", tmp_path / "model.npz", "--format", "html")
    page = (tmp_path / "model.html").read_text(encoding="utf-8")
    assert (code, err) == (0, "") and out == f"{tmp_path / 'model.html'}: {len(page.encode()):,} bytes, float16\n"
    assert '["\\u003cb>","two"]' in page and "<b>" not in page


def test_a_run_becomes_c(command, finished, tmp_path, monkeypatch):
    code, out, err = command("export", finished, "--format", "c", "--out", tmp_path / "digits.c")
    assert (code, err) == (0, "") and (tmp_path / "digits.c").read_text().count("int digits_classify(") == 1
    assert "int digits_classify(" in (tmp_path / "digits.h").read_text()
    assert "constants  " in out and "memory     " in out and ("ms" in out or "gcc is not installed" in out)
    monkeypatch.setenv("PATH", "")
    code, out, _ = command("export", finished, "--format", "c", "--precision", "float32", "--out", tmp_path / "f.c")
    assert code == 0 and "float32" in out and "gcc is not installed" in out
    code, out, err = command("export", finished, "--format", "c", "--out", tmp_path / "my-net.c")
    assert (code, out) == (2, "") and "'my-net' is no name in C" in err


def test_a_run_becomes_onnx(command, finished, tmp_path):
    pytest.importorskip("onnx", reason="ONNX files need the package onnx, the extra export")
    path = tmp_path / "net.onnx"
    code, out, err = command("export", finished, "--format", "onnx", "--out", path)
    assert (code, out, err) == (0, f"{path}: {path.stat().st_size:,} bytes, float32\n", "")
    code, out, err = command("export", finished, "--format", "onnx", "--out", tmp_path / "missing" / "net.onnx")
    assert (code, out, err.count("\n")) == (1, "", 1) and "missing" in err
