"""The page in a real browser: its slider moves what it shows."""

import numpy as np
import pytest

from npl0.report.left import count_reads
from npl0.report.page import write_report
from npl0.report.record import read_run
from npl0.runs.snapshots import POINTS

# Moves the slider of the first film to every moment as a user would, then plays it, and writes down what is shown.
DRIVER = """
const points = (canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  return data.filter((value, i) => i % 4 === 3 && value).length;
};
  while (document.documentElement.dataset.ready !== "yes") await wait(20);
  const film = document.querySelector("section.film");
  const slider = film.querySelector("input");
  const look = () => ({
    moment: film.querySelector(".moment").textContent,
    count: film.querySelector(".count").textContent,
    spoken: slider.getAttribute("aria-valuetext"),
    bars: [...film.querySelectorAll(".bar .live")].map((bar) => bar.style.width),
    map: points(film.querySelector(".maps canvas")),
    filters: points(film.querySelector(".first canvas")),
    shut: [...film.querySelectorAll(".shut")].map((path) => path.getAttribute("d").split("M").length - 1),
    threshold: film.querySelector(".histograms line").getAttribute("visibility"),
  });
  const seen = [];
  for (let i = 0; i <= +slider.max; i++) {
    slider.value = i;
    slider.dispatchEvent(new Event("input"));
    seen.push(look());
  }
  const button = film.querySelector(".play");
  const played = [];
  button.click();
  for (let i = 0; i < 40 && (button.getAttribute("aria-label") === "Pause" || !i); i++) {
    played.push(film.querySelector(".moment").textContent);
    await wait(100);
  }
  const texts = (selector) => [...document.querySelectorAll(selector)].map((part) => part.textContent);
  const page = {
    title: document.title,
    captions: texts(".panels figcaption, .filters figcaption"),
    layers: texts(".left tbody tr:last-child td"),
    read: texts(".inputs figcaption span"),
    matrix: texts(".matrix tbody td"),
    changes: texts(".changes > div > p:first-child"),
    images: document.querySelectorAll(".images canvas").length,
  };
  const text = [...document.querySelectorAll("h1, h2, td, dd, li")].map((part) => part.textContent);
  const wide = document.documentElement.scrollWidth > innerWidth;
  return { page, seen, played, text, wide, label: button.getAttribute("aria-label") };
"""


@pytest.fixture(scope="session")
def shown(browse, tmp_path_factory):
    """Return what a browser shows of some runs at a width."""

    def show(records, width=1280):
        path = tmp_path_factory.mktemp("page") / "page.html"
        write_report(records, path)
        return browse(path.read_bytes(), DRIVER, width)

    return show


def test_the_slider_closes_the_gates(shown, finished):
    record = read_run(finished["l0"])
    answer = shown([record])
    assert not answer["wide"]
    assert len(answer["seen"]) == 5
    labels = ["before training", "epoch 1 of 2", "epoch 2 of 2", "after pruning"]
    assert [look["moment"] for look in answer["seen"]] == [*labels, "retraining, epoch 1 of 1"]
    kept, sizes = record.arrays["kept"], [500, 25_000, 400_000, 5000]
    cells = np.split(record.arrays["cells"], np.cumsum([rows * columns for rows, columns in record.header["grids"]]), 1)
    for i, look in enumerate(answer["seen"]):
        assert look["count"].startswith(f"{kept[i].sum():,} of 430,500 weights, ")
        assert look["spoken"] == f"{look['moment']}: {look['count']}"
        widths = [float(width.rstrip("%")) for width in look["bars"]]
        assert widths == pytest.approx(100 * kept[i] / sizes, rel=1e-3)
        # The map of fc1, the largest layer, comes first; every cell with a kept weight is painted, and no other.
        assert look["map"] == np.count_nonzero(cells[2][i])
        assert look["filters"] == np.count_nonzero(record.arrays["first"][i])
        assert look["threshold"] == ("hidden" if i == 4 else "visible")
    shut = [look["shut"] for look in answer["seen"]]
    assert shut[0] == [0, 0, 0, 0] and min(shut[2]) > 0 == max(shut[4])
    assert answer["seen"][2]["map"] < answer["seen"][0]["map"] / 2
    # Played from the start, once the last moment was reached.
    assert list(dict.fromkeys(answer["played"]))[:4] == labels and answer["label"] == "Play"
    assert any("images are right" in text for text in answer["text"])
    check_page(answer["page"], record)


def check_page(shown, record):
    """Check texts and numbers below the film, which the script makes of arrays."""
    assert shown["title"] == "LeNet-5 on synthetic, L0, seed\N{NO-BREAK SPACE}0"
    assert shown["captions"] == [
        "Accuracyin training◆ on the test images",
        "Losscross-entropypenalty on open gates",
        "Weightskeptexpected to be open, the sum of P(z > 0)",
        "Strengths, step by steprate of the weightsof the gateslambda",
        *(f"Filters of conv1, {when}" for when in ("before training", "epoch 2 of 2", "retraining, epoch 1 of 1")),
    ]
    live, kept = record.result["weights_live"]["retrained"], record.result["nnz"]["weights"]
    assert shown["layers"][:5] == ["all", "430,500", f"{kept:,}", f"{live:,}", f"{kept - live:,}"]
    assert shown["read"][0].startswith(f"{np.count_nonzero(count_reads(record.network))} of 784 pixels")
    labels, *given = (record.arrays[name] for name in ("labels", *(f"predicted.{p}" for p in POINTS[1:])))
    matrix = np.zeros((10, 10), int)
    np.add.at(matrix, (labels, given[-1]), 1)
    assert shown["matrix"] == [str(count) if count else "" for count in matrix.ravel()]
    lost, won = ((here == labels) & (there != labels) for here, there in ((given[0], given[2]), (given[2], given[0])))
    assert shown["changes"] == [
        "Pruning lost no image and won none.",
        f"Pruning and retraining together lost {lost.sum()} and won {won.sum()} of 500 images.",
    ]
    assert shown["images"] == min(lost.sum(), 12) + min(won.sum(), 12) > 0


@pytest.mark.slow
def test_several_runs_fit_a_phone(shown, finished):
    answer = shown([read_run(folder) for folder in finished.values()], width=500)
    assert not answer["wide"]
    assert answer["text"].count("What is left") == 2 and "Error against compression" in answer["text"]
    assert "All weights are kept" not in " ".join(answer["text"])
