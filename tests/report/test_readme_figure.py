"""The script of the README's figure draws a run from what the report reads of it."""

import importlib
from pathlib import Path

import numpy as np

from npl0.report import read_run


def test_the_figure_shows_gates_closing(finished, monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "experiments")
    script = importlib.import_module("figure_readme")
    record = read_run(finished["l0"])
    shown = script.maps(record)
    assert shown[0][:2] == ("before training", "400,000") and (shown[0][2] == 1).all()
    assert shown[-1][:2] == ("after epoch 2", f"{record.arrays['kept'][2, 2]:,}")
    open_cells = [np.count_nonzero(picture) for _, _, picture in shown]
    assert open_cells == sorted(open_cells, reverse=True) and len(set(open_cells)) == len(shown) <= script.MAPS
    # The axis of the figure suits a network that is trained to the end.
    record.result["accuracy"] = dict.fromkeys(("trained", "pruned", "retrained"), 0.99)
    path = tmp_path / "figure.svg"
    script.draw(record, 99.5, "dark", path)
    assert path.read_text(encoding="utf-8").count("<image") == len(shown)
    record.header, record.arrays, record.moments = {}, {}, []
    assert script.maps(record) == []
