"""Grading: the rubric's arithmetic, a corpus of hostile submissions, what is resumed, and what comes out."""

import csv
import errno
import io
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import _report_evaluation
from grading import batch, score
from grading.batch import folder_name, grade_all, name_cell, safe_cell
from grading.child import are_reconstructions, clustered
from grading.flags import find_flags
from grading.points import Override, grade
from grading.rubric import Late, Rubric, late_share, points_for, read_rubric
from grading.score import Evidence, Scored, Scorer
from grading.submission import take
from tests.factory import HONEST
from tests.hostile import CORPUS, TARGET
from utils.command_line import exit_code
from utils.errors import UsageError
from utils.images.datasets import load_dataset

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "grading" / "example_rubric.yaml"
DIGITS = EXAMPLE.read_text().replace("mnist", "digits").replace("three_seeds", "complete_record")


@pytest.fixture
def rubric_file(tmp_path: Path) -> Path:
    path = tmp_path / "rubric.yaml"
    path.write_text(DIGITS)
    return path


def run_grading(submissions: Path, rubric: Path, out: Path, **options: object) -> list[str]:
    given = {"jobs": 1, "timeout": 60.0, "data_dir": submissions, "holdout": None, "manifest": None, "overrides": None}
    return grade_all(submissions, rubric, out, **(given | options))


def table(out: Path) -> dict[str, dict[str, str]]:
    """grades.csv, by student."""
    return {row["student"]: row for row in csv.DictReader(io.StringIO((out / "grades.csv").read_text()))}


# The rubric's arithmetic

accuracies = st.floats(0, 1, allow_nan=False)
scales = st.lists(st.tuples(accuracies, st.floats(0, 100)), min_size=1, max_size=6, unique_by=lambda pair: pair[0]).map(
    lambda pairs: [list(pair) for pair in zip(sorted(a for a, _ in pairs), sorted(p for _, p in pairs), strict=True)])


@given(scales, accuracies, accuracies)
def test_points_are_within_the_scale_and_rise_with_the_accuracy(scale, a: float, b: float) -> None:
    low, high = points_for(min(a, b), scale), points_for(max(a, b), scale)
    assert 0 <= low <= high <= scale[-1][1]


@given(scales)
def test_points_at_the_pairs_are_those_of_the_pairs(scale) -> None:
    for accuracy, points in scale:
        assert points_for(accuracy, scale) == points


def test_between_two_pairs_points_are_linear() -> None:
    scale = [[0.6, 0], [0.7, 25], [0.75, 40]]
    assert points_for(0.65, scale) == pytest.approx(12.5)
    assert points_for(0.725, scale) == pytest.approx(32.5)
    assert (points_for(0.59, scale), points_for(0.9, scale)) == (0, 40)


@given(st.integers(-5, 400), st.integers(0, 400), st.floats(0, 100), st.floats(0, 100), st.integers(0, 10))
def test_lateness_takes_a_share_that_rises_with_the_days(days, more, a_day, most, free) -> None:
    late = Late(percent_a_day=a_day, at_most_percent=most, free_days=free)
    assert 0 <= late_share(days, late) <= late_share(days + more, late) <= most / 100
    assert late_share(free, late) == 0


def scored(correct: int, **values: object) -> Scored:
    """A run of 1.2.3 on digits, 1,000 test images."""
    return Scored(**({"file": "a.json", "task": "1.2.3", "dataset": "digits", "method": "simclr", "status": "complete",
                      "claimed": correct, "n": 1000, "verified": correct, "predictions": "0"} | values))


def rubric_of(scale, most: float = 100.0, late: Late | None = None) -> Rubric:
    return Rubric.model_validate({"title": "t", "late": late, "criteria": [
        {"id": "one", "points": most, "task": "1.2.3", "dataset": "digits", "metric": "test_accuracy", "scale": scale},
        {"id": "two", "points": 7, "task": "1.2.3", "dataset": "digits", "requires": "complete_record"},
        {"id": "three", "points": 5, "manual": True}]})


@settings(max_examples=60)
@given(scales, st.lists(st.integers(0, 1000), max_size=5), st.integers(0, 1000), st.integers(0, 30), st.randoms())
def test_a_total_is_bounded_monotone_and_independent_of_order(scale, counts, better, days, random) -> None:
    rubric = rubric_of(scale, late=Late(percent_a_day=7))
    runs = [scored(count, file=f"{i}.json") for i, count in enumerate(counts)]

    def total(runs: list[Scored]) -> float:
        return grade("s", Evidence(submission="", against="", runs=runs), rubric, days, []).total

    assert 0 <= total(runs) <= rubric.points
    assert total(runs) <= total([*runs, scored(better, file="z.json")])
    shuffled = random.sample(runs, len(runs))
    assert total(shuffled) == total(runs)


def test_the_teacher_has_the_last_word_and_it_is_shown() -> None:
    evidence = Evidence(submission="", against="", runs=[scored(900)])
    word = Override(student="s", criterion="three", points=4, reason="well argued")
    one = grade("s", evidence, rubric_of([[0.5, 0], [1.0, 100]]), 0, [word])
    assert [line.points for line in one.lines] == pytest.approx([80, 7, 4])
    assert one.lines[2].overridden and "well argued" in one.lines[2].reason
    assert one.total == pytest.approx(91)


def test_what_was_verified_counts_and_not_the_claim() -> None:
    evidence = Evidence(submission="", against="", runs=[scored(700, claimed=1000)])
    one = grade("s", evidence, rubric_of([[0.5, 0], [1.0, 100]]), 0, [])
    assert one.lines[0].points == pytest.approx(40)
    assert "claims 100.00 %" in one.lines[0].reason
    assert one.lines[1].points == 0  # a record whose claim does not stand is no complete one


@pytest.mark.parametrize("seeds, weights, points", [
    ((0, 1, 2), "abc", 7), ((0, 1), "ab", 0), ((0, 1, 1), "abc", 0), ((0, 1, 2), "aab", 0)])
def test_three_seeds_are_three_runs_with_weights_of_their_own(seeds, weights, points) -> None:
    rubric = Rubric.model_validate({"title": "t", "criteria": [
        {"id": "a", "points": 7, "task": "1.2.3", "dataset": "digits", "requires": "three_seeds"}]})
    sketches = {name: list(np.random.default_rng(ord(name)).normal(size=256)) for name in "abc"}
    runs = [scored(900, file=f"{i}.json", seed=seed, weights=weight, sketch=sketches[weight])
            for i, (seed, weight) in enumerate(zip(seeds, weights, strict=True))]
    assert grade("s", Evidence(submission="", against="", runs=runs), rubric, 0, []).total == points


# The teacher's files


def test_the_example_rubric_is_one() -> None:
    rubric = read_rubric(EXAMPLE)
    assert rubric.points == 100
    assert {criterion.task for criterion in rubric.criteria} == {"1.2.1", "1.2.2", "1.2.3", None}


@pytest.mark.parametrize("old, new, told", [
    ("points: 20\n    task: 1.2.1", "points: many\n    task: 1.2.1", ["line 11", "criteria.1.points"]),
    ("    requires: reconstructions", "    requires: miracles", ["line 21", "criteria.2.requires"]),
    ("[0.97, 15]", "[0.80, 15]", ["criteria.1", "must rise"]), ("[0.985, 20]", "[0.985, 30]", ["up to 30 points"]),
    ("[0.985, 20]]", "[0.985, 2]]", ["must not fall"]), ("id: seeds", "id: contrastive", ["stands twice"]),
    ("title: Structured", "titel: x\ntitle: Structured", ["line 2", "titel"]),
    ("manual: true", "manual: 7", ["manual"]),
    ("title: Structured latent", "title: x\ntitle: latent", ["line 3", "title stands twice"]),
    ("+01:00", "", ["deadline", "time zone"]), ("criteria:", "criteria: [", ["line", "YAML"]),
    ("dataset: mnist\n    requires: reconstructions", "requires: reconstructions", ["dataset"]),
    ("metric: test_accuracy\n    scale: [[0.90", "scale: [[0.90", ["exactly one of"]),
    ("[0.90, 0]", "[90, 0]", ["0.75"]),
    ("percent_a_day: 10", "percent_a_day: .nan", ["line 5", "percent_a_day"]),
    ("id: seeds", "id: total", ["own name"])])
def test_a_mistake_in_the_rubric_is_told_with_line_and_field(tmp_path: Path, old: str, new: str, told: list) -> None:
    text = EXAMPLE.read_text()
    assert old in text
    (tmp_path / "r.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(UsageError) as error:
        read_rubric(tmp_path / "r.yaml")
    assert "\n" not in str(error.value)
    for words in [str(tmp_path / "r.yaml"), *told]:
        assert words in str(error.value)


@pytest.mark.parametrize("text, told", [
    ("title: t\ndeadline: 20261201\ncriteria: []", "line 2: deadline: should be a time"),
    ("title: t\ncriteria: [{id: a, points: on, manual: true}]", "line 2: criteria.1.points: should be a number"),
    ("title: !!bool maybe", "line 1: 'maybe' is no valid value"), ("- 1", "line 1: the file"), ("", "the file")])
def test_values_that_yaml_would_bend_are_told(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(UsageError) as error:
        read_rubric(tmp_path / "r.yaml")
    assert told in str(error.value) and "\n" not in str(error.value)


def test_a_supervised_encoder_earns_nothing_in_a_task_without_labels() -> None:
    evidence = Evidence(submission="", against="", runs=[scored(990, labelled=True)])
    one = grade("s", evidence, rubric_of([[0.5, 0], [1.0, 100]]), 0, [])
    assert one.total == 0 and "has seen labels" in one.lines[0].reason


@pytest.mark.parametrize("manifest, told", [
    ("ada: {submitted: 2026-12-03T00:00:00+01:00}", "no submission of ada"),
    ("honest: {}", "either submitted or days_late"), ("honest: {submitted: 2026-12-03T00:00:00}", "time zone"),
    ("honest: {late: 3}", "late"), ("{}", "no line for honest")])
def test_a_mistake_in_the_manifest_is_told(honest: Path, rubric_file: Path, tmp_path: Path, manifest, told) -> None:
    (tmp_path / "subs").mkdir()
    shutil.copytree(honest, tmp_path / "subs" / "honest")
    (tmp_path / "m.yaml").write_text(manifest)
    with pytest.raises(UsageError, match=told):
        run_grading(tmp_path / "subs", rubric_file, tmp_path / "out", manifest=tmp_path / "m.yaml")
    assert not (tmp_path / "out").exists()


# Hostile and broken submissions


def test_nothing_outside_is_read_and_links_are_told(honest: Path, tmp_path: Path) -> None:
    shutil.copytree(honest, tmp_path / "s")
    CORPUS["link-to-neighbour"](tmp_path / "s")
    (tmp_path / "s" / "a.unfinished").mkdir()  # a results folder as it is: what runs leave there is passed over
    (tmp_path / "s" / "a.unfinished" / "stage1-step000000001.json").write_text("{}")
    assert (tmp_path / "s" / ".locks").is_dir()
    (tmp_path / "t").mkdir()
    taken = take(tmp_path / "s", tmp_path / "t")
    assert taken.refused == [f"{TARGET}.safetensors: a link"]
    assert f"{TARGET}.safetensors" not in taken.files


def test_a_scorer_that_takes_too_long_is_ended_and_the_next_job_is_served(honest: Path, rubric_file, tmp_path) -> None:
    (tmp_path / "subs").mkdir()
    shutil.copytree(honest, tmp_path / "subs" / "slow")
    ungraded = run_grading(tmp_path / "subs", rubric_file, tmp_path / "out", timeout=0.02)
    assert ungraded == ["slow: could not be scored: it took longer than 0.02 s"]
    assert not run_grading(tmp_path / "subs", rubric_file, tmp_path / "out")  # another start tries again


def test_the_scorer_sees_no_network_and_no_secrets(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("SECRET_TOKEN", "s3cret")
    with Scorer(10.0) as scorer:
        scorer.start()
        pid = scorer.process.pid
        environment = Path(f"/proc/{pid}/environ")
        if environment.exists():
            for _ in range(100):  # until unshare has become python
                if b"python" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    break
                time.sleep(0.02)
            assert b"s3cret" not in environment.read_bytes()
        if score.without_network():
            code = "import socket; socket.create_connection(('1.1.1.1', 80), 2)"
            done = subprocess.run([*score.without_network(), sys.executable, "-c", code], capture_output=True,
                                  check=False)
            assert b"unreachable" in done.stderr


# What comes out


@pytest.fixture(scope="module")
def graded(honest: Path, tmp_path_factory) -> Path:
    """Two students, one of them a copy, with a hidden split, a manifest and the teacher's word."""
    folder = tmp_path_factory.mktemp("graded")
    for name in ("ada", "=bob"):
        shutil.copytree(honest, folder / "subs" / name)
    (folder / "rubric.yaml").write_text(DIGITS + "  - {id: hidden, points: 10, task: 1.2.2, dataset: digits, metric: "
                                        "holdout_accuracy, scale: [[0, 0], [1, 10]]}\n")
    (folder / "manifest.yaml").write_text("ada: {submitted: 2026-12-04T00:00:00+01:00}\n'=bob': {days_late: 0}\n")
    (folder / "overrides.yaml").write_text("- {student: ada, criterion: discussion, points: 15, reason: clear}\n")
    dataset = load_dataset("digits", folder)
    labels = dataset.test_labels.copy()
    labels[:100] = (labels[:100] + 1) % 10
    np.savez(folder / "hidden.npz", digits_images=dataset.test_images, digits_labels=labels)
    run_grading(folder / "subs", folder / "rubric.yaml", folder / "out", holdout=folder / "hidden.npz",
                manifest=folder / "manifest.yaml", overrides=folder / "overrides.yaml")
    return folder / "out"


def test_the_hidden_split_is_counted_by_the_parent(graded: Path) -> None:
    evidence = Evidence.model_validate_json((graded / "ada" / "evidence.json").read_bytes())
    run = next(run for run in evidence.runs if run.task == "1.2.2")
    assert run.holdout_n == run.n == 359
    assert run.holdout <= run.verified - 100 + 20  # a hundred labels were changed
    hidden = table(graded)["ada"]["hidden"]
    assert float(hidden) == pytest.approx(10 * run.holdout / run.holdout_n, abs=0.01)
    assert "Public and hidden images" in (graded / "class.html").read_text()


def test_lateness_and_the_teacher_s_word_are_in_every_output(graded: Path) -> None:
    row = table(graded)["ada"]
    assert row["days_late"] == "3" and row["discussion"] == "15.00" and "clear" in row["remarks"]
    reached = sum(float(row[c]) for c in ("autoencoder", "reconstructions", "classifier", "contrastive", "seeds",
                                          "discussion", "hidden"))
    assert float(row["late_penalty"]) == pytest.approx(0.2 * reached, abs=0.02)  # three days, one of them free
    assert float(row["total"]) == pytest.approx(0.8 * reached, abs=0.02)
    result = json.loads((graded / "ada" / "results.json").read_text())
    assert result["score"] == pytest.approx(float(row["total"]), abs=0.01)
    assert set(result["tests"][0]) == {"name", "score", "max_score", "output", "visibility"}
    assert "3 days late" in (graded / "ada" / "grade.html").read_text()


def test_reconstructions_must_be_of_the_real_images_and_near_them(honest: Path) -> None:
    images = torch.from_numpy(load_dataset("digits", honest).test_images)
    with np.load(honest / f"{HONEST['1.2.1']}.npz") as file:
        arrays = {name: file[name] for name in file.files if name.startswith("reconstruction_")}
    assert are_reconstructions(arrays, images)
    rng = np.random.default_rng(0)
    shape = arrays["reconstruction_outputs"].shape
    for name, forged in (("outputs", rng.integers(0, 256, shape, np.uint8)),
                         ("inputs", arrays["reconstruction_outputs"]),
                         ("index", arrays["reconstruction_index"] + len(images)),
                         ("index", arrays["reconstruction_index"][:0])):
        assert not are_reconstructions(arrays | {f"reconstruction_{name}": forged}, images), name
    assert not are_reconstructions({}, images)


def test_formulas_are_defused_and_names_are_safe_folders(graded: Path) -> None:
    assert "'=bob" in table(graded)
    assert folder_name("ada") == "ada" and folder_name("=bob").startswith("student-")
    assert folder_name("..").startswith("student-") and folder_name("a/b").startswith("student-")
    assert [safe_cell(text) for text in ("=1", "+1", "-1", "@a", "a=1", "")] == ["'=1", "'+1", "'-1", "'@a", "a=1", ""]


def test_no_two_students_are_alike_in_the_table() -> None:
    names = ["ada", "ada ", " ada", "a\nb", "a b", "\u202eada"]
    assert len({name_cell(name) for name in names}) == len(names)
    assert name_cell("ada") == "ada" and folder_name("ada ") in name_cell("ada ")


def test_what_is_missing_on_this_machine_is_not_the_student_s_fault(honest: Path, rubric_file: Path, tmp_path: Path,
                                                                    monkeypatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    shutil.copytree(honest, tmp_path / "subs" / "ada")
    monkeypatch.setattr("grading.submission.copy", full)
    assert run_grading(tmp_path / "subs", rubric_file, tmp_path / "out") == [
        "ada: could not be taken: No space left on device"]
    assert not batch.read_evidence(tmp_path / "out" / "ada" / "evidence.json").settled  # another start tries again


def test_latents_near_their_class_means_are_counted() -> None:
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(300) % 3
    z = torch.eye(3, 8)[classes] + 0.1 * torch.randn(300, 8, generator=generator)
    assert clustered(5 * z, classes) == 300
    assert clustered(z, classes.roll(150).where(torch.arange(300) < 30, classes)) == 300
    astray = classes.clone()
    astray[:10] = (astray[:10] + 1) % 3  # ten are said to be of another class, whose mean is far
    assert clustered(z, astray) == 290


def test_latents_as_labels_make_them_and_one_encoder_for_two_tasks_are_flagged() -> None:
    evidence = {name: Evidence(submission="", against="", runs=runs) for name, runs in {
        "a": [scored(990, clustered=996)], "b": [scored(990, clustered=985)],
        "c": [scored(990, clustered=996, labelled=True)], "d": [scored(990, clustered=996, task="1.2.2")],
        "e": [scored(900, weights="w"), scored(900, weights="w", task="1.2.1", file="b.json")]}.items()}
    assert [(flag.students, flag.what.split(",")[0]) for flag in find_flags(evidence)] == [
        (("e",), "one encoder for two tasks"), (("a",), "latents in clusters")]


def test_copies_are_flagged_and_called_no_verdict(graded: Path) -> None:
    page = (graded / "class.html").read_text()
    assert "identical encoder weights" in page and "identical loss curves" in page and "not verdicts" in page


def test_near_copies_are_flagged_and_others_are_not() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=256)
    runs = {"a": one, "b": one + 0.001 * rng.normal(size=256), "c": rng.normal(size=256)}
    evidence = {name: Evidence(submission="", against="", runs=[scored(900, weights=name, sketch=list(sketch))])
                for name, sketch in runs.items()}
    assert [(flag.students, flag.what) for flag in find_flags(evidence)] == [
        (("a", "b"), "nearly identical encoder weights")]


@pytest.mark.parametrize("words, code, told", [
    (["grade"], 2, "--rubric"), (["grade", "x", "--rubric", "r", "--out", "x/y"], 2, "among the submissions"),
    (["grade", "/nowhere", "--rubric", "r", "--out", "o"], 2, "no such folder"),
    (["grade", "x", "--rubric", "r", "--out", "o", "--jobs", "0"], 2, "--jobs 0"),
    (["grade", "x", "--rubric", "r", "--out", "o", "--timeout", "-1"], 2, "--timeout")])
def test_wrong_words_are_told_in_one_line(words, code, told, capsys) -> None:
    assert exit_code(lambda: _report_evaluation.main(words), "") == code
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 1 and told in err[0]


def test_exit_code_3_lists_what_was_not_gradable(honest: Path, rubric_file: Path, tmp_path: Path, capsys) -> None:
    shutil.copytree(honest, tmp_path / "subs" / "fine")
    (tmp_path / "subs" / "broken.zip").write_bytes(b"no archive")
    (tmp_path / "subs" / "eve.tar.gz").write_bytes(b"other archive")
    words = ["grade", str(tmp_path / "subs"), "--rubric", str(rubric_file), "--out", str(tmp_path / "out"),
             "--jobs", "1"]
    assert exit_code(lambda: _report_evaluation.main(words), "") == 3
    captured = capsys.readouterr()
    assert "not gradable: eve.tar.gz: is neither a folder nor a .zip file; broken: cannot be read" in captured.err
    assert float(table(tmp_path / "out")["fine"]["total"]) > 0
    assert batch.read_evidence(tmp_path / "out" / "broken" / "evidence.json").trouble
