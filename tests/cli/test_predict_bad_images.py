"""Image files that cannot be used are refused by name, and nothing is printed then."""

import gzip
import io
import sys

import numpy as np
import pytest
from PIL import Image

import npl0


def _npy(array):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


_GREY = np.full((28, 28), 9.0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (_npy(np.where(np.eye(28) > 0, np.nan, _GREY)), "contains NaN or infinity; replace them first"),
        (_npy(np.where(np.eye(28) > 0, np.inf, _GREY)), "contains NaN or infinity"),
        (_npy(_GREY * 100), "its values are 900 to 900, but pixel values are 0..255"),
        (_npy(-_GREY), "its values are -9 to -9"),
        (_npy(_GREY[:20]), "has shape (20, 28); the network takes (1, 28, 28), as (H, W), (N, H, W) or"),
        (_npy(np.ones((2, 3, 28, 28))), "has shape (2, 3, 28, 28)"),
        (_npy(np.ones(784)), "has shape (784,)"),
        (_npy(np.ones((0, 28, 28))), "holds no image"),
        (_npy(np.full((28, 28), "a")), "holds <U1, not numbers"),
        (_npy(np.full((28, 28), None)), "is not a sound .npy file (Object arrays cannot be loaded"),
        (_npy(_GREY)[:500], "is not a sound .npy file"),
        (b"\0\0\x08\x01\0\0\0\x02ab", "1 dimensions where 3 are expected"),
        (b"\0\0\x08\x03\0\0", "truncated at 6 of the 16 bytes of its header"),
        (gzip.compress(b"\0\0\x08\x03" + bytes(12))[:-3], "its gzip data is cut or corrupted"),
        (b"\x89PNG\r\n\x1a\n and no more", "is not a sound picture, .npy or IDX file"),
        (b"text", "is not a sound picture, .npy or IDX file"),
        (b"", "is not a sound picture, .npy or IDX file"),
    ],
)
def test_files_that_cannot_be_used_are_named(command, finished, digits, tmp_path, content, message):
    good, bad = tmp_path / "good.npy", tmp_path / "bad"
    np.save(good, digits[0][0])
    bad.write_bytes(content)
    code, out, err = command("predict", finished, good, bad)
    # Nothing of the good one is printed: half an answer would be taken for a whole one.
    assert (code, out) == (1, "")
    assert str(bad) in err and message in err and err.count("\n") == 1


def test_predict_refuses(command, finished, digits, tmp_path):
    code, _, err = command("predict", finished, tmp_path / "nowhere.png")
    assert code == 1 and "nowhere.png: cannot be read (No such file or directory)" in err
    usage = {
        ("--top", "0"): "argument --top: must be a whole number of at least 1, not 0",
        ("--scale", "nan"): "scale = nan is out of range: it must be above 0, at most 1e6",
    }
    for flags, message in usage.items():
        code, _, err = command("predict", finished, "x.png", *flags)
        assert code == 2 and message in err
    assert command("predict", finished)[0] == 2
    Image.fromarray(np.full((28, 28), 700, np.uint16)).save(tmp_path / "deep.png")
    code, _, err = command("predict", finished, tmp_path / "deep.png")
    assert code == 1 and "has more than 8 bits a channel" in err
    npl0.save_model(tmp_path / "flat.npz", npl0.Network([npl0.Linear(4, 2)], (4,)))
    code, _, err = command("predict", tmp_path / "flat.npz", tmp_path / "deep.png")
    assert code == 1 and "the network takes arrays of shape (4,), not images" in err


def test_without_pillow_the_remedy_is_named(command, finished, digits, tmp_path, monkeypatch):
    Image.fromarray(digits[0][0]).save(tmp_path / "d.png")
    monkeypatch.setitem(sys.modules, "PIL", None)
    code, _, err = command("predict", finished, tmp_path / "d.png")
    assert code == 1 and "pictures are read with Pillow (the extra images): pip install pillow" in err
