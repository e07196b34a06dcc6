"""L1 and L2 against median and mean."""

import math

import numpy as np
import pytest
import torch.nn.functional as F
from sklearn.metrics import mean_absolute_error, mean_squared_error

from tests.theory.measured import check_committed, check_that_only_the_seed_decides, measured
from theory import digits
from theory.reconstruction_loss import experiment as reconstruction_loss


def is_median_and_mean(found: dict[str, np.ndarray], x: np.ndarray) -> bool:
    """Whether the constants found under l1 and l2 are the sample's median and mean."""
    return bool(np.abs(found["l1"] - np.median(x, axis=0)).max() < 2e-3
                and np.abs(found["l2"] - x.mean(axis=0)).max() < 1e-4)


def test_l1_ends_at_the_median_and_l2_at_the_mean() -> None:
    x = np.random.default_rng(5).gamma(0.7, size=(301, 3))  # skewed, odd
    found = {name: reconstruction_loss.best_constant(x, loss, 0.5)[0]
             for name, (loss, _) in reconstruction_loss.LOSSES.items()}
    assert is_median_and_mean(found, x)
    assert not is_median_and_mean({"l1": found["l2"], "l2": found["l1"]}, x), "exchanged losses pass"
    huber = reconstruction_loss.best_constant(x, F.smooth_l1_loss, 0.5)[0]
    assert not is_median_and_mean(found | {"l1": huber}, x), "another robust loss passes"


def test_reconstruction_loss_on_the_sample_and_on_images() -> None:
    found, images = measured("reconstruction_loss"), digits.load()[0]
    median, mean = np.median(images, axis=0), images.mean(axis=0)
    l1, l2 = found["l1"], found["l2"]
    assert l1["optimum"] == pytest.approx(math.log(2), abs=0.1)  # of the exponential distribution
    assert l2["optimum"] == pytest.approx(1, abs=0.1)
    assert l1["found"] == pytest.approx(l1["optimum"], abs=2e-3)
    assert l2["found"] == pytest.approx(l2["optimum"], abs=1e-4)
    assert is_median_and_mean({"l1": np.array(l1["image"]), "l2": np.array(l2["image"])}, images)
    for fit, constant in ((l1, median), (l2, mean)):
        assert fit["path"][0] == 1.5 and fit["path"][-1] == pytest.approx(fit["found"], abs=1e-6)
        assert fit["image_error"] == pytest.approx(np.abs(np.array(fit["image"]) - constant).max())
        for field, score in (("absolute_error", mean_absolute_error), ("squared_error", mean_squared_error)):
            assert fit[field] == pytest.approx(score(images, np.tile(constant, (len(images), 1))), rel=1e-9)
    assert l1["absolute_error"] < l2["absolute_error"] and l2["squared_error"] < l1["squared_error"]
    assert l1["blank"] == np.mean(median == 0) > 1.3 * l2["blank"]
    assert l2["blank"] == np.mean(mean < 1 / 32)


def test_the_committed_results_are_what_the_code_measures() -> None:
    check_committed("reconstruction_loss", measured("reconstruction_loss"))


def test_only_the_seed_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconstruction_loss, "STEPS", 20)
    check_that_only_the_seed_decides("reconstruction_loss")
