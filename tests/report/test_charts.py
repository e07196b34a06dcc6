"""Figures of numbers, and SVG in the page."""

import json
import re
from pathlib import Path

from report import charts, pictures
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


def test_alternative_texts_of_charts_give_numbers(tmp_path: Path) -> None:
    path = make_record(tmp_path, "1.2.2", "mnist", "joint", n=100, epochs=4)
    edit(edit(path, "history", 0, "val_loss", value=0.4123), "history", 3, "val_loss", value=0.12)
    make_record(tmp_path, "control", "mnist", "pca", n=100, epochs=0, accuracy=0.5)
    rows = summarise(load_results(tmp_path)[0]).rows
    assert "Validation loss falls from 0.4123 to 0.1200 over 4 epochs" in charts.curves(rows[0]).alt
    assert charts.curves(rows[1]) is None
    raw = json.loads(path.read_text())
    assert f"joint by classifier ({100 * raw['metrics'][HEADLINE]['value']:.2f} %)" in charts.methods("mnist", rows).alt
    assert "on MNIST: 1.2.2 joint 75.00 %; control: PCA of pixels 50.00 %" in charts.overview("mnist", rows).alt
