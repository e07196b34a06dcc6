"""Sentences of abstract and discussion at the borders of their words; most others are tested with what shows them."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from report import discussion, findings
from report.load import load_results
from report.stats import Pair, label_curves, mcnemar_pairs
from report.summary import Results, by_dataset, summarise
from tests.factory import edit, make_record


def results_of(folder: Path) -> Results:
    return summarise(load_results(folder)[0])


def pairs_of(results: Results) -> dict[str, list[Pair]]:
    return {dataset: mcnemar_pairs(rows) for dataset, rows in by_dataset(results.headline)}


def test_a_difference_must_be_significant_after_the_correction() -> None:
    good, control = (SimpleNamespace(accuracy=accuracy, low=accuracy, high=accuracy) for accuracy in (0.9, 0.8))
    for adjusted, sure in ((0.051, False), (0.049, True)):
        assert findings.exceeds(good, control, [Pair(good, control, 0, 30, 10, 0.002, adjusted)]) == sure


def test_two_seeds_are_fewer_than_three(tmp_path: Path) -> None:
    for method, seeds, accuracy in (("simclr", 3, 0.8), ("dcl", 2, 0.9)):
        for seed in range(seeds):
            make_record(tmp_path, "1.2.3", "mnist", method, seed, accuracy=accuracy, n=100, epochs=2)
    rows = results_of(tmp_path).headline
    assert findings.best_latents([("mnist", rows)], {"mnist": mcnemar_pairs(rows)}) == [
        "Of the rows with three seeds, the best latent learned without labels is that of 1.2.3 simclr on MNIST (80.00 "
        "%); guessing gives 10 %."]
    assert discussion.rivals("mnist", rows, mcnemar_pairs(rows)) == (
        "On MNIST, 1.2.3 simclr, the best latent learned without labels of the rows with three seeds, scores lower "
        "than 1.2.3 dcl (90.00 %), which has fewer than three seeds.")
    make_record(tmp_path, "1.2.3", "cifar10", "dcl", accuracy=0.5, n=100, epochs=2)
    both = by_dataset(results_of(tmp_path).headline)
    assert findings.best_latents(both, {dataset: mcnemar_pairs(found) for dataset, found in both})[0] == (
        "By test accuracy, the best latent learned without labels is that of 1.2.3 simclr on MNIST (80.00 %, of the "
        "rows with three seeds) and 1.2.3 dcl on CIFAR-10 (50.00 %, 1 seed); guessing gives 10 %.")
    for seed in range(3):
        make_record(tmp_path, "1.2.3", "mnist", "byol", seed, accuracy=0.8, n=100, epochs=2)
    rows = results_of(tmp_path).headline
    assert discussion.rivals("mnist", rows, mcnemar_pairs(rows)) == (
        "On MNIST, 1.2.3 simclr and 1.2.3 byol, the best latents learned without labels of the rows with three seeds, "
        "score lower than 1.2.3 dcl (90.00 %), which has fewer than three seeds.")


@pytest.mark.parametrize("control, accuracies, said", [
    (0.97, {"1.2.1": 0.99}, ""),
    (0.98, {"1.2.1": 0.99}, ", but {} exceeds this reference, too"),
    (0.98, {"1.2.1": 0.9}, "it does not exceed its reference, but {} exceeds this reference"),
    (0.98, {"1.2.1": 0.99, "1.2.2": 0.9}, ", but {} exceeds 1 of these 2 references, too"),
    (0.98, {"1.2.1": 0.9, "1.2.2": 0.9, "1.2.3": 0.9},
     "none of these exceeds its reference, but {} exceeds 2 of these 3 references")])
def test_references_below_the_best_control_are_counted(control: float, accuracies: dict[str, float], said: str,
                                                       tmp_path: Path, monkeypatch) -> None:
    make_record(tmp_path, "control", "mnist", "pca", accuracy=control, n=1000, epochs=0)
    make_record(tmp_path, "control", "mnist", "random", accuracy=0.5, n=1000, epochs=0)
    for task, accuracy in accuracies.items():
        method = {"1.2.1": "plain", "1.2.2": "joint", "1.2.3": "simclr"}[task]
        make_record(tmp_path, task, "mnist", method, accuracy=accuracy, n=1000)
    results = results_of(tmp_path)
    monkeypatch.setattr(findings, "is_below", lambda *_: False)
    text = findings.coverage(results, pairs_of(results)).partition(" Missing:")[0]
    assert text.endswith(f"{said.format('the best control on the same data set')}.")
    assert ("the best control" in text) == bool(said)


def test_results_below_the_best_control_are_named(tmp_path: Path) -> None:
    for control, said in ((0.9, "the same data set is significantly more accurate than 1.2.1 plain on MNIST by 40"),
                          (0.98, "exceeds 1 of these 2 references, too, and is significantly "
                                 "more accurate than 1.2.1 plain on MNIST by 48")):
        for task, method, accuracy in (("control", "pca", control), ("1.2.1", "plain", 0.5), ("1.2.1", "masked", 0.4),
                                       ("1.2.2", "joint", 0.999)):
            make_record(tmp_path, task, "mnist", method, accuracy=accuracy, n=1000)
        results = results_of(tmp_path)
        assert f"{said}.00 points. Missing:" in findings.coverage(results, pairs_of(results))  # masked is not asked for


def test_a_control_that_may_be_as_good_by_chance_is_said_to_be(tmp_path: Path) -> None:
    for accuracy, said in ((0.91, "1.00 points below the best unlearned control, PCA of pixels with 1 seed, not "
                                  "significant"),
                           (0.99, "9.00 points below the best unlearned control, PCA of pixels with 1 seed")):
        make_record(tmp_path, "1.2.3", "mnist", "simclr", accuracy=0.9, n=400)
        make_record(tmp_path, "control", "mnist", "pca", accuracy=accuracy, n=400, epochs=0)
        rows = results_of(tmp_path).headline
        assert findings.best_latents([("mnist", rows)], {"mnist": mcnemar_pairs(rows)}) == [
            "By test accuracy, the best latent learned without labels is that of 1.2.3 simclr on MNIST (90.00 %, "
            f"1 seed, {said}); guessing gives 10 %."]


def test_a_curve_of_unequal_training_says_so(tmp_path: Path) -> None:
    """Epochs may differ within a curve, so its caption names them; those of a frozen encoder do not count."""
    for share, epochs in ((0.01, 16), (0.1, 4), (1.0, 16)):
        make_record(tmp_path, "1.2.2", "mnist", "joint", n=60, epochs=epochs, fields={"labels": share,
                                                                                      "epochs": epochs})
        make_record(tmp_path, "1.2.3", "mnist", "simclr", n=60, epochs=epochs, fields={"labels": share,
                                                                                       "epochs": epochs})
    curves = {one.name: findings.uneven(one) for one in label_curves(results_of(tmp_path).rows)}
    assert curves == {
        "contrastive simclr, frozen": "",
        "random initialisation, trained end to end": "random initialisation, trained end to end: 16 epochs with 1 % "
                                                     "and 100 %, 4 epochs with 10 % of the labels"}


def test_the_trade_off_is_that_of_autoencoders_of_pixels(tmp_path: Path, monkeypatch) -> None:
    """What `patches` decodes to pixels does not shape its latent."""
    for method, accuracy, error in (("plain", 0.5, 0.01), ("masked", 0.8, 0.02), ("patches", 0.9, 0.05)):
        path = make_record(tmp_path, "1.2.1", "mnist", method, accuracy=accuracy, n=400, reconstructions=4)
        edit(path, "metrics", "test/reconstruction_mae", "value", value=error)
    results = results_of(tmp_path)
    assert findings.abstract(results, pairs_of(results), {}, [])[-1] == (
        "Of the autoencoders of pixels on MNIST, 1.2.1 plain reconstructs best, but its latent is less accurate (50.00 "
        "%) than that of 1.2.1 masked (80.00 %).")
    for encoder, said in (("conv", "."), ("conv_depths", ", with another encoder.")):
        encoders = {"masked": encoder}
        monkeypatch.setattr(findings, "encoder_of", lambda row, of=encoders: of.get(row.method, "conv"))
        assert discussion.reconstruction("mnist", results.headline).endswith(
            "1.2.1 plain has a mean absolute error of 0.01000 and an accuracy of 50.00 %, but 1.2.1 masked has a mean "
            f"absolute error of 0.02000 and an accuracy of 80.00 %{said}")


def test_the_toy_set_is_in_the_abstract_only_by_itself(tmp_path: Path) -> None:
    make_record(tmp_path, "1.2.3", "digits", "simclr", accuracy=0.9, n=100)
    make_record(tmp_path, "control", "mnist", "pca", accuracy=0.5, n=100)
    for others in ([], [("1.2.1", "mnist", "plain")]):
        for task, dataset, method in others:
            make_record(tmp_path, task, dataset, method, accuracy=0.8, n=100)
        results = results_of(tmp_path)
        text = " ".join(findings.abstract(results, pairs_of(results), {}, []))
        assert ("Digits" in text) == (not others)
