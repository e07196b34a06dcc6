"""The isolated process: no secrets, no network, a time limit; and which submissions are scored again."""

import os
import shutil
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from grading import score
from grading.score import Scorer, evidence_of, load_truth
from tests.grading.helpers import run_grading
from utils.errors import RunError, UsageError
from utils.images.datasets import load_dataset


def test_a_job_that_takes_too_long_is_ended_and_scored_again_by_the_next_grading(
        honest: Path, tmp_path: Path) -> None:
    truth = load_truth({"digits"}, honest, None, tmp_path)
    with Scorer(0.02) as scorer:
        slow = evidence_of([honest], truth, scorer, None)
        assert (slow.trouble, slow.ended) == ("could not be scored: it took longer than 0.02 s",
                                              "scoring took longer than 0.02 s")
        scorer.timeout = 60.0
        evidence = evidence_of([honest], truth, scorer, slow)  # the same process serves the next job
        assert not evidence.ended and not evidence.trouble
        assert [run.correct_verified for run in evidence.runs] == [run.claimed for run in evidence.runs]
        assert evidence_of([honest], truth, scorer, evidence) is evidence


def test_a_scorer_that_cannot_start_ends_the_grading_instead_of_giving_everybody_nothing(
        honest, rubric_file, tmp_path, monkeypatch) -> None:
    (tmp_path / "grading").mkdir()
    (tmp_path / "grading" / "__init__.py").touch()
    (tmp_path / "grading" / "child.py").write_text("import a_package_that_is_missing\n")
    monkeypatch.setattr(score, "ROOT", tmp_path)
    with (Scorer(10.0) as scorer,
          pytest.raises(RunError, match="cannot be started: .*No module named 'a_package_that_is_missing'")):
        scorer.run({})
    shutil.copytree(honest, tmp_path / "subs" / "ada")
    with pytest.raises(RunError, match="cannot be started"):
        run_grading(tmp_path / "subs", rubric_file, tmp_path / "out")
    assert not (tmp_path / "out" / "grades.csv").exists()


def test_the_scorer_has_no_network_and_no_secrets(monkeypatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "s3cret")
    with Scorer(10.0) as scorer:
        pid = scorer.start().pid
        environment = Path(f"/proc/{pid}/environ")
        if environment.exists():
            for _ in range(100):  # until unshare has become python
                if b"python" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    break
                time.sleep(0.02)
            assert b"s3cret" not in environment.read_bytes()
    if score.without_network():
        code = "import socket; socket.create_connection(('1.1.1.1', 80), 2)"
        done = subprocess.run([*score.without_network(), sys.executable, "-c", code], capture_output=True, check=False)
        assert b"unreachable" in done.stderr


@pytest.mark.parametrize("bad", ['{"claimed": "5"}', '{"claimed": -1}', '{"n": 1000000000}', '{"extra": 1}', "5", "[]",
                                 '{"predictions": {"digits": [65536]}}', f'{{"method": "{"m" * 450}"}}', "{",
                                 '{"correct_verified": 359}', "[" * 10_000, " " * score.REPORT_BYTES + "{}"])
def test_a_child_s_report_is_read_strictly(tmp_path: Path, bad: str) -> None:
    (tmp_path / "a.json").write_text(bad)
    found = score.read_child_report(tmp_path / "a.json", "scoring was stopped")
    assert found.reason.startswith("holds a value of") and not found.predictions
    assert score.read_child_report(tmp_path / "b.json", "scoring was stopped").reason == "scoring was stopped"


@pytest.mark.parametrize("predictions, expected", [
    ({"digits": [1, 2, 4]}, (2, 3, None)), ({"digits": [1, 2, 3], "digits/holdout": [0]}, (3, 3, 0)),
    ({"digits": [1, 2]}, (None, None, None)), ({"mnist": [1, 2, 3]}, (None, None, None)), ({}, (None, None, None))])
def test_predictions_are_counted_by_the_labels_of_the_parent(predictions, expected) -> None:
    truth = score.Truth({}, {"digits": np.array([1, 2, 3]), "digits/holdout": np.array([5])}, "")
    run = score.count_correct("a.json", score.ChildReport(dataset="digits", predictions=predictions), truth)
    assert (run.correct_verified, run.n, run.correct_holdout) == expected
    assert ("is not that of the test images" in run.reason) == bool(predictions and expected[0] is None)


@pytest.mark.parametrize("change, expected", [
    (lambda images, labels: (images // 16, labels), "pixels are 0 to 255"),  # scikit-learn's own scale
    (lambda images, labels: (images // 200, labels), "values up to 1 and"),
    (lambda images, labels: (255 - images, labels), "a mean of 1"),  # black on white
    (lambda images, labels: (images, labels + 1), "digits_labels are 1 to 10; the 10 classes are numbered from 0"),
    (lambda images, labels: (images / 255, labels), r"it has digits_images \(200, 8, 8, 1\) float64, digits_labels"),
    (lambda images, labels: (images[..., 0], labels), r"images \(N, 8, 8, 1\) uint8 .* \(200, 8, 8\) uint8"),
    (lambda images, labels: (images.transpose(0, 3, 1, 2), labels), r"it has digits_images \(200, 1, 8, 8\) uint8"),
    (lambda images, labels: (images, np.eye(10)[labels]), r"digits_labels \(200, 10\) float64"),
    (lambda images, labels: (images, labels.astype(float)), r"digits_labels \(200,\) float64"),
    (lambda images, labels: (images, labels[:-1]), r"digits_labels \(199,\)"),
    (lambda images, labels: (images[:0], labels[:0]), r"it has digits_images \(0, 8, 8, 1\)"),
    (lambda images, labels: (images ^ 1, labels), "most digits_images are public images, so they are not hidden"),
    (lambda images, labels: (images[:3], labels[:3]), ""), (lambda images, labels: (images, labels), "")])
def test_hidden_images_of_another_form_or_scale_are_refused(tmp_path: Path, change, expected: str) -> None:
    data = load_dataset("digits", tmp_path)
    images, labels = change(data.test_images[:200] ^ 1, data.test_labels[:200].astype(int))  # images of their own
    np.savez(tmp_path / "hidden.npz", digits_images=images, digits_labels=labels)
    if not expected:
        assert set(score.read_holdout(tmp_path / "hidden.npz", {"digits": data})) == {"digits/holdout"}
        return
    with pytest.raises(UsageError, match=expected):
        score.read_holdout(tmp_path / "hidden.npz", {"digits": data})


def test_training_images_are_public_and_not_a_hidden_split(tmp_path: Path) -> None:
    data = load_dataset("digits", tmp_path)
    np.savez(tmp_path / "hidden.npz", digits_images=data.train_images[:200], digits_labels=data.train_labels[:200])
    with pytest.raises(UsageError, match="most digits_images are public images, so they are not hidden"):
        score.read_holdout(tmp_path / "hidden.npz", {"digits": data})


@pytest.mark.parametrize("names, expected", [
    (("images", "labels"), r"images is none of .* digits_images, .*; it has images \(359, 8, 8, 1\) uint8"),
    (("digits_images",), r"needs digits_images \(N, 8, 8, 1\) uint8 and digits_labels"),
    (("digits_images", "digits_labels", "cifar_images"), "cifar_images is none of cifar10_images, cifar10_labels"),
    (("mnist_images", "mnist_labels"), "no images of the rubric's data sets"),
    (("digits_images", "digits_labels", "mnist_images", "mnist_labels"), "")])  # of another rubric, too
def test_hidden_images_of_another_name_are_refused_with_the_names_that_are_there(tmp_path, names, expected) -> None:
    data = load_dataset("digits", tmp_path)
    arrays = {name: data.test_labels if name.endswith("labels") else data.test_images ^ 1 for name in names}
    np.savez(tmp_path / "hidden.npz", **arrays)
    with pytest.raises(UsageError, match=expected) if expected else nullcontext():
        score.read_holdout(tmp_path / "hidden.npz", {"digits": data})


def test_hidden_images_saved_as_one_array_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "hidden.npy", np.zeros((2, 8, 8, 1), np.uint8))
    with pytest.raises(UsageError, match="hidden.npy: not an .npz file of arrays: it holds one array; .* np.savez"):
        score.read_holdout(tmp_path / "hidden.npy", {})


def test_scorers_end_with_a_grader_that_is_killed(honest: Path, tmp_path: Path) -> None:
    """Neither the scorer nor its fork, which blocks here on a pipe that nobody writes to, may outlive the grader."""
    code = f"""
from grading.score import Scorer
scorer = Scorer(600.0)
print(scorer.start().pid, flush=True)
scorer.run({{
    "submission": {str(tmp_path)!r}, "out": {str(tmp_path)!r}, "files": {{"fifo.json": ["", ""]}}, "images": {{}},
    "seconds": 600}})
"""
    os.mkfifo(tmp_path / "fifo.json")
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=score.ROOT) as grader:
        assert grader.stdout
        group = int(grader.stdout.readline())
        forks = Path(f"/proc/{group}/task/{group}/children")
        for _ in range(1200):  # until it has imported torch and forked
            if not forks.exists() or forks.read_text().strip():
                break
            time.sleep(0.1)
        children = forks.read_text().split() if forks.exists() else []
        grader.kill()
    for _ in range(1200):
        if not any(running(int(pid)) for pid in (group, *children)):
            break
        time.sleep(0.1)
    assert not any(running(int(pid)) for pid in (group, *children))


def running(pid: int) -> bool:
    """Whether a process runs; one that has ended but was not waited for does not."""
    try:
        os.kill(pid, 0)
        status = Path(f"/proc/{pid}/stat")
        return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
