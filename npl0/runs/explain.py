"""What training, pruning and retraining of a run did and why, in plain sentences with the run's own numbers."""

import math
from collections.abc import Iterator
from itertools import chain
from typing import Any

from npl0.nn.network import Network
from npl0.pruning.masks import Masks, masks_of
from npl0.runs.folder import RunFolder, RunFolderError, read_log
from npl0.storage.files import reported
from npl0.storage.model_file import load_model

# A smaller share of images lost, or of weights that do nothing, is not worth a sentence.
NEGLIGIBLE = 0.02


def explain(point: str, result: dict[str, Any], masks: Masks, kept: list[int]) -> Iterator[str]:
    """Yield two or three sentences on the stage of a run that ends at `point`: `trained`, `pruned` or `retrained`.

    `result` is the content of result.json so far, `masks` tell which weights are not zero, and `kept` how many there
    were after each epoch of training.
    """
    gated, epochs = result["method"] == "l0", result["epochs"]
    if point == "trained" and not epochs["train"]:
        yield "There was no epoch of training: the network is the one that the run started from."
    elif point == "trained":
        yield from _gated_training(result, kept) if gated else _other_training(result)
    elif point == "pruned":
        yield from _gated_pruning(result) if gated else _cut(result)
        yield from _structure(result, masks)
    elif not epochs["retrain"]:
        yield "There was no epoch of retraining: the network is the pruned one."
    else:
        yield from _retraining(result)


def explain_all(result: dict[str, Any], network: Network, rows: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the sentences on each stage of a finished run, by its end, from the result, the network and the log."""
    points = ("trained", "pruned", "retrained") if "retrain" in result["config"] else ("trained",)
    kept = [int(row["kept"]) for row in rows if row["stage"] == "train"]
    return {point: list(explain(point, result, masks_of(network), kept)) for point in points}


def explain_finished(folder: RunFolder, result: dict[str, Any]) -> list[str]:
    """Return the sentences on all stages of a finished run; an error if its network or its log cannot be read."""
    network, log = load_model(folder.path), folder.path / "log.csv"
    with reported(RunFolderError, f"{log} cannot be read", "repeat with --force"):
        return [*chain.from_iterable(explain_all(result, network, read_log(log)).values())]


def _gated_training(result: dict[str, Any], kept: list[int]) -> Iterator[str]:
    size, left, settings = result["size"]["weights"], result["weights_kept"]["trained"], result["config"]["l0"]
    images = result["data"]["train"] - result["config"]["validation"]
    factors = ", times the factor of its layer" if settings["layer_lambda"] else ""
    yield (
        f"Training closed the gates of {size - left:,} of {size:,} weights: a weight stays only if it lowers the loss, "
        f"summed over the {images:,} training images, by about l0_lambda = {settings['l0_lambda']:g}{factors}."
    )
    falls = [before - after for before, after in zip([size, *kept], kept, strict=False)]
    epoch, ramp = falls.index(max(falls)) + 1, settings["ramp_epochs"]
    rising = f"while lambda was still rising (until epoch {math.ceil(ramp)})" if epoch <= ramp else "at the full lambda"
    if max(falls) > 0:
        yield f"Most of them closed in epoch {epoch}, {rising}: it ended with {kept[epoch - 1]:,} weights kept."


def _other_training(result: dict[str, Any]) -> Iterator[str]:
    size, left = result["size"]["weights"], result["weights_kept"]["trained"]
    right = f"{100 * result['accuracy']['trained']:.2f} % of the images are right."
    if left < size:
        yield f"Training set {size - left:,} of {size:,} weights to zero; {right}"
    elif "retrain" in result["config"]:
        yield f"Training used all {size:,} weights, and {right}"
        yield "Nothing has prepared the network for losing weights: what it knows may be spread over all of them."
    else:
        yield f"All {size:,} weights were trained and none is pruned; {right}"
        yield "With the same settings, this is the accuracy that a pruned network is to be compared with."


def _gated_pruning(result: dict[str, Any]) -> Iterator[str]:
    before, after, left = result["correct"]["trained"], result["correct"]["pruned"], result["weights_kept"]["pruned"]
    yield (
        "Pruning wrote each weight times its test gate into the network; a closed gate wrote a zero. These are the "
        f"values it was tested with before: {before:,} images were right then, and {after:,} are now."
    )
    chance = 31 if result["test_gate"] == "paper" else 50
    more, why = "more", f"a gate that is 0 at test time still opens in up to {chance} % of the draws"
    if (difference := round(result["expected_l0"]) - left) < 0:
        more, why = "fewer", "a gate that is open at test time is closed in some of the draws"
    yield f"A random draw opens {abs(difference):,} {more} gates on average than the {left:,} that are kept: {why}."


def _cut(result: dict[str, Any]) -> Iterator[str]:
    size, left = result["size"]["weights"], result["weights_kept"]["pruned"]
    before, after = result["correct"]["trained"], result["correct"]["pruned"]
    rule = "largest" if result["method"] == "magnitude" else "chosen"
    if result["config"].get("magnitude", {}).get("criterion") == "layer-std":
        rule += ", relative to the spread of their layer"
    yield f"Pruning kept {left:,} of {size:,} weights, the {rule}, and set the others to zero."
    if (lost := before - after) > NEGLIGIBLE * before:
        yield f"That lost {lost:,} of the {before:,} images that were right: removed together, the others mattered."
    else:
        yield f"{before:,} images were right before and {after:,} are now: the other weights hardly mattered."


def _retraining(result: dict[str, Any]) -> Iterator[str]:
    epochs, seconds, right = result["epochs"]["retrain"], result["seconds"], result["correct"]
    share, times = seconds["retrain"] / max(sum(seconds.values()), 1e-9), f"{epochs} epoch{'s' if epochs > 1 else ''}"
    yield (
        f"Retraining moved the {result['weights_kept']['pruned']:,} kept weights for {times}, {100 * share:.0f} % of "
        "the time of the run; the zeros stayed zeros."
    )
    lost, gain = right["trained"] - right["pruned"], right["retrained"] - right["pruned"]
    # The standard deviation of the difference of two counts of errors, were they independent.
    chance = math.sqrt(2 * result["total"] - right["pruned"] - right["retrained"])
    change = f"{abs(gain):,} {'more' if gain > 0 else 'fewer'} image{' is' if abs(gain) == 1 else 's are'} right"
    if lost > chance and gain > 0:
        yield f"It won back {gain:,} of the {lost:,} images that pruning had lost."
    elif gain == 0:
        yield "As many images are right as before it: there was little to repair."
    elif abs(gain) <= chance:
        yield f"{change}, no more than chance gives (about {chance:.0f}): there was little to repair."
    elif gain > 0:
        yield f"{change}: without noise and without gates that close, the kept weights could settle."
    else:
        yield f"{change}: a lower learning rate of retraining, or fewer epochs, may keep what was there."


def _structure(result: dict[str, Any], masks: Masks) -> Iterator[str]:
    """Name the two layers that lost most of their filters or units; and how many weights are idle, if they count."""
    empty = {name: int((~mask.reshape(len(mask), -1).any(axis=1)).sum()) for name, mask in masks.items()}
    worst = sorted(filter(empty.get, masks), key=lambda name: empty[name] / len(masks[name]), reverse=True)[:2]
    kinds = {name: "filters" if masks[name].ndim == 4 else "units" for name in worst}
    gone = [f"{empty[name]:,} of {len(masks[name]):,} {kinds[name]} of {name.partition('.')[0]}" for name in worst]
    if gone:
        yield f"No weight is left in {' and '.join(gone)}: where every single weight can go, larger parts go with them."
    else:
        yield "Every filter and every unit still has a weight."
    kept, live = result["weights_kept"]["pruned"], result.get("weights_live", {}).get("pruned")
    if live is not None and kept - live > NEGLIGIBLE * kept:
        yield f"{kept - live:,} of the {kept:,} kept weights lie on no path from an input to a class: they do nothing."
