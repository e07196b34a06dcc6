"""The record: what is written is read back; what a hand has changed is refused, with file and field named."""

import json
import os
import re
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from report.load import load_results
from tests.factory import edit, make_record
from utils.files import remove_temporary, sha256_file, write_atomically
from utils.records.arrays import read_arrays
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
    arrays = read_arrays(record, tmp_path)
    assert (arrays["test_labels"] == arrays["test_predictions"]).sum() == record.headline.correct
    assert "map_images" not in arrays  # the sheet of thumbnails was not copied, and is not missed


def test_a_changed_sheet_of_thumbnails_is_refused(original: Path, path: Path) -> None:
    record = read_record(path)
    sheet = path.parent / record.artifacts["thumbnails"].name
    shutil.copy(original.parent / sheet.name, sheet)
    assert read_arrays(record, path.parent)["map_images"].shape == (200, 28, 28, 1)
    sheet.write_bytes(sheet.read_bytes() + b" ")
    with pytest.raises(RecordError, match="SHA-256"):
        read_arrays(record, path.parent)


def test_a_failed_record_round_trips(tmp_path: Path) -> None:
    failed = make_record(tmp_path, status="failed", failure="loss is not finite")
    assert read_record(failed).failure.reason == "loss is not finite"


METRIC = ("metrics", HEADLINE)
EDITS = {  # name -> (keys, value, what the message must hold)
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
    "wrong schema": (("schema",), 2, "schema"),
    "schema as text": (("schema",), "1", "schema"),
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
    "seed that was not asked for": (("run", "seed"), 7, "run.argv does not ask"),
    "method that was not asked for": (("run", "argv"), ["_main.py", "--method", "masked", "denoising"], "--method"),
    "effective rank above the latent's": (("metrics", "test/effective_rank"), {
        "value": 129.0, "n": 200, "correct": None, "split": "test", "protocol": "x"}, "latent_dim"),
    "more images than there are": (("metrics", "test/tsne_agreement"), {
        "value": 0.5, "n": 201, "correct": None, "split": "test", "protocol": "x"}, "tsne_agreement.n"),
    "labelled images of a run with all labels": (("data", "class_counts", "labelled"), [1] * 10, "labelled"),
    "task that was not asked for": (("run", "task"), "1.2.2", "--task"),
    "quick run called complete": (("run", "argv"), ["_main.py", "--quick"], "--quick"),
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
    "one class": (("data", "classes"), ["0"], "data.classes"),
    "counts of another split": (("data", "class_counts", "test"), [1, 2], "class_counts"),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_hand_edit_is_refused(path: Path, name: str) -> None:
    keys, value, told = EDITS[name]
    edit(path, *keys, value=value)
    with pytest.raises(RecordError, match=re.escape(told)) as caught:
        read_record(path)
    assert str(caught.value).startswith("run.json: ")
    assert "\n" not in str(caught.value)


def test_a_failed_run_with_scores_is_refused(path: Path) -> None:
    edit(path, "failure", value={"reason": "x", "epoch": 1, "step": 1})
    edit(path, "run", "status", value="failed")
    with pytest.raises(RecordError, match="a failed run has no metrics"):
        read_record(path)


def test_epochs_that_are_not_the_recipes_are_refused(path: Path) -> None:
    raw = json.loads(path.read_text())
    raw["recipe"]["fields"]["epochs"] += 1
    raw["recipe"]["hash"] = recipe_hash(raw["recipe"]["fields"])
    path.write_text(json.dumps(raw))
    with pytest.raises(RecordError, match=r"recipe\.fields\.epochs"):
        read_record(path)


def test_test_labels_must_be_those_of_the_digest(path: Path) -> None:
    edit(path, "data", "sha256", "test_labels", value="0" * 64)
    with pytest.raises(RecordError, match="test_labels"):
        read_arrays(read_record(path), path.parent)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(RecordError, match="no regular file"):
        read_record(tmp_path / "pipe.json")


def test_a_member_that_is_no_array_is_refused(path: Path) -> None:
    with zipfile.ZipFile(path.with_suffix(".npz"), "w") as archive:
        archive.writestr("test_labels.npy", b"garbage")
    edit(path, "artifacts", "arrays", "sha256", value=sha256_file(path.with_suffix(".npz")))
    with pytest.raises(RecordError, match="no array"):
        read_arrays(read_record(path), path.parent)


def test_a_missing_key_is_refused(path: Path) -> None:
    raw = json.loads(path.read_text())
    del raw["environment"]["cpu"]
    path.write_text(json.dumps(raw))
    with pytest.raises(RecordError, match=r"run\.json: environment\.cpu"):
        read_record(path)


FILES = {  # name -> (bytes of a file that is no record, what the message must hold)
    "empty": (b"", "Expecting value"),
    "null": (b"null", "record"),
    "list": (b"[]", "record"),
    "truncated": (b'{"schema": 1, "run": {', "Expecting"),
    "not UTF-8": (b'{"schema": "\xff"}', "utf-8"),
    "deep nesting": (b"[" * 100_000, "nested too deeply"),
    "number beyond float": (b'{"schema": 1e999}', "schema"),
    "number of 5000 digits": (b'{"schema": ' + b"1" * 5000 + b"}", "digits"),
    "huge": (b" " * (MAX_RECORD_BYTES + 1), "larger than"),
}


@pytest.mark.parametrize("name", FILES)
def test_what_is_no_record_is_refused(tmp_path: Path, name: str) -> None:
    data, told = FILES[name]
    (tmp_path / "run.json").write_bytes(data)
    with pytest.raises(RecordError, match=re.escape(told)) as caught:
        read_record(tmp_path / "run.json")
    assert str(caught.value).startswith("run.json: ")


def test_text_level_edits_are_refused(path: Path) -> None:
    text = path.read_text()
    for before, after, told in (('"schema": 1,', '"schema": 1, "schema": 1,', "'schema' stands twice"),
                                ('"lr": ', '"lr": 1e999, "old": ', "history.0.lr"),
                                ('"lr": ', '"lr": -Infinity, "old": ', "-Infinity")):
        path.write_text(text.replace(before, after, 1))
        with pytest.raises(RecordError, match=re.escape(told)):
            read_record(path)


def spoil(path: Path, **changes: np.ndarray) -> Path:
    """Change arrays and give the record the new digest, as a careful hand would."""
    with np.load(path.with_suffix(".npz")) as file:
        arrays = {name: file[name] for name in file.files} | changes
    np.savez(path.with_suffix(".npz"), **arrays)
    return edit(path, "artifacts", "arrays", "sha256", value=sha256_file(path.with_suffix(".npz")))


def test_altered_bytes_of_the_arrays_are_refused(path: Path) -> None:
    data = bytearray(path.with_suffix(".npz").read_bytes())
    data[len(data) // 2] ^= 1
    path.with_suffix(".npz").write_bytes(data)
    with pytest.raises(RecordError, match=r"run\.npz: its SHA-256"):
        read_arrays(read_record(path), path.parent)


ARRAY_EDITS = {
    "predictions that do not count up": ({"test_predictions": np.zeros(200, np.uint16)}, "do not count up"),
    "labels cut short": ({"test_labels": np.zeros(3, np.uint16)}, "200 test images"),
    "class too high": ({"test_labels": np.full(200, 10, np.uint16)}, "above 9"),
    "other type": ({"test_labels": np.zeros(200, np.int64)}, "test_labels is 1-d int64"),
    "unknown array": ({"weights": np.zeros(1)}, "unknown array 'weights'"),
    "map not finite": ({"map_points": np.full((200, 2), np.nan, np.float32)}, "not finite"),
    "map of other length": ({"map_points": np.zeros((1, 2), np.float32)}, "map_points is (1, 2)"),
    "index outside": ({"map_index": np.full(200, 200, np.int32)}, "map_index has an entry"),
    "images of other size": ({"reconstruction_inputs": np.zeros((3, 9, 9, 1), np.uint8)}, "reconstruction_inputs is"),
    "pickled objects": ({"test_labels": np.array([{}] * 200)}, "pickle"),
}


@pytest.mark.parametrize("name", ARRAY_EDITS)
def test_arrays_that_do_not_fit_are_refused(path: Path, name: str) -> None:
    changes, told = ARRAY_EDITS[name]
    spoil(path, **changes)
    with pytest.raises(RecordError, match=re.escape(told)) as caught:
        read_arrays(read_record(path), path.parent)
    assert str(caught.value).startswith("run.npz: ")


def test_a_file_that_is_no_archive_is_refused_in_one_line(path: Path) -> None:
    for data in (b"", b"PK\x03\x04 and then nothing", b"\x93NUMPY\x01\x00v\x00{'descr': '<f4'"):
        path.with_suffix(".npz").write_bytes(data)
        edit(path, "artifacts", "arrays", "sha256", value=sha256_file(path.with_suffix(".npz")))
        with pytest.raises(RecordError, match=r"^run\.npz: not an array file"):
            read_arrays(read_record(path), path.parent)


def test_an_archive_that_grows_too_large_is_refused_before_it_is_unpacked(path: Path,
                                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("utils.records.arrays.MAX_ARRAY_BYTES", 100)
    monkeypatch.setattr("numpy.load", lambda *args, **kwargs: pytest.fail("it was unpacked"))
    with pytest.raises(RecordError, match="more than 100 bytes"):
        read_arrays(read_record(path), path.parent)


def test_a_bad_record_does_not_stop_the_others(path: Path) -> None:
    make_record(path.parent, "1.2.2", "folder-toy", "joint", n=50, name="good")
    make_record(path.parent / "deeper", "1.2.2", "folder-toy", "joint", seed=1, n=50, name="good")
    path.write_bytes(b"{")
    loaded, rejected = load_results(path.parent)
    assert [run.name for run in loaded] == ["deeper/good.json", "good.json"]
    assert [item.name for item in rejected] == ["run.json"]


def test_writing_atomically_keeps_the_old_bytes_and_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_atomically(target, lambda file: file.write(b"old"))

    def break_off(file) -> None:
        file.write(b"half of the new")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(target, break_off)
    assert target.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert target.stat().st_mode & 0o777 == 0o644


def test_the_settings_of_finetuning_count_only_where_it_is_done() -> None:
    fields = {"epochs": 6, "finetune": False, "finetune_epochs": 4, "finetune_learning_rate": 1e-3}
    for other in ({"finetune_learning_rate": 5e-4}, {"finetune_epochs": 2}):
        assert setting_hash(fields) == setting_hash(fields | other)
        assert setting_hash(fields | {"finetune": True}) != setting_hash(fields | {"finetune": True} | other)
    assert setting_hash(fields) != setting_hash(fields | {"epochs": 7})


def test_what_a_killed_process_left_is_removed_and_what_others_write_is_not(tmp_path: Path) -> None:
    own = [".run_seed1.json.ab.tmp", ".run_seed1_run2.npz.ab.tmp", ".run_seed1_failed.json.ab.tmp", ".run_seed1.ab.tmp"]
    others = [".run_seed10.json.ab.tmp", ".run_seed1_0123abcd.json.ab.tmp", ".run_seed1.tmp", "run_seed1.json"]
    for name in own + others:
        (tmp_path / name).write_text("")
    remove_temporary(tmp_path / "run_seed1.json")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(others)


def test_checkpoints_of_a_run_under_way_are_no_records(tmp_path: Path) -> None:
    (tmp_path / "run.unfinished").mkdir()
    (tmp_path / "run.unfinished" / "stage1-step000000001.json").write_text("{}")
    assert load_results(tmp_path) == ([], [])
