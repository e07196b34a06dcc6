"""Figures of numbers, and SVG in the page."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from report import charts, pictures
from report.columns import error_scale, errors, narrow, styled
from report.drawing import INK, inline_svg
from report.load import load_results
from report.summary import summarise
from tests.factory import edit, make_record
from utils.records.schema import HEADLINE


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
    assert f"joint by classifier ({100 * raw['metrics'][HEADLINE]['value']:.2f} %)" in charts.methods("mnist", rows).alt
    assert "on MNIST: 1.2.2 joint 75.00 %; control: PCA of pixels 50.00 %" in charts.overview("mnist", rows).alt
