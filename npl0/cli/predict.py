"""`python -m npl0 predict`: classify images with a stored network."""

import json
from typing import Any

from npl0 import data, sparse, storage
from npl0.cli.guard import guard, note
from npl0.settings.flags import Parser, at_least_one

DESCRIPTION = """\
Classify images. Pixel values are 0..255; for networks that take grey ones, ink is bright on a dark ground, as in MNIST.
An IMAGE is a picture (PNG, JPEG and whatever else Pillow reads), an IDX file of grey images, plain or .gz, or a .npy
array, integers or floats, of shape (H, W) or (N, H, W) if grey, (H, W, 3) or (N, H, W, 3) if RGB, or (C, H, W) or
(N, C, H, W). Arrays whose largest value is 1 are refused, because their range is not clear: --scale 255 takes them.
Pictures become grey (or RGB, as the network needs), transparent parts become white, or black if all that is drawn is
light, and another size is scaled to the network's."""


def main(arguments: list[str] | None = None, prog: str = "python -m npl0 predict") -> int:
    """Run the command; return its exit code."""
    parser = Parser(prog=prog, description=DESCRIPTION)
    parser.add_argument("run", metavar="RUN", help="a run folder, or a model.npz")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="a file of one image or of several")
    parser.add_argument("--top", type=at_least_one, default=1, metavar="K", help="classes to show (default: 1)")
    parser.add_argument("--invert", action="store_true", help="the images have dark ink on a light ground")
    parser.add_argument("--scale", type=float, default=1.0, metavar="X", help="factor on arrays; 255 for values 0..1")
    parser.add_argument("--json", action="store_true", help="print one JSON array on stdout and nothing else there")
    options = parser.parse_args(arguments)
    if not 0 < options.scale <= 1e6:
        parser.error(f"scale = {options.scale:g} is out of range: it must be above 0, at most 1e6")
    return guard(lambda: _predict(options), prog)


def _predict(options: Any) -> None:
    from scipy.special import softmax

    network = storage.load_model(options.run)
    # All files are read before the first line is printed, so that a bad one does not leave half an answer.
    how = (network.input_shape, options.scale, options.invert, note)
    parts = [data.read_images(path, *how) for path in options.images]
    names = [
        path if len(part) == 1 else f"{path}[{i}]"
        for path, part in zip(options.images, parts, strict=True)
        for i in range(len(part))
    ]
    folded = sparse.fold_batchnorm(network)
    probabilities = [row for part in parts for row in softmax(folded.predict(part).astype(float), axis=1)]
    # Data with fewer classes than the network has outputs leaves the other outputs without a name.
    named = network.header.get("classes") or []
    classes = [*named, *(str(i) for i in range(len(named), network.output_shape[0]))]
    answers = []
    for name, row in zip(names, probabilities, strict=True):
        likeliest = (-row).argsort(kind="stable")[: options.top]
        top = [{"class": classes[i], "probability": float(row[i])} for i in likeliest]
        answers.append({"image": name, **top[0], "top": top})
    if options.json:
        print(json.dumps(answers, indent=2))
        return
    for answer in answers:
        print(answer["image"] + "".join(f"  {c['class']} {100 * c['probability']:.2f} %" for c in answer["top"]))
