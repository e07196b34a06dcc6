"""Misclassified images and calibration, derived again from the arrays by other code."""

import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure

from report import figures_errors
from report.load import load_results
from tests.factory import make_record
from tests.report.pages import wilson_by_bisection


def test_misclassified_images_are_the_most_confident_errors_with_their_classes(tmp_path: Path) -> None:
    path = make_record(tmp_path, "1.2.2", "cifar10", "joint", n=300, accuracy=0.9, epochs=2)
    (run,), _ = load_results(tmp_path)
    with np.load(path.with_suffix(".npz")) as file:
        true, guess, sure = (file[f"test_{name}"][file["map_index"]].astype(float)
                             for name in ("labels", "predictions", "confidence"))
    wrong = sorted((i for i in range(len(true)) if true[i] != guess[i]), key=lambda i: (-sure[i], i))
    names = ["airplane", "autom\u2026le", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    expected = [(names[int(true[i])], names[int(guess[i])], f"{sure[i]:.2f}") for i in wrong[:10]]
    drawing = figures_errors.misclassified(run.record, run.arrays)
    words = [one.text for one in ElementTree.fromstring(drawing.data) if one.tag.endswith("text")]
    shown = [(a, b.removeprefix("\u2260\xa0"), c) for a, b, c in zip(*[iter(words)] * 3, strict=True)]
    assert [one[2] for one in shown] == [one[2] for one in expected] and sorted(shown) == sorted(expected)
    assert len(wrong) == 30 and "10 of 30 misclassified images among the 300 test images" in drawing.caption
    old = {name: array for name, array in run.arrays.items() if name != "test_confidence"}
    drawing = figures_errors.misclassified(run.record, old)
    assert not re.search(r"0\.\d\d<", drawing.data.decode()) and "probability" not in drawing.caption
    assert figures_errors.reliability(run.record, old) is None
    right = run.arrays | {"test_predictions": run.arrays["test_labels"]}
    assert figures_errors.misclassified(run.record, right) is None


def test_the_reliability_curve_and_its_error_follow_from_the_confidences(tmp_path: Path,
                                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_record(tmp_path, "1.2.2", "mnist", "joint", n=500, accuracy=0.8, epochs=2)
    (run,), _ = load_results(tmp_path)
    saved: list[Figure] = []
    monkeypatch.setattr(figures_errors, "save", lambda figure: saved.append(figure) or b"")
    drawing = figures_errors.reliability(run.record, run.arrays)
    with np.load(path.with_suffix(".npz")) as file:
        sure, right = file["test_confidence"].astype(float), file["test_labels"] == file["test_predictions"]
    places, gap = [], 0.0
    for low in range(10):
        own = [i for i in range(500) if low <= 10 * sure[i] < low + 1 or low == 9 and sure[i] == 1]
        if own:
            confidence, accuracy = np.mean([sure[i] for i in own]), np.mean([right[i] for i in own])
            places.append((100 * confidence, 100 * accuracy, *wilson_by_bisection(accuracy, len(own))))
            gap += len(own) / 500 * abs(confidence - accuracy)
    (axes,) = saved[0].axes
    drawn = [line.get_xydata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert np.array(drawn) == pytest.approx(np.array(places)[:, :2])
    ends = [line.get_ydata() for line in axes.lines[1:] if line.get_marker() != "o"]
    assert np.array(ends) == pytest.approx(100 * np.array(places)[:, 2:], abs=1e-4)
    assert f"calibration error is {100 * gap:.2f} points" in drawing.caption
    assert ("too low" in drawing.caption) == (sure.mean() < right.mean())
