"""Records: what is written is read back; a record edited by hand is refused, with file and field named."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from report.load import load_results
from tests.factory import edit, make_record
from utils.records.schema import (
    HEADLINE,
    MAX_RECORD_BYTES,
    RecordError,
    read_record,
    recipe_hash,
    setting_hash,
    write_record,
)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_record(tmp_path_factory.mktemp("original"), "1.2.1", "mnist", "plain", accuracy=0.9, n=200,
                       reconstructions=3, name="run")


@pytest.fixture
def path(original: Path, tmp_path: Path) -> Path:
    """A copy of the valid record and its arrays, to be spoilt."""
    for suffix in (".json", ".npz"):
        shutil.copy(original.with_suffix(suffix), tmp_path)
    return tmp_path / original.name


def test_a_record_round_trips(path: Path, tmp_path: Path) -> None:
    record = read_record(path)
    write_record(record, tmp_path / "again.json")
    assert read_record(tmp_path / "again.json") == record
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


def test_a_failed_record_round_trips(tmp_path: Path) -> None:
    failed = make_record(tmp_path, status="failed", failure="loss is not finite")
    assert read_record(failed).failure.reason == "loss is not finite"


METRIC = ("metrics", HEADLINE)
EDITS = {  # name -> (keys, value, part of the message)
    "string for a number": ((*METRIC, "value"), "0.9", f"metrics.{HEADLINE}.value"),
    "NaN": ((*METRIC, "value"), float("nan"), "NaN"),
    "infinity": (("history", 0, "train_loss"), float("inf"), "Infinity"),
    "accuracy below 0": ((*METRIC, "value"), -0.1, f"metrics.{HEADLINE}.value"),
    "accuracy above 1": ((*METRIC, "value"), 1.1, f"metrics.{HEADLINE}.value"),
    "accuracy not correct / n": ((*METRIC, "value"), 0.91, f"metrics.{HEADLINE}.value"),
    "more correct than n": ((*METRIC, "correct"), 201, f"metrics.{HEADLINE}.correct"),
    "fewer images": ((*METRIC, "n"), 100, f"metrics.{HEADLINE}.n"),
    "other split": ((*METRIC, "split"), "val", f"metrics.{HEADLINE}.split"),
    "confusion not summing": (("confusion", "counts", 0, 1), 99, "confusion.counts"),
    "confusion not square": (("confusion", "counts", 0), [1, 2], "confusion.counts"),
    "confusion missing": (("confusion",), None, "confusion is missing"),
    "confusion of an unknown metric": (("confusion", "metric"), "test/other", "confusion.metric"),
    "unknown class": (("metrics", f"{HEADLINE}/cat"), {"value": 1.0, "n": 1, "correct": 1, "split": "test",
                                                       "protocol": "x"}, "names no class"),
    "unknown key": (("extra",), 1, "extra"),
    "unknown key inside": (("run", "extra"), 1, "run.extra"),
    "another schema": (("schema",), 5, "schema"),
    "schema as text": (("schema",), "3", "schema"),
    "true for a count": (("run", "seed"), True, "run.seed"),
    "float for a count": (("run", "seed"), 0.5, "run.seed"),
    "negative seed": (("run", "seed"), -1, "run.seed"),
    "number for text": (("run", "task"), 121, "run.task"),
    "text too long": (("run", "method"), "x" * 501, "run.method"),
    "unknown status": (("run", "status"), "done", "run.status"),
    "local time": (("run", "started"), "2025-11-03 09:30", "run.started"),
    "null for an object": (("data",), None, "data"),
    "list for an object": (("environment",), [], "environment"),
    "epochs backwards": (("history", 3, "epoch"), 1, "history[3].epoch"),
    "steps backwards": (("history", 3, "step"), 1, "history[3].step"),
    "seconds backwards": (("history", 3, "seconds"), 0.0, "history[3].seconds"),
    "history too long for the run": (("run", "seconds"), 1.0, "run.seconds"),
    "history empty": (("history",), [], "history"),
    "confusion of another metric": (("confusion", "metric"), "test/knn_top1", "confusion.metric"),
    "a 13th month": (("run", "started"), "2025-13-03T09:30:00Z", "run.started"),
    "a class twice": (("data", "classes"), ["0", *map(str, range(9))], "classes names a class twice"),
    "override twice": (("recipe", "overridden"), ["epochs", "epochs"], "twice"),
    "correct images of an error": (("metrics", "test/reconstruction_mae"),
                                   {"value": 0.1, "n": 200, "correct": 3, "split": "test", "protocol": "x"}, "correct"),
    "an error above 1": (("metrics", "test/reconstruction_mae"),
                         {"value": 50.0, "n": 200, "correct": None, "split": "test", "protocol": "x"}, "[0, 1]"),
    "effective rank above the latent's": (("metrics", "test/effective_rank"), {
        "value": 129.0, "n": 200, "correct": None, "split": "test", "protocol": "x"}, "latent_dim"),
    "more images than there are": (("metrics", "test/tsne_agreement"), {
        "value": 0.5, "n": 201, "correct": None, "split": "test", "protocol": "x"}, "tsne_agreement.n"),
    "labelled images of a run with all labels": (("data", "class_counts", "labelled"), [1] * 10, "labelled"),
    "count of 100 digits": (("derived", "steps"), 10**100, "derived.steps"),
    "seconds of 1e308": (("run", "seconds"), 1e308, "run.seconds"),
    "metric without a name": (("metrics", "test/"), {"value": 0.1, "n": 200, "correct": None, "split": "test",
                                                     "protocol": "x"}, "names no score"),
    "selection of epoch 0": (("selection", "epoch"), 0, "selection.epoch"),
    "selection outside": (("selection", "epoch"), 99, "selection.epoch"),
    "recipe edited": (("recipe", "fields", "epochs"), 13, "recipe"),
    "override of nothing": (("recipe", "overridden"), ["speed"], "speed"),
    "short digest": (("artifacts", "arrays", "sha256"), "abc", "artifacts.arrays.sha256"),
    "path out of the folder": (("artifacts", "arrays", "name"), "../run.npz", "artifacts.arrays.name"),
    "no arrays": (("artifacts",), {}, "arrays"),
    "failure in a complete run": (("failure",), {"reason": "x", "epoch": 1, "step": 1}, "failure"),
    "failed without a reason": (("run", "status"), "failed", "failure"),
    "headline missing": (("metrics",), {}, HEADLINE),
    "images of an impossible size": (("data", "image_shape"), [3, 2**40, 2**40], "data.image_shape.1"),
    "one class": (("data", "classes"), ["0"], "data.classes"),
    "counts of another split": (("data", "class_counts", "test"), [1, 2], "class_counts"),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_hand_edit_is_refused(path: Path, name: str) -> None:
    keys, value, message = EDITS[name]
    edit(path, *keys, value=value)
    with pytest.raises(RecordError, match=re.escape(message)) as caught:
        read_record(path)
    assert str(caught.value).startswith("run.json: ")
    assert "\n" not in str(caught.value)


def test_a_failed_run_with_scores_is_refused(path: Path) -> None:
    edit(path, "failure", value={"reason": "x", "epoch": 1, "step": 1})
    edit(path, "run", "status", value="failed")
    with pytest.raises(RecordError, match="a failed run has no metrics"):
        read_record(path)


@pytest.mark.parametrize("changes, message", [
    ({"epochs": 13}, "but recipe.fields.epochs is 13"), ({"epochs": "12"}, "recipe: fields.epochs is '12'"),
    ({"finetune": 1}, "recipe: fields.finetune is 1, which is no bool"), ({"labels": 0.5}, "labels do not agree"),
    ({"latent_dim": 8}, "above recipe.fields.latent_dim"), ({"method": "masked"}, "recipe.fields.method is not"),
    ({"labels": None}, "recipe: fields has no 'labels'"), ({"latent_dim": None}, "recipe: fields has no 'latent_dim'")])
def test_a_recipe_that_is_not_the_runs_is_refused(path: Path, changes: dict[str, object], message: str) -> None:
    raw = json.loads(path.read_text())
    fields = {name: value for name, value in (raw["recipe"]["fields"] | changes).items() if value is not None}
    raw["recipe"] |= {"fields": fields, "hash": recipe_hash(fields)}
    path.write_text(json.dumps(raw))
    with pytest.raises(RecordError, match=re.escape(message)):
        read_record(path)


def test_a_record_of_schema_1_is_refused_with_what_to_do(path: Path) -> None:
    raw = json.loads(path.read_text())
    del raw["environment"]["version"]
    path.write_text(json.dumps(raw | {"schema": 1}))
    with pytest.raises(RecordError) as caught:
        read_record(path)
    assert str(caught.value) == ("run.json: schema 1, written by an older version; this version reads schema 4: run "
                                 "the record's command again, or read it with the version that wrote it")


def test_a_pipe_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(RecordError, match="no regular file"):
        read_record(tmp_path / "pipe.json")


def test_a_missing_key_is_refused(path: Path) -> None:
    raw = json.loads(path.read_text())
    del raw["environment"]["cpu"]
    path.write_text(json.dumps(raw))
    with pytest.raises(RecordError, match=r"run\.json: environment\.cpu"):
        read_record(path)


FILES = {  # name -> (bytes of a file that is no record, part of the message)
    "empty": (b"", "is not a JSON file"),
    "null": (b"null", "valid dictionary"),
    "list": (b"[]", "valid dictionary"),
    "truncated": (b'{"schema": 4, "run": {', "Expecting"),
    "not UTF-8": (b'{"schema": "\xff"}', "utf-8"),
    "deep nesting": (b"[" * 100_000, "nested too deeply"),
    "number beyond float": (b'{"schema": 1e999}', "schema"),
    "number of 5000 digits": (b'{"schema": ' + b"1" * 5000 + b"}", "digits"),
    "huge": (b" " * (MAX_RECORD_BYTES + 1), "larger than"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_no_record_is_refused(tmp_path: Path, name: str) -> None:
    data, message = FILES[name]
    (tmp_path / "run.json").write_bytes(data)
    with pytest.raises(RecordError, match=re.escape(message)) as caught:
        read_record(tmp_path / "run.json")
    assert str(caught.value).startswith("run.json: ")


def test_text_level_edits_are_refused(path: Path) -> None:
    text = path.read_text()
    for before, after, message in (('"schema": 4,', '"schema": 4, "schema": 4,', "'schema' occurs twice"),
                                   ('"lr": ', '"lr": 1e999, "old": ', "history.0.lr"),
                                   ('"lr": ', '"lr": -Infinity, "old": ', "-Infinity")):
        path.write_text(text.replace(before, after, 1))
        with pytest.raises(RecordError, match=re.escape(message)):
            read_record(path)


def test_a_bad_record_does_not_stop_the_others(path: Path) -> None:
    make_record(path.parent, "1.2.2", "folder-toy", "joint", n=50, name="good")
    make_record(path.parent / "deeper", "1.2.2", "folder-toy", "joint", seed=1, n=50, name="good")
    path.write_bytes(b"{")
    loaded, rejected = load_results(path.parent)
    assert [run.name for run in loaded] == ["deeper/good.json", "good.json"]
    assert [item.name for item in rejected] == ["run.json"]


def test_finetuning_settings_count_only_with_finetune() -> None:
    fields = {"epochs": 6, "finetune": False, "finetune_epochs": 4, "finetune_learning_rate": 1e-3}
    for other in ({"finetune_learning_rate": 5e-4}, {"finetune_epochs": 2}):
        assert setting_hash(fields) == setting_hash(fields | other)
        assert setting_hash(fields | {"finetune": True}) != setting_hash(fields | {"finetune": True} | other)
    assert setting_hash(fields) != setting_hash(fields | {"epochs": 7})


def test_checkpoints_of_an_unfinished_run_are_no_records(tmp_path: Path) -> None:
    (tmp_path / "run.unfinished").mkdir()
    (tmp_path / "run.unfinished" / "stage1-step000000001.json").write_text("{}")
    assert load_results(tmp_path) == ([], [])
