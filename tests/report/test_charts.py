"""What the charts draw, read from matplotlib's axes and derived again from the raw JSON and arrays by other code."""

import json
import re
import statistics
from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from report import charts, pictures
from report.charts import CURVES
from report.drawing import INK, LETTER, SMALL, error_scale, errors, inline_svg, narrow, styled
from report.load import Loaded, load_results
from report.stats import Curve, label_curves, mcnemar_pairs
from report.summary import Row, summarise
from tests.factory import edit, make_record
from tests.hostile import edit_record
from tests.report.pages import CONTROLS, changed, expected_rows, raw_runs, slow_mcnemar, wilson_by_bisection
from utils.records.schema import HEADLINE, read_record

Draw = Callable[..., tuple[str, Figure]]


@pytest.fixture
def draw(monkeypatch: pytest.MonkeyPatch) -> Draw:
    """Calls a function that draws; returns its caption and alternative text, and the figure that it saved."""
    saved: list[Figure] = []
    monkeypatch.setattr(charts, "save", lambda figure: saved.append(figure) or b"")

    def call(function: Callable, *arguments: object) -> tuple[str, Figure]:
        drawing = function(*arguments)
        return f"{drawing.caption} {drawing.alt}", saved[-1]

    return call


@pytest.fixture(scope="module")
def rows(folder: Path) -> list[Row]:
    return [row for row in summarise(load_results(folder)[0]).rows if row.dataset == "mnist"]


@pytest.fixture(scope="module")
def headline_rows(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.default]


def dots(axes: Axes, marker: str = "o", filled: bool = True) -> set[tuple[float, float]]:
    """Rounded places of the markers of one kind."""
    found = [line for line in axes.lines if line.get_marker() == marker
             and (line.get_markerfacecolor() != "none") == filled]
    return {tuple(point) for line in found for point in line.get_xydata().round(6).tolist()}


def segments(axes: Axes) -> set[tuple[float, ...]]:
    """Rounded ends of the lines without markers that have two points, as (x, x, y, y)."""
    return {tuple(line.get_xydata().T.round(4).ravel()) for line in axes.lines
            if line.get_marker() in ("None", "") and len(line.get_xydata()) == 2}


def of_json(folder: Path, task: str, method: str) -> list[dict]:
    return expected_rows(folder)["mnist", task, CONTROLS.get(method, method), ""]


def mean(runs: list[dict], score: str = HEADLINE) -> float:
    return statistics.fmean(run["metrics"][score]["value"] for run in runs)


def error(accuracy: float) -> float:
    return round(max(0.01, 100 - 100 * accuracy), 6)


def test_the_overview_draws_means_seeds_intervals_and_far_controls_as_numbers(
        folder: Path, headline_rows: list[Row], draw: Draw) -> None:
    text, figure = draw(charts.overview, "mnist", headline_rows)
    (axes,) = figure.axes
    learned = [of_json(folder, *key) for key in (("1.2.1", "plain"), ("1.2.1", "masked"), ("1.2.2", "joint"),
                                                 ("1.2.3", "simclr"), ("1.2.3", "dcl"))]
    assert dots(axes) == {(error(mean(runs)), y) for y, runs in enumerate(learned)}
    seeds = {(error(run["metrics"][HEADLINE]["value"]), 0.2) for run in learned[0]}
    assert dots(axes, filled=False) == seeds
    ends = segments(axes)
    for y, runs in enumerate(learned):
        low, high = wilson_by_bisection(mean(runs), runs[0]["metrics"][HEADLINE]["n"])
        assert any(end == pytest.approx((error(low), error(high), y, y), abs=2e-4) for end in ends)
    assert len(dots(axes, "<")) == 2  # 71 and 82 % are far below the 90 % and more of what was learned
    shown = [one.get_text() for one in axes.texts]
    assert "71.00" in shown and "82.00" in shown and axes.get_xlim()[0] < 20
    assert "Below the scale: control: frozen random encoder (71.00 %) and control: PCA of pixels (82.00 %)." in text
    assert "The most accurate learned latent is that of 1.2.2 joint on MNIST (100.00 %). The best control (PCA of " \
           "pixels, 82.00 %) is exceeded by 5 of 5 learned latents. Lines are" in text
    assert "dashed" not in text  # nor is it drawn below the scale


def test_minutes_are_drawn_only_where_they_are_comparable(tmp_path: Path, draw: Draw) -> None:
    times = {"simclr": (0.9, 600.0, 2), "dcl": (0.95, 1200.0, 2), "vicreg": (0.8, 900.0, 2), "byol": (0.97, 300.0, 1)}
    for method, (accuracy, seconds, threads) in times.items():
        edit(make_record(tmp_path, "1.2.3", "mnist", method, n=100, epochs=2, accuracy=accuracy, seconds=seconds),
             "environment", "threads", value=threads)
    edit(tmp_path / "1.2.3_mnist_dcl_seed0.json", "environment", "other_load", value=0.0)
    text, figure = draw(charts.minutes, "mnist", summarise(load_results(tmp_path)[0]).rows)
    assert dots(figure.axes[0]) == {(seconds / 60, error(accuracy)) for accuracy, seconds, threads in times.values()
                                    if threads == 2}
    assert "1 row without a comparable time is left out" in text
    assert "no row is both quicker and more accurate than any of these: 1.2.3 simclr (90.00 %, ≤ 10.0 min) and " \
           "1.2.3 dcl (95.00 %, 20.0 min)." in text and "Times of older records (≤) are upper bounds" in text
    low, high = wilson_by_bisection(0.95, 100)
    assert any(end == pytest.approx((20, 20, error(low), error(high)), abs=2e-4) for end in segments(figure.axes[0]))


def test_class_accuracies_follow_from_the_predictions(folder: Path, headline_rows: list[Row], draw: Draw) -> None:
    text, figure = draw(charts.classes, "mnist", headline_rows)
    axes = figure.axes[0]
    found: dict[tuple[str, str], list[np.ndarray]] = {}
    for path, raw in raw_runs(folder):
        run = raw["run"]
        if run["dataset"] == "mnist" and not changed(raw) and run["task"] != "control":
            with np.load(path.with_suffix(".npz")) as file:
                labels, hits = file["test_labels"], file["test_labels"] == file["test_predictions"]
            found.setdefault((run["task"], run["method"]), []).append(np.array([hits[labels == i].mean()
                                                                                for i in range(10)]))
    means = {key: np.mean(runs, axis=0) for key, runs in found.items()}
    order = [int(label.get_text()) for label in axes.get_yticklabels()]
    overall = np.mean(list(means.values()), axis=0)
    assert sorted(order) == list(range(10)) and (np.diff(overall[order]) <= 1e-12).all()
    least = 50 / np.bincount(labels).min()
    grey = [line.get_xdata() for line in axes.lines if line.get_markersize() == 2.5]
    assert len(grey) == len(means) == 5
    assert sorted(map(tuple, np.round(grey, 6))) == sorted(
        tuple(np.maximum(least, 100 - 100 * one[order]).round(6)) for one in means.values())
    hardest = [int(one.argmin()) for one in means.values() if (one == one.min()).sum() == 1]  # without ties
    times = max(map(hardest.count, hardest))
    first = {i for i in hardest if hardest.count(i) == times}
    assert (f"class {max(first)} is the hardest for {times} of 5 methods" if len(first) == 1 else
            f"no class is the hardest for more than {times} of 5 methods") in text
    assert f"sorted by their mean over methods, from {order[0]} to {order[-1]}." in text


def test_the_mcnemar_matrix_is_blank_where_a_pair_is_not_significant(folder: Path, headline_rows: list[Row],
                                                                     draw: Draw) -> None:
    text, figure = draw(charts.mcnemar_matrix, "mnist", headline_rows, mcnemar_pairs(headline_rows))
    names = [one.get_text() for one in figure.axes[0].texts]
    hits, accuracy = {}, {}
    for path, raw in raw_runs(folder):
        run = raw["run"]
        if run["dataset"] == "mnist" and not changed(raw):
            method = run["method"]
            name = CONTROLS[method] if run["task"] == "control" else f"{run['task']} {method}"
            with np.load(path.with_suffix(".npz")) as file:
                hits.setdefault(name, {})[run["seed"]] = file["test_labels"] == file["test_predictions"]
            accuracy.setdefault(name, []).append(raw["metrics"][HEADLINE]["value"])
    assert names == sorted(names, key=lambda name: -statistics.fmean(accuracy[name])) and set(names) == set(hits)
    p = {}
    for a, b in combinations(range(len(names)), 2):
        shared = sorted(set(hits[names[a]]) & set(hits[names[b]]))
        if shared:
            first, second = hits[names[a]][shared[0]], hits[names[b]][shared[0]]
            only = int((first & ~second).sum()), int((second & ~first).sum())
            p[a, b] = (float(slow_mcnemar(*only)), only)
    ranked = sorted(value for value, _ in p.values())
    holm = {key: max(min(1, (len(ranked) - k) * one) for k, one in enumerate(ranked) if one <= value)
            for key, (value, _) in p.items()}
    assert dots(figure.axes[0], "s") == set(p)
    assert dots(figure.axes[0], "^") == {key for key in p if holm[key] < 0.05 and p[key][1][0] > p[key][1][1]}
    assert dots(figure.axes[0], ">") == {key for key in p if holm[key] < 0.05 and p[key][1][0] < p[key][1][1]}
    assert f"{sum(value < 0.05 for value in holm.values())} of {len(p)} pairs differ significantly" in text


def test_alignment_and_uniformity_have_names_that_do_not_cover_each_other(folder: Path, headline_rows: list[Row],
                                                                         draw: Draw) -> None:
    """The synthetic records share one place: the hardest case for the names."""
    _, figure = draw(charts.geometry, "mnist", headline_rows)
    (axes,) = figure.axes
    raw = [one for key, one in expected_rows(folder).items() if key[0] == "mnist" and not key[3]]
    assert dots(axes) == {(round(mean(runs, "test/alignment"), 6), round(mean(runs, "test/uniformity"), 6))
                          for runs in raw}
    assert len(axes.texts) == len(raw) == 7
    assert_apart(figure)


def assert_apart(figure: Figure) -> None:
    """No name at a dot covers another or leaves the figure."""
    boxes = []
    for one in figure.axes[0].texts:
        (x, y), words = one.xyann, one.get_text().split("\n")
        half, tall = LETTER * SMALL * max(map(len, words)) / 2, 1.2 * SMALL * len(words) / 2
        boxes.append((x - half, x + half, y - tall, y + tall))
    for (a, b, c, d), (e, f, g, h) in combinations(boxes, 2):
        assert min(b, f) - max(a, e) < 0.01 or min(d, h) - max(c, g) < 0.01
    width, height = figure.get_size_inches() * 72
    assert all(a >= 0 and b <= width and c >= 0 and d <= height for a, b, c, d in boxes)


@pytest.mark.parametrize("dataset", ["mnist", "cifar10"])
def test_the_names_at_the_dots_of_the_committed_rows_do_not_cover_each_other(dataset: str, draw: Draw) -> None:
    paths = (Path(__file__).parents[2] / "results").glob(f"*_{dataset}_*.json")
    loaded = [Loaded(path.name, "", read_record(path), {}) for path in sorted(paths)]
    rows = [row for row in summarise(loaded).headline if row.dataset == dataset]
    assert len(rows) > 7
    for function in (charts.geometry, charts.minutes):
        assert_apart(draw(function, dataset, rows)[1])


def test_label_curves_draw_each_point_with_its_interval(folder: Path, rows: list[Row], draw: Draw) -> None:
    text, figure = draw(charts.label_fractions, "mnist", label_curves(rows))
    groups = {key: runs for key, runs in expected_rows(folder).items() if key[0] == "mnist"}
    wanted = [groups["mnist", "1.2.2", "joint", change] for change in ("labels=0.01", "labels=0.1", "")]
    line = next(line for line in figure.axes[0].lines if "random initialisation" in str(line.get_label()))
    assert line.get_ydata() == pytest.approx([error(mean(runs)) for runs in wanted])
    ends = [end[2:] for end in segments(figure.axes[0])]
    for runs in wanted:
        low, high = wilson_by_bisection(mean(runs), runs[0]["metrics"][HEADLINE]["n"])
        assert any(end == pytest.approx((error(low), error(high)), abs=2e-4) for end in ends)
    assert line.get_color() == CURVES[2][2]  # the third of this data set
    known = ["contrastive simclr, fine-tuned", "random initialisation, trained end to end", "a curve of other data"]
    _, figure = draw(charts.label_fractions, "mnist", label_curves(rows), known)  # as on the other data set
    line = next(line for line in figure.axes[0].lines if "random initialisation" in str(line.get_label()))
    assert line.get_color() == CURVES[1][2]
    assert "On MNIST, an encoder that learned without labels and was then fine-tuned" in text
    _, figure = draw(charts.label_fractions, "mnist", [label_curves(rows)[0]] * 2)  # two recipes, one name
    assert len({line.get_color() for line in figure.axes[0].lines if line.get_label()[0] != "_"}) == 2


def test_the_dashed_line_of_the_overview_is_explained(tmp_path: Path, draw: Draw) -> None:
    make_record(tmp_path, "control", "mnist", "pca", accuracy=0.9, n=100, epochs=0)
    rows = summarise(load_results(tmp_path)[0]).headline
    explained = "Grey dots are controls. The dashed line is the best control."
    assert explained in draw(charts.overview, "mnist", rows)[0]
    for method, accuracy in (("simclr", 0.92), ("dcl", 0.9), ("byol", 0.85)):  # above, level and below
        make_record(tmp_path, "1.2.3", "mnist", method, accuracy=accuracy, n=100)
    rows = summarise(load_results(tmp_path)[0]).headline
    text = draw(charts.overview, "mnist", rows)[0]
    assert "The best control (PCA of pixels, 90.00 %) is exceeded by 1 of 3 learned latents. Lines" in text
    assert explained in text


def test_the_caption_says_what_a_curve_lacks(tmp_path: Path) -> None:
    for encoder in ("conv", "conv_depths"):
        path = make_record(tmp_path, "1.2.1", "mnist", "plain", n=50, epochs=2)
        edit_record(path, lambda record, encoder=encoder: record["recipe"]["fields"].update(encoder=encoder))
        (row,) = summarise(load_results(tmp_path)[0]).rows
        caption = charts.curves(row).caption
        assert ("The decoder's last epochs are not drawn." in caption) == (encoder == "conv_depths")


def test_training_curves_hold_every_method_and_seed(tmp_path: Path, draw: Draw) -> None:
    paths = [make_record(tmp_path, "1.2.1", "mnist", method, seed, n=60, epochs=5, objective=objective)
             for method, seed, objective in (("plain", 0, "L1"), ("plain", 1, "L1"), ("masked", 0, "masked L1"))]
    rows = summarise(load_results(tmp_path)[0]).rows
    text, figure = draw(charts.training, "mnist", rows)
    for axes, column in zip(figure.axes, ("train_loss", "val_loss"), strict=True):
        drawn = sorted(tuple(np.round(line.get_ydata(), 6)) for line in axes.lines)
        wanted = []
        for path in paths:
            history = json.loads(path.read_text())["history"]
            last = [row["val_loss"] for row in history]
            wanted.append(tuple(round((row[column] - min(last)) / (last[0] - min(last)), 6) for row in history))
        assert drawn == sorted(wanted)
    assert "Each loss is scaled" in text and "Thin lines are further seeds." in text
    _, figure = draw(charts.training, "mnist", [row for row in rows if row.method == "plain"])
    losses = [[row["val_loss"] for row in json.loads(path.read_text())["history"]] for path in paths[:2]]
    assert sorted(list(line.get_ydata()) for line in figure.axes[1].lines) == sorted(losses)  # one objective: as it is
    make_record(tmp_path / "labels", "1.2.2", "mnist", n=60, epochs=3)
    text, figure = draw(charts.training, "mnist", summarise(load_results(tmp_path / "labels")[0]).rows)
    raw = json.loads(next((tmp_path / "labels").glob("*.json")).read_text())["history"]
    assert figure.axes[1].lines[0].get_ydata() == pytest.approx([100 * row["val_accuracy"] for row in raw])
    best = max(raw, key=lambda row: row["val_accuracy"])
    assert f"{100 * best['val_accuracy']:.2f} % in epoch {best['epoch']} (simclr)" in text


def test_the_reliability_curve_and_its_error_follow_from_the_confidences(draw: Draw, tmp_path: Path) -> None:
    path = make_record(tmp_path, "1.2.2", "mnist", "joint", n=500, accuracy=0.8, epochs=2)
    (run,), _ = load_results(tmp_path)
    text, figure = draw(charts.reliability, run.record, run.arrays)
    with np.load(path.with_suffix(".npz")) as file:
        sure, right = file["test_confidence"].astype(float), file["test_labels"] == file["test_predictions"]
    places, gap = [], 0.0
    for low in range(10):
        own = [i for i in range(500) if low <= 10 * sure[i] < low + 1 or low == 9 and sure[i] == 1]
        if own:
            confidence, accuracy = np.mean([sure[i] for i in own]), np.mean([right[i] for i in own])
            places.append((100 * confidence, 100 * accuracy, *wilson_by_bisection(accuracy, len(own))))
            gap += len(own) / 500 * abs(confidence - accuracy)
    (axes,) = figure.axes
    drawn = [line.get_xydata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert np.array(drawn) == pytest.approx(np.array(places)[:, :2])
    ends = [line.get_ydata() for line in axes.lines[1:] if line.get_marker() != "o"]
    assert np.array(ends) == pytest.approx(100 * np.array(places)[:, 2:], abs=1e-4)
    assert f"calibration error is {100 * gap:.2f} points" in text
    assert ("too low" in text) == (sure.mean() < right.mean())
    certain = run.arrays | {"test_confidence": np.ones(500, np.float32), "test_predictions": run.arrays["test_labels"]}
    assert "The mean confidence, 100.00 %, equals the accuracy." in draw(charts.reliability, run.record, certain)[0]


def test_class_names_stay_text_in_figures(tmp_path: Path) -> None:
    make_record(tmp_path, n=60, epochs=2, classes=["$x_1$", "<b>&\"", "c"])
    (run,), _ = load_results(tmp_path)
    drawing = dict(pictures.maps(run.record, run.arrays))["map_points"]
    inline = inline_svg(drawing.data, "one-", 'label "<script>')
    assert "$x_1$" in inline and "&lt;b&gt;&amp;" in inline
    assert 'aria-label="label &quot;&lt;script&gt;"' in inline
    assert INK not in inline and "currentColor" in inline
    curves = inline_svg(charts.curves(summarise([run]).rows[0]).data, "one-", "label")
    assert set(re.findall(r'(?:href="|url\()#(one-)?', curves)) <= {"one-"}


@pytest.mark.parametrize(("low", "high"), [(0.98, 0.9985), (0.45, 0.94), (0.1, 1.0), (0.591, 0.6), (0.9999, 1.0)])
@styled
def test_the_error_scale_is_labelled_by_accuracy_and_better_is_right_or_up(low: float, high: float) -> None:
    for axis, place in (("x", 0), ("y", 1)):
        _, axes = narrow("title", 150)
        values = errors([low, high])
        axes.plot(*((values, [0, 1]) if axis == "x" else ([0, 1], values)))
        error_scale(axes, axis)
        line = axes.xaxis if axis == "x" else axes.yaxis
        ticks, labels = line.get_ticklocs(), [label.get_text() for label in line.get_ticklabels()]
        assert [float(label) for label in labels] == pytest.approx([100 - tick for tick in ticks], abs=0.006)
        assert len(labels) >= 2 or high - low < 0.001
        points = axes.transData.transform(list(zip(values, values, strict=True)))[:, place]
        assert (points[1] > points[0]) == (values[1] < values[0])
        shown = axes.transData.transform([(tick, tick) for tick in ticks])[:, place]
        assert (np.diff(shown) > 12).all()  # labels do not collide


def test_alternative_texts_of_charts_give_numbers(tmp_path: Path) -> None:
    path = make_record(tmp_path, "1.2.2", "mnist", "joint", n=100, epochs=4)
    edit(edit(path, "history", 0, "val_loss", value=0.4123), "history", 3, "val_loss", value=0.12)
    make_record(tmp_path, "control", "mnist", "pca", n=100, epochs=0, accuracy=0.5)
    rows = summarise(load_results(tmp_path)[0]).rows
    assert "Validation loss from 0.4123 to 0.1200, training loss from " in charts.curves(rows[0]).alt
    assert charts.curves(rows[1]) is None
    raw = json.loads(path.read_text())
    assert f"joint by classifier ({100 * raw['metrics'][HEADLINE]['value']:.2f} %)" in \
        charts.methods("mnist", rows).alt
    assert "on MNIST: 1.2.2 joint 75.00 %; control: PCA of pixels 50.00 %" in charts.overview("mnist", rows).alt


def test_captions_explain_only_the_marks_that_are_drawn(tmp_path: Path) -> None:
    """One seed and no reference have no small circles and no ticks."""
    for seed in range(2):
        make_record(tmp_path, "1.2.3", "mnist", "simclr", seed, n=100)
        make_record(tmp_path, "1.2.2", "digits", "joint", n=100)
    rows = summarise(load_results(tmp_path)[0]).rows
    for dataset, drawn in (("mnist", True), ("digits", False)):
        own = [row for row in rows if row.dataset == dataset]
        caption = charts.overview(dataset, own).caption
        assert ("small circles single seeds" in caption, "upright ticks references" in caption) == (drawn, drawn)
        fewer = charts.label_fractions(dataset, [Curve("a", [(0.1, own[0]), (1.0, own[0])])]).caption
        assert ("small markers single seeds" in fewer) == drawn


def test_falling_and_rising_losses_are_said_once_each(tmp_path: Path) -> None:
    for method, losses in (("simclr", (4.0, 1.0, 0.99)), ("dcl", (4.0, 2.0, 1.0)), ("vicreg", (1.0, 2.0, 3.0))):
        path = make_record(tmp_path, "1.2.3", "mnist", method, n=50, epochs=3)
        for i, loss in enumerate(losses):
            edit(path, "history", i, "val_loss", value=loss)
    rows = summarise(load_results(tmp_path)[0]).rows
    assert charts.training_finding(rows, "loss") == (
        "the validation loss completes 95 % of its fall by epoch 2 of 3 (simclr) and 3 of 3 (dcl), and is lowest after "
        "its first epoch (vicreg).")
