"""`predict` takes images of every kind of file, and says what it did to them."""

import json

import numpy as np
import pytest
from PIL import Image

import npl0


def predictions(command, *arguments):
    code, out, err = command("predict", *arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def test_predict_gives_classes_and_probabilities(command, finished, digits, tmp_path):
    images, classes = digits
    np.save(tmp_path / "d.npy", images)
    answers = predictions(command, finished, tmp_path / "d.npy", "--top", 3)
    assert sum(a["class"] == c for a, c in zip(answers, classes, strict=True)) > 20
    logits = npl0.load_model(finished).predict(images[:, None])
    expected = np.exp(logits - logits.max(axis=1, keepdims=True))
    expected = np.sort(expected / expected.sum(axis=1, keepdims=True))[:, :-4:-1]
    found = [[top["probability"] for top in answer["top"]] for answer in answers]
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert answers[0]["class"] == answers[0]["top"][0]["class"]
    code, out, _ = command("predict", finished, tmp_path / "d.npy", "--top", 2)
    lines = out.splitlines()
    assert code == 0 and len(lines) == 40
    first = answers[0]["top"]
    assert lines[0] == f"{tmp_path / 'd.npy'}[0]" + "".join(
        f"  {top['class']} {100 * top['probability']:.2f} %" for top in first[:2]
    )


def test_every_kind_of_file_gives_the_same_answer(command, finished, digits, tmp_path, write_idx):
    images, _ = digits
    one = images[3]
    np.save(tmp_path / "plane.npy", one)
    np.save(tmp_path / "stack.npy", one[None])
    np.save(tmp_path / "batch.npy", one[None, None])
    np.save(tmp_path / "floats.npy", one.astype(np.float64))
    np.save(tmp_path / "wide.npy", one.astype(np.int64))
    write_idx(tmp_path / "d-idx3-ubyte", one[None])
    write_idx(tmp_path / "d-idx3-ubyte.gz", one[None])
    Image.fromarray(one).save(tmp_path / "d.png")
    Image.fromarray(one).convert("RGB").save(tmp_path / "d.bmp")
    paper = np.dstack([np.zeros((28, 28, 3), np.uint8), 255 - one])
    Image.fromarray(paper, "RGBA").save(tmp_path / "paper.png")
    files = sorted(path for path in tmp_path.iterdir())
    assert len(files) == 10
    answers = predictions(command, finished, *files)
    assert [answer["image"] for answer in answers] == [str(path) for path in files]
    expected = predictions(command, finished, tmp_path / "plane.npy")[0]
    for answer in answers:
        assert answer["class"] == expected["class"]
        assert answer["probability"] == pytest.approx(expected["probability"], rel=1e-5)


def test_values_in_0_to_1_are_taken_on_demand_only(command, finished, digits, tmp_path):
    images, _ = digits
    np.save(tmp_path / "whole.npy", images)
    np.save(tmp_path / "unit.npy", images / 255)
    np.save(tmp_path / "binary.npy", images > 99)
    for name in ("unit", "binary"):
        code, out, err = command("predict", finished, tmp_path / f"{name}.npy")
        assert (code, out) == (1, "")
        assert "the largest value is 1, but pixel values are 0..255; for values in 0..1, add --scale 255" in err
    unit = predictions(command, finished, tmp_path / "unit.npy", "--scale", 255)
    whole = predictions(command, finished, tmp_path / "whole.npy")
    assert [a["class"] for a in unit] == [a["class"] for a in whole]
    assert len({a["class"] for a in predictions(command, finished, tmp_path / "binary.npy", "--scale", 255)}) > 1


def test_dark_ink_is_warned_of_and_inverted(command, finished, digits, tmp_path):
    one = digits[0][3]
    Image.fromarray(one).save(tmp_path / "white-ink.png")
    Image.fromarray(255 - one).save(tmp_path / "dark-ink.png")
    code, _, err = command("predict", finished, tmp_path / "dark-ink.png")
    assert code == 0 and "dark-ink.png: its border is bright; --invert is for dark ink on a light ground" in err
    code, _, err = command("predict", finished, tmp_path / "white-ink.png", "--invert")
    assert code == 0 and "white-ink.png: its border is dark; --invert is for dark ink on a light ground" in err
    right = predictions(command, finished, tmp_path / "white-ink.png")[0]
    inverted = predictions(command, finished, tmp_path / "dark-ink.png", "--invert")[0]
    assert (right["class"], right["probability"]) == (inverted["class"], inverted["probability"])
    np.save(tmp_path / "dark.npy", (255 - one).astype(np.float32))
    assert predictions(command, finished, tmp_path / "dark.npy", "--invert")[0]["class"] == right["class"]


def test_pictures_of_another_size_are_scaled_and_that_is_said(command, finished, digits, tmp_path):
    one = digits[0][3]
    Image.fromarray(one.repeat(3, 0).repeat(3, 1)).save(tmp_path / "large.png")
    code, out, err = command("predict", finished, tmp_path / "large.png", "--json")
    assert code == 0 and err == f"note: {tmp_path / 'large.png'}: scaled from 84 x 84 to 28 x 28\n"
    np.save(tmp_path / "one.npy", one)
    expected = predictions(command, finished, tmp_path / "one.npy")[0]
    assert json.loads(out)[0]["probability"] == pytest.approx(expected["probability"], rel=1e-5)
    Image.fromarray(one[:14]).save(tmp_path / "flat.png")
    code, _, err = command("predict", finished, tmp_path / "flat.png")
    assert code == 0 and "scaled from 28 x 14 to 28 x 28; its proportions change, so crop it first" in err


@pytest.mark.parametrize(("ink", "flags"), [(255, ()), (200, ()), (0, ("--invert",))])
def test_strokes_on_transparent_ground_are_seen(command, finished, digits, tmp_path, ink, flags):
    """A drawing canvas: one colour, and the digit is where the picture is opaque."""
    images, names = digits
    answers = []
    for i, digit in enumerate(images[:12]):
        canvas = np.full((28, 28, 4), ink, np.uint8)
        canvas[..., 3] = digit
        Image.fromarray(canvas).save(path := tmp_path / f"{i}.png")
        code, out, err = command("predict", finished, path, *flags, "--json")
        assert code == 0 and err == ""
        answers.append(json.loads(out)[0]["class"])
    np.save(tmp_path / "plain.npy", images[:12])
    plain = [answer["class"] for answer in predictions(command, finished, tmp_path / "plain.npy")]
    assert sum(a == b for a, b in zip(answers, names, strict=False)) >= 9
    assert sum(a == b for a, b in zip(answers, plain, strict=True)) >= 10


@pytest.mark.parametrize(("name", "mode", "scale"), [("p.jpg", "RGB", 170), ("p.png", "L", 170), ("p.png", "P", 80)])
def test_photographs_of_many_pixels_are_reduced(command, finished, digits, tmp_path, name, mode, scale):
    one, side = digits[0][3], 28 * scale
    picture = Image.fromarray(one.repeat(scale, 0).repeat(scale, 1)).convert(mode)
    # As a camera that was held upright stores it.
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.transpose(Image.Transpose.ROTATE_90).save(tmp_path / name, exif=exif, **{"compress_level": 1})
    said = []
    read = npl0.data.read_images(tmp_path / name, (1, 28, 28), 1.0, False, said.append)
    assert said == [f"{tmp_path / name}: scaled from {side} x {side} to 28 x 28"]
    assert np.abs(read[0, 0].astype(int) - one).mean() < 2


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(command, finished, tmp_path):
    Image.new("1", (10_000, 5_000)).save(tmp_path / "p.png")
    code, _, err = command("predict", finished, tmp_path / "p.png")
    assert code == 1
    assert "has 50,000,000 pixels (10000 x 5000); a PNG may have 48,000,000: save a smaller one" in err


def test_colour_is_kept_for_networks_that_take_it(command, tmp_path):
    """An RGB picture and an array of it, channels first or last, are one image; its bright border is no paper."""
    network = npl0.Network([npl0.Flatten(), npl0.Linear(3 * 4 * 5, 3)], (3, 4, 5))
    npl0.save_model(tmp_path / "rgb.npz", network)
    picture = np.random.default_rng(0).integers(150, 256, (4, 5, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "p.png")
    first = np.moveaxis(picture, -1, 0)
    for i, array in enumerate((first, first[None], picture, picture[None])):
        np.save(tmp_path / f"{i}.npy", array)
    answers = predictions(command, tmp_path / "rgb.npz", tmp_path / "p.png", *sorted(tmp_path.glob("*.npy")))
    assert len(answers) == 5 and all(answer["top"] == answers[0]["top"] for answer in answers)
    assert answers[0]["class"] in ("0", "1", "2")
    np.save(tmp_path / "grey.npy", picture[..., 0])
    code, _, err = command("predict", tmp_path / "rgb.npz", tmp_path / "grey.npy")
    assert code == 1 and "shape (4, 5); the network takes (3, 4, 5), as (C, H, W), (N, C, H, W), (H, W, C) or" in err


def test_vgg16_names_the_classes_of_its_data(command, tmp_path):
    classes = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    npl0.save_model(tmp_path / "v.npz", npl0.build_vgg16(width=0.02), classes=classes)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / "photo.png")
    code, out, err = command("predict", tmp_path / "v.npz", tmp_path / "photo.png", "--top", 10)
    assert code == 0 and "scaled from 64 x 64 to 32 x 32" in err and "--invert" not in err
    assert sorted(word for word in out.split() if word.isalpha() and word != "%") == classes
