"""The digits, views, turns and the probe that the experiments share."""


import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tests.theory.measured import generator
from theory import digits


def test_the_digits_are_those_of_scikit_learn() -> None:
    train, train_labels, test, test_labels = digits.load()
    assert (len(train), len(test)) == (len(train_labels), len(test_labels)) == (1438, 359)
    ours = sorted((*row.round(2), label) for row, label in zip([*train, *test], [*train_labels, *test_labels],
                                                               strict=True))
    theirs = load_digits()
    scaled = np.rint(theirs.data * 255 / 16) / 255
    assert ours == sorted((*row.round(2), label) for row, label in zip(scaled, theirs.target, strict=True))


def test_a_view_is_a_shift_by_at_most_a_pixel_and_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    image = torch.from_numpy(digits.load()[0][:1]).float().repeat(600, 1)
    noise = digits.random_view(image, generator())
    padded = np.pad(image[0].numpy().reshape(8, 8), 1)
    shifts = {padded[i:i + 8, j:j + 8].astype(np.float32).tobytes() for i in range(3) for j in range(3)}
    monkeypatch.setattr(digits, "NOISE", 0.0)
    quiet = digits.random_view(image, generator())
    assert {view.numpy().tobytes() for view in quiet} == shifts
    assert (noise - quiet).std().item() == pytest.approx(0.1, rel=0.02)
    assert abs((noise - quiet).mean().item()) < 0.002


def test_turn_rotates_as_numpy_does() -> None:
    images = torch.from_numpy(digits.load()[0][:8])
    quarters = torch.tensor([0, 1, 2, 3, 3, 2, 1, 0])
    turned = digits.turn(images, quarters)
    for image, k, got in zip(images, quarters, turned, strict=True):
        assert np.array_equal(np.rot90(image.numpy().reshape(8, 8), int(k)).ravel(), got.numpy())


def test_the_probe_is_a_standardised_logistic_regression_scored_on_the_test_set() -> None:
    train, train_labels, test, test_labels = digits.load()
    scale = StandardScaler().fit(train[:, 20:30])
    model = LogisticRegression(max_iter=1000).fit(scale.transform(train[:, 20:30]), train_labels)
    expected = (model.predict(scale.transform(test[:, 20:30])) == test_labels).mean()
    assert digits.probe_accuracy(train[:, 20:30], train_labels, test[:, 20:30], test_labels) == pytest.approx(expected)
