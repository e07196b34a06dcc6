"""Sentences of the discussion at the borders of their words; most others are tested with what shows them."""

from pathlib import Path
from types import SimpleNamespace

from report import discussion
from report.stats import label_curves, mcnemar_pairs
from tests.factory import edit, make_record
from tests.report.test_findings import results_of


def test_the_purest_maps_are_named_next_to_those_of_control_and_pixels(tmp_path: Path) -> None:
    """A latent as pure as the pixels, 0.5, is not purer."""
    for task, method, agreement in (("1.2.3", "simclr", 0.8), ("1.2.3", "cmc", 0.9), ("1.2.2", "joint", 0.95),
                                    ("1.2.1", "plain", 0.5), ("control", "pca", 0.45)):
        path = make_record(tmp_path, task, "mnist", method, n=100, epochs=0 if task == "control" else 12)
        for name, value in (("tsne_agreement", agreement), ("pixel_tsne_agreement", 0.5)):
            edit(path, "metrics", f"test/{name}", "value", value=value)
    rows = results_of(tmp_path).headline
    assert discussion.clusters("mnist", rows) == (
        "On t-SNE maps of MNIST, the agreement of a point's neighbours with its class, mean over seeds, is 95.00 % for "
        "1.2.2 joint (learned from labels), 90.00 % for 1.2.3 cmc (hybrid, the highest learned without labels), 45.00 "
        "% for PCA of pixels (the best control) and 50.00 % for the pixels. It is no higher than that of the pixels "
        "for 1.2.1 plain.")
    counts = rows[0].runs[0].record.data.class_counts["test"]
    mixed = f"{sum(one**2 for one in counts) / 100:.3g} %"
    assert discussion.evenly_mixed([("mnist", rows), ("cifar10", rows)]) == (
        f"Evenly mixed classes have an agreement of {mixed}.")
    make_record(tmp_path, "1.2.2", "folder-a", "joint", n=100, classes=["cat", "dog"])
    two = [row for row in results_of(tmp_path).headline if row.dataset == "folder-a"]
    assert discussion.evenly_mixed([("mnist", rows), ("folder-a", two)]).startswith(
        f"Evenly mixed classes have an agreement of {mixed} on MNIST and 5")
    assert discussion.clusters("mnist", [row for row in rows if row.task == "control"]) == ""


def confused(*errors: tuple[int, int, int], seeds: int = 1, classes: int = 4, missing: int = 0) -> SimpleNamespace:
    """A row with confusion matrices of these errors (class, prediction, images)."""
    counts = [[9 * (i == j) for j in range(classes)] for i in range(classes)]
    for true, predicted, number in errors:
        counts[true][predicted] = number
    data = SimpleNamespace(classes=["cat", "dog", "frog", "ship"][:classes], size=lambda split: 400)
    found = [SimpleNamespace(counts=counts)] * seeds + [None] * missing
    return SimpleNamespace(task="1.2.3", label="simclr", runs=[
        SimpleNamespace(record=SimpleNamespace(confusion=one, data=data)) for one in found])


def test_the_two_classes_confused_most_are_counted_in_both_directions() -> None:
    pair = discussion.most_confused
    assert pair(confused((0, 1, 5), (1, 0, 6), (2, 3, 10))) == ("cat and dog", 11)
    assert pair(confused((3, 2, 10), (0, 1, 9), seeds=2, missing=1)) == ("frog and ship", 10)
    assert pair(confused((0, 1, 5), (1, 0, 5), (2, 3, 10))) == pair(confused()) == ("", 0)
    assert pair(confused((0, 1, 30), classes=2)) == ("", 0)  # of two classes there is one pair


def test_what_most_latents_confuse_is_said_of_the_data_set() -> None:
    dogs, more, ships, level = (confused((0, 1, 7)), confused((1, 0, 9)), confused((2, 3, 4)), confused())
    ships.label, level.label = "dcl", "byol"
    many = confused((0, 1, 1212))
    assert discussion.confusions("mnist", [ships, dogs, level, more, many]) == (
        "On MNIST, 3 of 5 learned latents confuse cat and dog most often, in 7 to 1,212 of 400 test images per run; "
        "for 1.2.3 dcl it is frog and ship and for 1.2.3 byol it is no single pair.")
    assert discussion.confusions("mnist", [many]) == (
        "On MNIST, 1.2.3 simclr confuses cat and dog most often, in 1,212 of 400 test images per run.")
    for chance in ([dogs], [many, ships], [level], []):  # few images, no pair of most of them, none
        assert discussion.confusions("mnist", chance) == ""


def test_what_the_readout_is_worth_is_said_where_latents_are_read_differently(tmp_path: Path) -> None:
    for task, method, encoder, accuracy in (
            ("control", "calibrated", "conv", 0.4), ("control", "depths", "conv_depths", 0.7),
            ("1.2.1", "plain", "conv", 0.6), ("1.2.3", "simclr", "conv_depths", 0.8)):
        make_record(tmp_path, task, "mnist", method, accuracy=accuracy, n=100, fields={"encoder": encoder},
                    epochs=0 if task == "control" else 12)
    rows = results_of(tmp_path).rows
    assert discussion.readout("mnist", rows) == (
        "On MNIST, reading an untrained encoder at every depth instead of at its end raises its accuracy from 40.00 "
        "to 70.00 %. Of the learned latents, 1.2.3 simclr (encoder=conv_depths) is read in this way and the other is "
        "not, so part of the difference in accuracy may come from the readout.")
    assert discussion.readout("mnist", [row for row in rows if row.method != "plain"]) == ""
    make_record(tmp_path, "control", "mnist", "depths", accuracy=0.4, n=100, fields={"encoder": "conv_depths"})
    assert discussion.readout("mnist", results_of(tmp_path).rows) == ""


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
    assert discussion.by_fraction("mnist", curves) == (
        "On MNIST, an encoder of another recipe that learned without labels and was then fine-tuned for 4 epochs, with "
        "a recipe chosen on test images, is significantly more accurate with 1 % and 10 %, not significantly more or "
        "less accurate with 30 % and significantly less accurate with 50 % of the labels, compared with one that was "
        "trained from random weights for 12 epochs.")
    assert discussion.by_fraction("mnist", [one for one in curves if "fine-tuned" in one.name]) == ""
    for path in tmp_path.glob("*simclr*.json"):
        edit(path, "run", "init", "labels", value=1.0)
    assert "that was trained before and was then" in discussion.by_fraction("mnist", label_curves(
        results_of(tmp_path).rows))


def test_rivals_of_the_best_latent_are_named(tmp_path: Path) -> None:
    for method, accuracy in (("simclr", 0.9), ("dcl", 0.9 - 1 / 400), ("byol", 0.5)):
        make_record(tmp_path, "1.2.3", "mnist", method, accuracy=accuracy, n=400)
    make_record(tmp_path, "1.2.2", "mnist", "joint", accuracy=0.89, n=400)  # which used labels
    rows = results_of(tmp_path).headline
    assert discussion.rivals("mnist", rows, mcnemar_pairs(rows)) == (
        "On MNIST, 1.2.3 simclr, the best latent learned without labels, is not shown to be more accurate than 1.2.3 "
        "dcl.")
    for seed in (1, 2):
        make_record(tmp_path, "1.2.3", "mnist", "dcl", seed, accuracy=0.9 - 1 / 400, n=400)
    more = results_of(tmp_path).headline  # now dcl is the best of three seeds, and simclr, which is higher, no rival
    assert discussion.rivals("mnist", more, mcnemar_pairs(more)).endswith(
        "1.2.3 dcl, the best latent learned without labels of the rows with three seeds, scores lower than 1.2.3 "
        "simclr (90.00 %), which has fewer than three seeds.")
    only = [row for row in rows if row.method != "dcl"]
    assert discussion.rivals("mnist", only, mcnemar_pairs(only)) == ""


def test_encoders_of_different_size_are_named(tmp_path: Path) -> None:
    make_record(tmp_path, "1.2.2", "mnist", "joint", accuracy=0.9, n=400)
    path = make_record(tmp_path, "1.2.3", "mnist", "simclr", accuracy=0.8, n=400)
    rows = results_of(tmp_path).headline
    assert "The encoders differ" not in discussion.label_gap("mnist", rows, mcnemar_pairs(rows))
    edit(path, "derived", "parameters", "encoder", value=4_651_648)
    rows = results_of(tmp_path).headline
    text = discussion.label_gap("mnist", rows, mcnemar_pairs(rows))
    assert text.endswith("1.23 million parameters with labels, 4.65 without.")


def test_rows_that_pca_of_pixels_may_equal_are_named(tmp_path: Path) -> None:
    for task, method, accuracy in (("control", "pca", 0.8), ("control", "patch_pca", 0.9), ("1.2.1", "plain", 0.8),
                                   ("1.2.1", "masked", 0.3), ("1.2.3", "simclr", 0.95)):
        make_record(tmp_path, task, "mnist", method, accuracy=accuracy, n=400)
    rows = results_of(tmp_path).headline
    assert discussion.like_pixels("mnist", rows, mcnemar_pairs(rows)) == (
        "On MNIST, even PCA of pixels (80.00 %) is not shown to be less accurate than 1.2.1 plain and 1.2.1 masked.")
    best = [row for row in rows if row.method != "patch_pca"]  # then it is the best control, of which more is said
    assert discussion.like_pixels("mnist", best, mcnemar_pairs(best)) == ""
