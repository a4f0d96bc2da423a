"""The sentences on a run: they hold its numbers, and differ by method and by what was found."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from npl0 import runs as runs_package
from npl0.runs.explain import explain

STORED = Path(__file__).parents[2] / "experiments" / "results"


def sentences_of(name):
    """Return the sentences on a stored run."""
    folder = STORED / name
    result = json.loads((folder / "result.json").read_text())
    return list(runs_package.explain_finished(SimpleNamespace(path=folder), result)), result


def test_the_default_run_is_explained_by_its_numbers():
    sentences, result = sentences_of("main/lenet5-mnist-l0-750ccc39-s0")
    seconds = result["seconds"]
    page = (STORED.parents[1] / "docs" / "command.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```text\n(Training closed.*?)^```", page, re.DOTALL | re.MULTILINE)
    assert set(shown.splitlines()) < set(sentences)
    for part in (
        "in epoch 1, while lambda was still rising (until epoch 6): it ended with 209,922 weights kept",
        "tested with before: 9,916 images were right then, and 9,916 are now",
        f"the 2,550 kept weights for 3 epochs, {100 * seconds['retrain'] / sum(seconds.values()):.0f} % of the time",
    ):
        assert sum(part in sentence for sentence in sentences) == 1, part
    assert len(sentences) == 7


def test_the_classic_method_is_explained_otherwise():
    sentences, result = sentences_of("main/lenet5-mnist-magnitude-df953ba2-s0")
    text = " ".join(sentences)
    assert "gate" not in text and "lambda" not in text
    assert "lost 9,007 of the 9,946 images" in text and "won back 8,729 of the 9,007" in text
    assert "1,191 of the 2,503 kept weights lie on no path from an input to a class" in text
    result["correct"]["pruned"] = 9900
    cut = list(explain("pruned", result, {"fc.weight": np.ones((2, 2), bool)}, []))
    assert "hardly mattered" in cut[1] and cut[2] == "Every filter and every unit still has a weight."


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (9800, "116 fewer images are right: a lower learning rate"),
        (9915, "1 fewer image is right, no more than chance"),
        (9916, "As many images are right"),
        (9990, "74 more images are right: without noise"),
    ],
)
def test_retraining_is_judged_by_what_it_found(after, said):
    _, result = sentences_of("main/lenet5-mnist-l0-750ccc39-s0")
    result["correct"]["retrained"] = after
    assert list(explain("retrained", result, {}, []))[-1].startswith(said)


@pytest.mark.parametrize("method", ["l0", "magnitude", "dense"])
def test_a_run_says_while_it_goes_what_it_says_when_it_is_finished(run, runs, method):
    code, out, _ = run(*runs.FLAGS_OF[method], "--explain")
    said = [line.strip() for line in out.splitlines() if line.startswith("  ") and line.endswith(".")]
    assert code == 0 and len(said) == {"l0": 7, "magnitude": 7, "dense": 2}[method]
    code, again, _ = run(*runs.FLAGS_OF[method], "--explain")
    assert code == 0 and again.splitlines()[: len(said)] == said
    assert said[-1] not in run(*runs.FLAGS_OF[method])[1]
    assert json.loads(run(*runs.FLAGS_OF[method], "--explain", "--json")[1])["method"] == method


def test_stages_without_epochs_are_said_to_be_that(run, runs):
    _, out, _ = run(*runs.FLAGS_OF["magnitude"], "--epochs", "0", "--retrain-epochs", "0", "--explain")
    assert "no epoch of training" in out and "no epoch of retraining" in out


def test_a_log_that_cannot_be_read_is_an_error_of_one_line(run, runs, tmp_path):
    run(*runs.L0)
    log = runs.folder_in(tmp_path / "runs") / "log.csv"
    for text in ("stage,kept\ntrain,many\n", "nothing\n1\n"):
        log.write_text(text)
        code, _, error = run(*runs.L0, "--explain")
        assert code == 1 and "log.csv cannot be read" in error and "repeat with --force" in error
