"""Variance directions against scikit-learn."""


import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from tests.theory.measured import check_committed, measured
from theory import digits
from theory.variance_directions import experiment as variance_directions


def test_variance_directions_against_scikit_learn() -> None:
    found, (train, train_labels, test, test_labels) = measured("variance_directions"), digits.load()
    pca, part, splits = PCA().fit(train), found["digits"], found["digits"]["splits"]
    z, z_test = pca.transform(train), pca.transform(test)
    assert part["directions"] == np.linalg.matrix_rank(train - train.mean(0)) == 61
    assert [split["first"] for split in splits] == list(variance_directions.SPLITS)
    for split in splits:
        j = split["first"]
        missed = np.square(z_test[:, j:]).sum() / np.square(z_test).sum()
        assert split["leading"]["missed"] == pytest.approx(missed, rel=1e-9)
        assert split["others"]["missed"] == pytest.approx(1 - missed, rel=1e-3)  # never-inked pixels are in neither
    at_6 = next(split for split in splits if split["first"] == 6)
    for side, keep in (("leading", np.s_[:6]), ("others", np.s_[6:61])):
        scale = StandardScaler().fit(z[:, keep])
        model = LogisticRegression(max_iter=1000).fit(scale.transform(z[:, keep]), train_labels)
        assert at_6[side]["accuracy"] == pytest.approx(model.score(scale.transform(z_test[:, keep]), test_labels),
                                                       abs=0.006)  # two images: the axes' signs differ
    assert found["chance"] == np.bincount(test_labels).max() / len(test_labels)


def background_hides_the_class(found: dict, part: dict) -> bool:
    """The claim: directions with nearly all of the variance are nearly useless to the probe, and vice versa."""
    split = next(split for split in part["splits"] if split["first"] == found["patterns"])
    return (split["leading"]["missed"] < 0.1 and split["leading"]["accuracy"] < 0.2
            and split["others"]["missed"] > 0.9 and split["others"]["accuracy"] > 0.9)


def test_backgrounds_take_the_first_directions_and_the_digits_do_not() -> None:
    found = measured("variance_directions")
    assert background_hides_the_class(found, found["backgrounds"])
    assert not background_hides_the_class(found, found["digits"])
    last = found["digits"]["splits"][-1]
    assert last["leading"]["accuracy"] > 0.9 > 0.5 > last["others"]["accuracy"]


def test_weak_backgrounds_do_not_pass_for_strong_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    train, train_labels, test, test_labels = digits.load()
    monkeypatch.setattr(variance_directions, "BACKGROUND_SCALE", 0.1)
    monkeypatch.setattr(variance_directions, "SPLITS", (6,))
    rng = np.random.default_rng(0)
    part = variance_directions.measure(variance_directions.on_backgrounds(train, rng), train_labels,
                                       variance_directions.on_backgrounds(test, rng), test_labels)
    assert not background_hides_the_class({"patterns": 6}, part)


def test_backgrounds_are_orthonormal_smooth_and_as_strong_as_said() -> None:
    patterns = variance_directions.background_patterns()
    np.testing.assert_allclose(patterns @ patterns.T, np.eye(6), atol=1e-12)
    added = variance_directions.on_backgrounds(np.zeros((4000, 64)), np.random.default_rng(1))
    assert np.linalg.matrix_rank(added) == 6
    np.testing.assert_allclose((added @ patterns.T).std(axis=0), 3.0, rtol=0.05)


def test_the_committed_results_are_what_the_code_measures() -> None:
    check_committed("variance_directions", measured("variance_directions"))
