"""Rows, missing results, repeats, warnings and intervals."""

from pathlib import Path

import pytest
from scipy.stats import binomtest

from report import summary
from report.load import load_results
from report.summary import summarise
from report.tables import minutes
from tests.factory import edit, make_record
from training.tasks import TASKS
from utils.recipe import as_json


def test_an_encoder_from_another_run_makes_a_row_of_its_own(folder: Path) -> None:
    results = summarise(load_results(folder)[0])
    plain = [row for row in results.rows if (row.dataset, row.task, row.method) == ("mnist", "1.2.1", "plain")]
    recipe = plain[1].runs[0].record.run.init.recipe_hash  # not today's default
    assert [(row.default, row.recipe, len(row.runs)) for row in plain] == [
        (True, "", 3), (False, f"from 1.2.3 simclr recipe {recipe}", 1)]
    record, init = plain[1].runs[0].record, plain[1].runs[0].record.run.init
    init = init.model_copy(update={"recipe_hash": summary.default_hash(init)})
    record = record.model_copy(update={"run": record.run.model_copy(update={"init": init})})
    assert summary.changes(record) == "from 1.2.3 simclr"
    assert all(row.default for row in results.headline)


def test_a_control_or_a_changed_run_is_no_result_asked_for(tmp_path: Path) -> None:
    init = {"record": "x.json", "task": "1.2.3", "dataset": "mnist", "labels": 0.0, "method": "simclr",
            "seed": 0, "recipe_hash": "0" * 8, "sha256": "4" * 64}
    make_record(tmp_path, "1.2.1", "mnist", "plain", n=60, init=init)
    make_record(tmp_path, "1.2.2", "mnist", "joint", n=60, fields={"labels": 0.1})
    make_record(tmp_path, "control", "mnist", "pca", n=60, epochs=0)
    results = summarise(load_results(tmp_path)[0])
    assert len(results.missing) == 6 and [row.task for row in results.headline] == ["control"]
    edit(make_record(tmp_path, "1.2.3", "mnist", "dcl", n=60), "recipe", "overridden", value=["method"])
    assert len(summarise(load_results(tmp_path)[0]).missing) == 5  # the method alone changes no recipe


@pytest.mark.parametrize(("correct", "n"), [(0, 10), (10, 10), (1, 3), (7_531, 10_000), (9_999, 10_000), (300, 360)])
def test_wilson_agrees_with_scipy(correct: int, n: int) -> None:
    theirs = binomtest(correct, n).proportion_ci(confidence_level=0.95, method="wilson")
    assert summary.wilson_interval(correct / n, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_of_repeated_runs_only_the_newest_counts(tmp_path: Path) -> None:
    for month, accuracy in ((3, 0.7), (9, 0.8), (6, 0.9)):
        make_record(tmp_path, n=100, accuracy=accuracy, started=f"2025-0{month}-01T00:00:00Z", name=f"month{month}")
    results = summarise(load_results(tmp_path)[0])
    assert [(row.accuracy, row.deviation) for row in results.rows] == [(0.8, None)]
    assert [(run.name, newer) for run, newer in results.repeats] == [("month3.json", "month9.json"),
                                                                    ("month6.json", "month9.json")]


def test_runs_from_different_encoders_are_no_repeats(tmp_path: Path) -> None:
    for i in range(3):
        init = {"record": f"s{i}.json", "task": "1.2.3", "dataset": "mnist", "method": "simclr", "seed": i,
                "recipe_hash": "0" * 8, "labels": 0.0, "sha256": str(i) * 64}
        make_record(tmp_path, "1.2.3", "mnist", n=100, accuracy=0.7 + i / 10, init=init, name=f"from{i}")
    results = summarise(load_results(tmp_path)[0])
    assert [len(row.runs) for row in results.rows] == [3] and not results.repeats


def test_warnings_name_dirty_trees_and_other_images_are_another_row(tmp_path: Path) -> None:
    edit(make_record(tmp_path, seed=0, n=50), "environment", "dirty", value=True)
    make_record(tmp_path, seed=1, n=50, device="cuda")
    edit(make_record(tmp_path, seed=2, n=50), "data", "sha256", "test_images", value="f" * 64)
    results = summarise(load_results(tmp_path)[0])
    assert [len(row.runs) for row in results.rows] == [2, 1]
    text = " ".join(summary.warnings_of(results))
    assert "1 run came from a working tree with uncommitted changes" in text
    assert [row.mark for row in results.rows] == ["†", ""]


@pytest.mark.parametrize(("runs", "shown"), [  # per seed: other load, threads, processor
    ([(0.05, 2, "a")], "10.0 (1)"), ([(0.9, 2, "a")], "–"), ([(0.05, 1, "a")], "–"), ([(None, 2, "a")], "≤ 10.0 (1)"),
    ([(0.05, 2, "a"), (0.9, 2, "a"), (0.0, 2, "a")], "20.0 (2)"),  # of the seeds that were alone
    ([(0.9, 2, "a"), (0.05, 2, "b")], "20.0 (1)"),  # another machine only where it was busy
    ([(0.05, 2, "a"), (0.05, 2, "b")], "–"),  # no mean of unlike machines
    ([(None, 2, "a"), (0.05, 2, "b")], "20.0 (1)"),  # what is known before what is not
    ([(None, 2, "a"), (0.9, 2, "b"), (None, 1, "a")], "≤ 10.0 (1)")])
def test_minutes_are_of_the_seeds_that_were_alone_on_one_machine(tmp_path: Path, runs: list, shown: str) -> None:
    for seed, (load, threads, processor) in enumerate(runs):
        path = make_record(tmp_path, seed=seed, n=50, seconds=600.0 * (seed + 1))
        edit(path, "environment", "other_load", value=load)
        edit(path, "environment", "threads", value=threads)
        edit(path, "environment", "cpu", value=processor)
    assert minutes(summarise(load_results(tmp_path)[0]).rows[0]) == shown


@pytest.mark.parametrize(("changed", "earlier"), [({}, []), ({"temperature": 0.7}, ["temperature"])])
def test_rows_of_an_earlier_default_recipe_are_named(tmp_path: Path, changed: dict, earlier: list[str]) -> None:
    fields = as_json(TASKS["1.2.3"].default_recipe("cifar10", "simclr")) | changed
    edit(make_record(tmp_path, "1.2.3", "folder-a", "simclr", n=50, fields=fields, epochs=fields["epochs"]),
         "recipe", "overridden", value=[])
    results = summarise(load_results(tmp_path)[0])
    assert summary.changed_fields(results.rows[0].runs[0].record) == earlier
    words = [text for text in summary.warnings_of(results) if "today's default" in text]
    assert len(words) == len(earlier)
    assert all("1.2.3 simclr was trained with a recipe other than" in text for text in words)


def test_folders_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for task, method, accuracy in (("control", "pca", 0.9), ("1.2.3", "simclr", 0.5)):
        make_record(tmp_path, task, "folder-pets", method, accuracy=accuracy, n=100)
    init = {"record": "x.json", "task": "1.2.3", "dataset": "folder-pets", "labels": 0.0, "method": "simclr", "seed": 0,
            "recipe_hash": "0" * 8, "sha256": "4" * 64}
    for task, method, accuracy, own in (("control", "pca", 0.3, {}), ("1.2.3", "simclr", 0.6, {}),
                                        ("1.2.3", "dcl", 0.6, {"init": init})):
        path = make_record(tmp_path, task, "folder-pets", method, 1, accuracy=accuracy, n=100, **own)
        edit(path, "data", "sha256", "test_images", value="f" * 64)
        edit(path, "run", "started", value="2030-01-01T00:00:00Z")
    results = summarise(load_results(tmp_path)[0])
    rows = {(row.dataset, row.method, row.over_control and round(row.over_control, 2), row.anchor)
            for row in results.rows}
    assert rows == {
        ("folder-pets", "pca", None, "folder-pets-control-pca"),
        ("folder-pets", "simclr", -0.4, "folder-pets-1.2.3-simclr"),
        ("folder-pets (2)", "dcl", 0.3, "folder-pets-2-1.2.3-dcl-from-1.2.3-simclr"),  # and not "on folder-pets"
        ("folder-pets (2)", "pca", None, "folder-pets-2-control-pca"),
        ("folder-pets (2)", "simclr", 0.3, "folder-pets-2-1.2.3-simclr")}
    assert sum("folder-pets (2) is another folder of the name folder-pets" in one
               for one in summary.warnings_of(results)) == 1
