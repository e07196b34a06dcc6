"""Sentences of abstract and discussion at the borders of their words; most others are tested with what shows them."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from report import findings
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
        "By test accuracy, the best latent learned without labels is that of 1.2.3 simclr on MNIST (80.00 %, of the "
        "rows with three seeds); guessing gives 10 %."]
    assert findings.rivals("mnist", rows, mcnemar_pairs(rows)) == (
        "On MNIST, 1.2.3 simclr, the best latent learned without labels of the rows with three seeds, scores lower "
        "than 1.2.3 dcl (90.00 %), which has fewer than three seeds.")
    for seed in range(3):
        make_record(tmp_path, "1.2.3", "mnist", "byol", seed, accuracy=0.8, n=100, epochs=2)
    rows = results_of(tmp_path).headline
    assert findings.rivals("mnist", rows, mcnemar_pairs(rows)) == (
        "On MNIST, 1.2.3 simclr and 1.2.3 byol, the best latents learned without labels of the rows with three seeds, "
        "score lower than 1.2.3 dcl (90.00 %), which has fewer than three seeds.")


@pytest.mark.parametrize("control, accuracies, said", [
    (0.97, {"1.2.1": 0.99}, ""),
    (0.98, {"1.2.1": 0.99}, ", but the best control exceeds this reference, too"),
    (0.98, {"1.2.1": 0.9}, "does not exceed its reference, but the best control exceeds this reference"),
    (0.98, {"1.2.1": 0.99, "1.2.2": 0.9}, ", but the best control exceeds 1 of these 2 references, too"),
    (0.98, {"1.2.1": 0.9, "1.2.2": 0.9, "1.2.3": 0.9},
     "none of these exceeds its reference, but the best control exceeds 2 of these 3 references")])
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
    assert text.endswith(f"{said}.") and ("the best control" in text) == bool(said)


def test_results_below_the_best_control_are_named(tmp_path: Path) -> None:
    for control, said in ((0.9, "but the best control is significantly more accurate than 1.2.1 plain on MNIST by 40"),
                          (0.98, "but the best control exceeds 1 of these 2 references, too, and is significantly "
                                 "more accurate than 1.2.1 plain on MNIST by 48")):
        for task, method, accuracy in (("control", "pca", control), ("1.2.1", "plain", 0.5), ("1.2.1", "masked", 0.4),
                                       ("1.2.2", "joint", 0.999)):
            make_record(tmp_path, task, "mnist", method, accuracy=accuracy, n=1000)
        results = results_of(tmp_path)
        assert f"{said}.00 points. Missing:" in findings.coverage(results, pairs_of(results))  # masked is not asked for


@pytest.mark.parametrize("latents, said", [
    ((0.8, 0.7), "2 latents of MNIST, points have more"), ((0.8, 0.4), "1 of 2 latents of MNIST, points have more"),
    ((0.5, 0.4), "2 latents of MNIST, points have no more")])
def test_latents_whose_maps_are_purer_than_those_of_the_pixels_are_counted(latents: tuple[float, float], said: str,
                                                                           tmp_path: Path) -> None:
    """A latent as pure as the pixels, 0.5, is not purer."""
    for method, agreement in zip(("simclr", "dcl"), latents, strict=True):
        path = make_record(tmp_path, "1.2.3", "mnist", method, n=100)
        for name, value in (("tsne_agreement", agreement), ("pixel_tsne_agreement", 0.5)):
            edit(path, "metrics", f"test/{name}", "value", value=value)
    control = make_record(tmp_path, "control", "mnist", "pca", n=100, epochs=0)
    edit(control, "metrics", "test/tsne_agreement", "value", value=0.45)
    *rows, unlearned = results_of(tmp_path).headline
    text = findings.clusters("mnist", rows, unlearned)
    assert f"On the t-SNE maps of {said} neighbours of their own class than on the map of the pixels" in text
    assert f"{100 * latents[0]:.2f} % for 1.2.3 simclr, {100 * latents[1]:.2f} % for 1.2.3 dcl, 50.00 % " \
           "for the pixels and 45.00 % for PCA of pixels, a control." in text
    counts = rows[0].runs[0].record.data.class_counts["test"]
    assert text.endswith(f" If classes were mixed evenly, it would be {sum(one**2 for one in counts) / 100:.3g} %.")
    assert "a control" not in findings.clusters("mnist", rows, None)


def test_the_two_classes_confused_most_are_counted_in_both_directions() -> None:
    def confused(*errors: tuple[int, int, int], seeds: int = 1, classes: int = 4) -> str:
        counts = [[9 * (i == j) for j in range(classes)] for i in range(classes)]
        for true, predicted, number in errors:
            counts[true][predicted] = number
        record = SimpleNamespace(confusion=SimpleNamespace(counts=counts),
                                 data=SimpleNamespace(classes=["cat", "dog", "frog", "ship"][:classes]))
        empty = SimpleNamespace(confusion=None, data=record.data)
        runs = [SimpleNamespace(record=one) for one in [record] + [empty] * (seeds - 1)]
        return findings.most_confused(SimpleNamespace(runs=runs))

    assert confused((0, 1, 5), (1, 0, 6), (2, 3, 10)) == "cat and dog"
    assert confused((1, 0, 9), (2, 3, 10)) == "frog and ship"
    assert confused((3, 2, 10), (0, 1, 9)) == "frog and ship"
    assert confused((0, 1, 5), (1, 0, 5), (2, 3, 10)) == confused() == ""
    assert confused((0, 1, 9)) == confused((0, 1, 19), seeds=2) == ""  # so few images of a run are chance
    assert confused((0, 1, 20), seeds=2) == "cat and dog"
    assert confused((0, 1, 30), classes=2) == ""  # of two classes there is one pair


def test_what_fine_tuning_is_worth_is_said_of_each_fraction(tmp_path: Path) -> None:
    """With few labels it helps, with many it does not, and where a fraction has one curve nothing is said."""
    init = {"record": "old.json", "task": "1.2.3", "dataset": "mnist", "labels": 0.0, "method": "simclr", "seed": 0,
            "recipe_hash": "0" * 8, "sha256": "4" * 64}
    for share, scratch, tuned in ((0.01, 0.5, 0.9), (0.1, 0.6, 0.9), (0.3, 0.8, 0.8), (0.5, 0.9, 0.6)):
        make_record(tmp_path, "1.2.2", "mnist", "joint", accuracy=scratch, n=400, fields={"labels": share})
        make_record(tmp_path, "1.2.3", "mnist", "simclr", accuracy=tuned, n=400, init=init, epochs=0,
                    fields={"labels": share, "epochs": 0, "finetune": True})
    make_record(tmp_path, "1.2.2", "mnist", "joint", accuracy=0.9, n=400)  # nothing is fine-tuned with all labels
    curves = label_curves(results_of(tmp_path).rows)
    assert findings.by_fraction("mnist", curves) == (
        "Compared with training from random weights for 12 epochs, fine-tuning a learned encoder of another recipe for "
        "4 epochs, with a recipe chosen on test images, on MNIST is significantly more accurate with 1 % and 10 %, not "
        "significantly different with 30 % and significantly less accurate with 50 % of the labels (McNemar's test of "
        "each pair alone, one seed each).")
    assert findings.by_fraction("mnist", [one for one in curves if "fine-tuned" in one.name]) == ""


def test_rivals_of_the_best_latent_are_named(tmp_path: Path) -> None:
    for method, accuracy in (("simclr", 0.9), ("dcl", 0.9 - 1 / 400), ("byol", 0.5)):
        make_record(tmp_path, "1.2.3", "mnist", method, accuracy=accuracy, n=400)
    make_record(tmp_path, "1.2.2", "mnist", "joint", accuracy=0.89, n=400)  # which used labels
    rows = results_of(tmp_path).headline
    assert findings.rivals("mnist", rows, mcnemar_pairs(rows)) == (
        "On MNIST, 1.2.3 simclr, the best latent learned without labels, is not shown to be more accurate than 1.2.3 "
        "dcl.")
    for seed in (1, 2):
        make_record(tmp_path, "1.2.3", "mnist", "dcl", seed, accuracy=0.9 - 1 / 400, n=400)
    more = results_of(tmp_path).headline  # now dcl is the best of three seeds, and simclr, which is higher, no rival
    assert findings.rivals("mnist", more, mcnemar_pairs(more)).endswith(
        "1.2.3 dcl, the best latent learned without labels of the rows with three seeds, scores lower than 1.2.3 "
        "simclr (90.00 %), which has fewer than three seeds.")
    only = [row for row in rows if row.method != "dcl"]
    assert findings.rivals("mnist", only, mcnemar_pairs(only)) == ""


def test_encoders_of_different_size_are_named(tmp_path: Path) -> None:
    make_record(tmp_path, "1.2.2", "mnist", "joint", accuracy=0.9, n=400)
    path = make_record(tmp_path, "1.2.3", "mnist", "simclr", accuracy=0.8, n=400)
    rows = results_of(tmp_path).headline
    assert "The encoders differ" not in findings.label_gap("mnist", rows, mcnemar_pairs(rows))
    edit(path, "derived", "parameters", "encoder", value=4_651_648)
    rows = results_of(tmp_path).headline
    assert "4.65 million parameters." in findings.label_gap("mnist", rows, mcnemar_pairs(rows))


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
        "On MNIST, the autoencoder that reconstructs best, 1.2.1 plain (50.00 %), does not have the best latent, which "
        "is that of 1.2.1 masked (80.00 %).")
    for encoder, said in (("conv", "."), ("conv_depths", ", with another encoder.")):
        monkeypatch.setattr(findings, "encoder_of", lambda row, own=encoder: own if row.method == "masked" else "conv")
        assert findings.reconstruction("mnist", results.headline).endswith(
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


def test_rows_that_pca_of_pixels_may_equal_are_named(tmp_path: Path) -> None:
    for task, method, accuracy in (("control", "pca", 0.8), ("control", "patch_pca", 0.9), ("1.2.1", "plain", 0.8),
                                   ("1.2.1", "masked", 0.3), ("1.2.3", "simclr", 0.95)):
        make_record(tmp_path, task, "mnist", method, accuracy=accuracy, n=400)
    rows = results_of(tmp_path).headline
    assert findings.like_pixels("mnist", rows, mcnemar_pairs(rows)) == (
        "On MNIST, even PCA of pixels (80.00 %) is not shown to be less accurate than 1.2.1 plain and 1.2.1 masked.")
    best = [row for row in rows if row.method != "patch_pca"]  # then it is the best control, of which more is said
    assert findings.like_pixels("mnist", best, mcnemar_pairs(best)) == ""


def test_latents_in_which_no_pair_of_classes_stands_out_are_named(monkeypatch, tmp_path: Path) -> None:
    for method in ("simclr", "dcl"):
        make_record(tmp_path, "1.2.3", "mnist", method, n=100)
    monkeypatch.setattr(findings, "most_confused", lambda row: "4 and 9" if row.method == "dcl" else "")
    rows = results_of(tmp_path).headline
    assert findings.confusions("mnist", rows) == (
        "On MNIST, the classes confused most often are 4 and 9 (1.2.3 dcl); for 1.2.3 simclr, no pair is first with "
        "at least 10 images per run.")
    assert findings.confusions("mnist", [row for row in rows if row.method == "simclr"]) == ""
