"""The headline table, derived again from the JSON by other code, and what the page says about the records."""

import re
import statistics
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
import scipy.stats

from report import discussion, findings, summary
from report.load import load_results
from report.stats import Pair, label_curves, mcnemar_pairs
from tests.factory import make_record
from tests.report.pages import (
    NAMES,
    close,
    expected_rows,
    headline,
    parse,
    pdf_text,
    table_of,
    wilson_by_bisection,
)
from utils.records.schema import HEADLINE


def check_cells(runs: list[dict], cells: list[str]) -> None:
    """Accuracy, SD (n), interval, linear, kNN, minutes and seeds of one row, from the raw JSON."""
    accuracy, deviation, interval, linear, knn, minutes, seeds = cells
    values = [run["metrics"][HEADLINE]["correct"] / run["metrics"][HEADLINE]["n"] for run in runs]
    n, mean = runs[0]["metrics"][HEADLINE]["n"], statistics.fmean(values)
    assert close(accuracy, 100 * mean)
    spread, count, mark = re.fullmatch(r"(.+) \((\d+)\)(.?)", deviation).groups()
    assert mark == ("‡" if runs[0]["run"]["method"] == "byol" or runs[0]["recipe"]["fields"].get("finetune") else "")
    assert int(count) == len(runs)
    assert spread == "–" if len(runs) == 1 else close(spread, 100 * statistics.stdev(values))
    low, high = wilson_by_bisection(mean, n)
    assert close(interval.split("–")[0], 100 * low) and close(interval.split("–")[1], 100 * high)
    assert close(linear, 100 * statistics.fmean(run["metrics"]["test/linear_top1"]["value"] for run in runs))
    assert close(knn, 100 * statistics.fmean(run["metrics"]["test/knn_top1"]["value"] for run in runs))
    mean_minutes, timed = re.fullmatch(r"≤ (.+) \((\d+)\)", minutes).groups()  # these records say nothing of other load
    assert close(mean_minutes, statistics.fmean(run["run"]["seconds"] for run in runs) / 60, digits=1)
    assert int(timed) == len(runs)
    assert seeds == ", ".join(str(seed) for seed in sorted(run["run"]["seed"] for run in runs))


def check_against_controls(dataset: str, task: str, runs: list[dict], folder: Path, seeds: str, over: str) -> None:
    """Student's interval over seeds, and the distance from the best control, from the raw JSON."""
    values = [run["metrics"][HEADLINE]["value"] for run in runs]
    if len(values) < 3:
        assert seeds == "–"
    else:
        low, high = scipy.stats.t.interval(0.95, len(values) - 1, statistics.fmean(values), scipy.stats.sem(values))
        shown = [float(part) for part in seeds.split("–")]
        assert shown == pytest.approx([100 * max(low, 0), 100 * min(high, 1)], abs=0.0051)
    controls = [statistics.fmean(run["metrics"][HEADLINE]["value"] for run in group)
                for key, group in expected_rows(folder).items()
                if key[:2] == (NAMES[dataset], "control") and not key[3]]
    if task == "control" or not controls:
        assert over == "–"
    else:
        assert close(over, 100 * (statistics.fmean(values) - max(controls)))


def test_every_headline_number_and_every_variation_follows_from_the_json(folder: Path, html: str) -> None:
    groups = expected_rows(folder)
    for dataset, task, method, *cells in headline(html):
        if method.startswith("missing"):
            continue
        task = task.split()[0]
        runs = groups.pop((NAMES[dataset], task, method, ""))
        accuracy, deviation, interval, seeds, over, labels, learned, reference, difference, *others = cells
        check_cells(runs, [accuracy, deviation, interval, *others])
        assert labels == ("all" if task == "1.2.2" else "none") and learned == ("0" if task == "control" else "128")
        check_against_controls(dataset, task, runs, folder, seeds, over)
        known = summary.REFERENCE.get((task, NAMES[dataset]))
        if known is None:
            assert reference == difference == "–"
        else:
            mean = statistics.fmean(run["metrics"][HEADLINE]["value"] for run in runs)
            assert close(reference, 100 * known) and close(difference, 100 * (mean - known))
    assert len(groups) == 8
    for dataset, task, method, changes, *cells in table_of(html, "Variations")[1:]:
        check_cells(groups.pop((NAMES[dataset], task.split()[0], method, changes)), cells)
    assert groups == {}


def test_the_pdf_shows_the_same_rows_as_the_html(html: str, pdf: bytes) -> None:
    text = "".join(pdf_text(pdf).split())
    rows = headline(html)
    assert len(rows) == 12
    for _, task, method, *cells in rows:
        if not method.startswith("missing"):
            assert "".join("".join([task, method, *cells]).split()) in text


def test_order_is_by_data_set_with_the_toy_set_last(html: str) -> None:
    order = [(dataset, task.split()[0]) for dataset, task, *_ in headline(html)]
    assert order == [("MNIST", "1.2.1"), ("MNIST", "1.2.1"), ("MNIST", "1.2.2"), ("MNIST", "1.2.3"), ("MNIST", "1.2.3"),
                     ("MNIST", "control"), ("MNIST", "control"), ("CIFAR-10", "1.2.1"), ("CIFAR-10", "1.2.2"),
                     ("CIFAR-10", "1.2.3"), ("CIFAR-10", "rotation"),
                     ("Digits (embedded toy set, 8x8 pixels)", "1.2.2")]
    assert [row[2] for row in headline(html)][:7] == ["plain", "masked", "joint", "simclr", "dcl",
                                                           "frozen random encoder", "PCA of pixels"]


def test_a_missing_result_is_shown_with_its_command(html: str, pdf: bytes) -> None:
    missing = [row for row in headline(html) if row[2].startswith("missing")]
    assert len(missing) == 1  # a run with another recipe than the default one does not fill the cell
    assert missing[0][2].startswith("missing: python _main.py --task 1.2.3 --dataset cifar10 ")
    assert missing[0][2].endswith("(reference 74.99 %)")
    assert "python _main.py --task 1.2.3 --dataset cifar10" in " ".join(pdf_text(pdf).split())


def test_the_abstract_counts_what_the_records_hold(content: tuple) -> None:
    text = " ".join(content[0]["verdict"])
    assert "learned by reconstructing the image (1.2.1), from the image's label (1.2.2), by contrasting augmented " \
           "views of the image (1.2.3) and by predicting how the image was rotated, are compared" in content[0]["aim"]
    assert "Of the 6 results that the coursework asks for, 5 are there, and 2 of these exceed their references, by " \
           "0.63 to 1.07 points. Missing: 1.2.3 on CIFAR-10." in text
    assert text.startswith(
        "By test accuracy, the best latent learned without labels is that of 1.2.1 plain on MNIST (98.42 %, 16.42 "
        "points above the best unlearned control, PCA of pixels with 1 seed) and rotation rotnet on CIFAR-10 (62.00 "
        "%, 1 seed); guessing gives 10 %. With all labels, the best is 1.2.2 joint on MNIST (100.00 %, 1 seed, 1.58 "
        "points above 1.2.1 plain) and on CIFAR-10 (79.25 %, 2 seeds, 17.25 points above rotation rotnet).")
    assert "Digits" not in text  # a toy set
    assert "With 1 % of the labels, fine-tuning a learned encoder reaches 83.00 % on MNIST with a recipe chosen on " \
           "its test images (61.00 % from random weights, significantly different)." in text
    assert "On MNIST, an encoder that learned without labels and was then fine-tuned for 4 epochs, with a recipe " \
           "chosen on test images, is significantly more accurate with 1 %" in str(content[0]["discussion"])
    assert "1 quick run, 4 failed runs, 1 repeat and 3 rejected files" in text


def row(accuracy: float, task: str, method: str, low: float = 0.0) -> SimpleNamespace:
    return SimpleNamespace(accuracy=accuracy, task=task, method=method, low=low, high=accuracy + 0.02)


def test_results_and_references_are_counted_in_words_that_fit(tmp_path: Path) -> None:
    def coverage() -> str:
        results = summary.summarise(load_results(tmp_path)[0])
        return findings.coverage(results, dict.fromkeys(("mnist", "cifar10"), []))

    make_record(tmp_path, "1.2.1", "mnist", "plain", n=1000, accuracy=1.0)
    asked = "6 results that the coursework asks for"
    assert coverage().startswith(f"Of the {asked}, 1 is there, and it exceeds its reference, by 2.65 points. Missing: ")
    make_record(tmp_path, "1.2.1", "cifar10", "plain", n=1000, accuracy=0.1)
    for dataset in ("mnist", "cifar10"):
        make_record(tmp_path, "1.2.2", dataset, "joint", n=1000, accuracy=1.0)
        make_record(tmp_path, "1.2.3", dataset, "simclr", n=1000, accuracy=1.0)
    assert coverage() == f"Of the {asked}, 5 exceed their references, by 0.63 to 25.01 points."
    make_record(tmp_path, "1.2.1", "cifar10", "plain", n=1000, accuracy=1.0)
    assert coverage() == f"All {asked} exceed their references, by 0.63 to 44.66 points."


def test_a_row_exceeds_the_control_only_by_more_than_chance() -> None:
    control, good, equal = row(0.8, "control", "pca"), row(0.9, "1.2.3", "simclr"), row(0.81, "1.2.3", "dcl")
    pairs = [Pair(control, good, 0, 10, 110, 1e-20, 1e-19), Pair(equal, control, 0, 60, 50, 0.4, 1.0)]
    assert findings.exceeds(good, control, pairs) and not findings.exceeds(equal, control, pairs)
    worse = [Pair(control, good, 0, 110, 10, 1e-20, 1e-19)]  # as sure, but the other way
    assert not findings.exceeds(good, control, worse)
    assert findings.exceeds(row(0.9, "1.2.3", "x", low=0.85), control, [])  # no seed in common: the interval decides
    assert not findings.exceeds(row(0.9, "1.2.3", "x", low=0.81), control, [])  # within that of the control
    lucky = row(0.79, "1.2.3", "y")  # one seed significantly better, the mean below
    assert not findings.exceeds(lucky, control, [Pair(control, lucky, 0, 10, 110, 1e-20, 1e-19)])


def test_without_a_latent_learned_without_labels_the_rest_is_still_said(tmp_path: Path) -> None:
    make_record(tmp_path, task="1.2.2", dataset="mnist", method="joint", accuracy=0.9)
    make_record(tmp_path, task="control", dataset="mnist", method="pca", accuracy=0.5)
    rows = summary.summarise(load_results(tmp_path)[0]).headline
    assert findings.best_latents([("mnist", rows)], {"mnist": mcnemar_pairs(rows)}) == [
        "The best control, a latent that was not learned, is PCA of pixels on MNIST (50.00 %, 1 seed).",
        "With all labels, the best is 1.2.2 joint on MNIST (90.00 %, 1 seed)."]
    assert discussion.against_control("mnist", rows, mcnemar_pairs(rows)) == (
        "On MNIST, the learned latent, 1.2.2 joint, is significantly more accurate than the best control, PCA of "
        "pixels (50.00 %).")


def test_where_one_class_is_large_guessing_is_no_baseline(tmp_path: Path) -> None:
    make_record(tmp_path, "1.2.3", "mnist", "simclr", accuracy=0.9, n=100)
    [row] = summary.summarise(load_results(tmp_path)[0]).headline
    data = row.runs[0].record.data
    for counts, words in (([12] * 5 + [8] * 5, "; guessing gives 10 %"),
                          ([90, *[2] * 5, *[0] * 4], "; always predicting the largest class gives 90 %"),
                          ([52, 48], "; guessing gives 50 %"),
                          ([95, 5], "; always predicting the largest class gives 95 %"),
                          ([66, 17, 17], "; always predicting the largest class gives 66 %")):
        data.class_counts["test"] = counts
        assert findings.chance([("mnist", [row])]) == words
        assert counts[0] < 60 or findings.chance([("mnist", [row]), ("cifar10", [row])]) == ""


def test_differences_that_are_not_shown_are_none(tmp_path: Path) -> None:
    for seed, correct in enumerate((9958, 9959, 9959)):  # 99.587 %
        make_record(tmp_path, "1.2.3", "mnist", "simclr", seed, accuracy=correct / 10_000, n=10_000, epochs=2)
    make_record(tmp_path, "1.2.3", "mnist", "dcl", accuracy=0.9959, n=10_000, epochs=2)
    rows = summary.summarise(load_results(tmp_path)[0]).headline
    assert "three seeds" not in findings.best_latents([("mnist", rows)], {"mnist": mcnemar_pairs(rows)})[0]
    assert findings.distance(rows[0], rows[1]) == "level with"


def test_fine_tuning_that_does_not_pay_is_said_wherever_the_encoder_comes_from(tmp_path: Path) -> None:
    """A curve's name gains the encoder's origin when that is not today's default run."""
    init = {"record": "old.json", "task": "1.2.3", "dataset": "mnist", "labels": 0.0, "method": "simclr", "seed": 0,
            "recipe_hash": "0" * 8, "sha256": "4" * 64}
    for share in (0.01, 0.1):
        make_record(tmp_path, "1.2.2", "mnist", "joint", accuracy=0.8 + share, n=400,
                    epochs=3 if share == 0.01 else 12, fields={"labels": share, "epochs": 3 if share == 0.01 else 12})
        make_record(tmp_path, "1.2.3", "mnist", "simclr", accuracy=0.79 + share, n=400, init=init, epochs=0,
                    fields={"labels": share, "epochs": 0, "finetune": True, "finetune_epochs": 1})
    curves = label_curves(summary.summarise(load_results(tmp_path)[0]).rows)
    assert any("fine-tuned, from" in curve.name for curve in curves)
    assert findings.few_labels({"mnist": curves}) == [
        "With 1 % of the labels, fine-tuning a learned encoder reaches 80.00 % on MNIST with a recipe chosen on its "
        "test images (81.00 % from random weights, not significantly different)."]
    assert discussion.by_fraction("mnist", curves).startswith(
        "On MNIST, an encoder of another recipe that learned without labels and was then fine-tuned for 1 epoch, "
        "with a recipe chosen on test images, is not significantly more or less accurate with 1 % and 10 %")
    alone = [curve for curve in curves if "fine-tuned" in curve.name]
    assert findings.few_labels({"mnist": alone}) == [
        "With 1 % of the labels of MNIST, the only row is contrastive simclr, fine-tuned (80.00 %)."]
    assert findings.ranking("mnist", curves) == (  # the figure's caption, without the encoder's origin
        "With 1 % of the labels of MNIST, the most accurate is random initialisation, trained end to end (81.00 %), "
        "followed by contrastive simclr, fine-tuned (80.00 %).")


def test_captions_are_sentences_and_not_lists_joined_by_semicolons(content: tuple) -> None:
    captions = [drawing.caption for drawing in content[1].values()]
    assert len(captions) > 50
    assert [one for one in captions if ";" in one] == []


def test_the_results_asked_for_are_the_default_methods_rows(content: tuple) -> None:
    lines = content[0]["asked"]["rows"]
    assert [(line[0].split()[0], line[1]) for line in lines] == [
        ("1.2.1", "MNIST"), ("1.2.2", "MNIST"), ("1.2.3", "MNIST"), ("1.2.1", "CIFAR-10"), ("1.2.2", "CIFAR-10")]
    assert lines[0][2:7] == ["plain", "98.42", "96.65–99.26", "97.47–99.37", "3"] and lines[0][8] == "97.35"
    assert lines[2][2] == "simclr"


def test_each_row_has_an_id_that_stays_and_its_method_leads_there(folder: Path, html: str, tmp_path: Path) -> None:
    anchors = {row.anchor for row in summary.summarise(load_results(folder)[0]).rows}
    assert {"cifar10-1.2.2-joint", "mnist-1.2.3-simclr", "mnist-control-pca", "mnist-1.2.2-joint-labels-0.01",
            "mnist-1.2.3-simclr-from-1.2.3-simclr-epochs-0-finetune-true-labels-0.1"} <= anchors
    tags = parse(html).tags
    assert anchors == {attributes["id"] for tag, attributes in tags if tag == "article"}
    links = Counter(attributes["href"][1:] for tag, attributes in tags if tag == "a")
    assert all(links[anchor] >= 2 for anchor in anchors)  # from the contents and from a table
    for names in (["a|b", "a/b"], ["1.2", "1-2"], ["\u6a39", "\u82b1"]):  # alike where only letters and digits stay
        found = [make_record(tmp_path, "1.2.2", "folder-x", name, n=60, name=f"r{i}") for i, name in enumerate(names)]
        rows = summary.summarise(load_results(tmp_path)[0]).rows
        assert len({row.anchor.replace(".", "-") for row in rows}) == len(found) == 2


def test_files_that_are_not_counted_are_listed_with_the_reason(html: str, pdf: bytes) -> None:
    _, *rows = table_of(html, "Records that are not counted, each with the reason.")
    reasons = {name: reason for name, _, reason in rows}
    kinds = [reason.replace(",", " ").split()[0] for reason in reasons.values()]
    assert Counter(kinds) == {"quick": 1, "failed": 4, "repeat": 1, "rejected": 3} and kinds[0] == "quick"
    assert reasons["hasty.json"].startswith("quick run of ")
    assert ["broken2.json", "1.2.2 classification-guided, MNIST, joint, seed 2",
            "failed in epoch 7, step 277: loss became NaN"] in rows
    assert "counted instead is 1.2.1_mnist_plain_seed0.json, newer" in reasons["older.json"]
    assert f"metrics.{HEADLINE}.value is 0.99" in reasons["edited.json"]
    assert reasons["lost.json"] == "rejected, no valid record: lost.npz: No such file or directory"
    assert "notes.json" in reasons
    text = " ".join(pdf_text(pdf).split())
    assert all(word in text for word in ("loss became NaN", "older.json", "lost.npz: No such file or directory"))
