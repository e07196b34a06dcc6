"""The files that a grading writes, from a class of two students with every option."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from grading.manifest import Assignment
from grading.output import best_runs, folder_names, remarks, safe_cell, write_grades
from grading.points import grade
from grading.score import Evidence
from tests.grading.helpers import DIGITS, evidence_with, rubric_of, run_grading, scored, table
from utils.images.datasets import load_dataset


@pytest.fixture(scope="module")
def graded(honest: Path, tmp_path_factory) -> Path:
    """Two students with equal submissions, and an archive that is none; hidden images, a manifest, an override."""
    folder = tmp_path_factory.mktemp("graded")
    for name in ("ada", "=bob"):
        shutil.copytree(honest, folder / "subs" / name)
    (folder / "subs" / "broken.zip").write_bytes(b"no archive")
    (folder / "subs" / "zoe.rar").write_bytes(b"other archive")
    (folder / "rubric.yaml").write_text(DIGITS + "  - {id: hidden, points: 10, task: 1.2.2, dataset: digits, metric: "
                                        "holdout_accuracy, scale: [[0, 0], [1, 10]]}\n")
    (folder / "manifest.yaml").write_text("ada: {submitted: 2026-12-04T00:00:00+01:00}\n'=bob': {days_late: 0}\n"
                                          "broken: {days_late: 0}\nzoe: {name: Zoë}\n")
    (folder / "overrides.yaml").write_text("- {student: ada, criterion: discussion, points: 15, reason: clear}\n")
    dataset = load_dataset("digits", folder)
    labels = dataset.test_labels.copy()
    labels[:100] = (labels[:100] + 1) % 10
    np.savez(folder / "hidden.npz", digits_images=dataset.test_images ^ 1, digits_labels=labels)  # not public ones
    ungraded = run_grading(folder / "subs", folder / "rubric.yaml", folder / "out", holdout=folder / "hidden.npz",
                           manifest=folder / "manifest.yaml", overrides=folder / "overrides.yaml")
    assert [line.split(":")[0] for line in ungraded] == ["zoe.rar", "broken"]
    return folder / "out"


def test_the_parent_counts_the_hidden_images(graded: Path) -> None:
    evidence = Evidence.model_validate_json((graded / "ada" / "evidence.json").read_bytes())
    run = next(run for run in evidence.runs if run.task == "1.2.2")
    assert run.holdout_n == run.n == 359
    assert run.correct_holdout <= run.correct_verified - 100 + 20  # a hundred labels were changed
    hidden = table(graded)["ada"]["hidden"]
    assert float(hidden) == pytest.approx(10 * run.correct_holdout / run.holdout_n, abs=0.01)
    assert "Public and hidden images" in (graded / "class.html").read_text()


def test_grades_that_were_edited_are_kept(tmp_path: Path) -> None:
    rubric = rubric_of([[0.5, 0], [1, 100]])
    def write() -> list[str]:
        return write_grades([grade("ada", evidence_with(scored(900)), rubric, 0, {})], Assignment(rubric),
                            {"ada": tmp_path / "ada"}, tmp_path)

    assert write() == [] == write()
    written = (tmp_path / "grades.csv").read_bytes()
    (tmp_path / "grades.csv").write_bytes(written + b"a line of the teacher's\n")
    (note,) = write()
    assert "grades-edited-1.csv" in note and (tmp_path / "grades.csv").read_bytes() == written
    assert (tmp_path / "grades-edited-1.csv").read_bytes() == written + b"a line of the teacher's\n"
    (tmp_path / "grades.csv").write_bytes(b"another edit")
    assert "grades-edited-2.csv" in write()[0]
    (tmp_path / ".grades.sha256").unlink()  # of a version that kept no digest
    assert "grades-edited-3.csv" in write()[0]
    assert (tmp_path / "grades-edited-1.csv").read_bytes() == written + b"a line of the teacher's\n"


def test_lateness_and_overrides_are_in_every_output(graded: Path) -> None:
    row = table(graded)["ada"]
    assert row["days_late"] == "3" and row["discussion"] == "15.00" and "clear" in row["remarks"]
    reached = sum(float(row[c]) for c in ("autoencoder", "reconstructions", "classifier", "contrastive", "seeds",
                                          "discussion", "hidden"))
    assert float(row["late_penalty"]) == pytest.approx(0.2 * reached, abs=0.02)  # three days, one of them free
    assert float(row["total"]) == pytest.approx(0.8 * reached, abs=0.02)
    result = json.loads((graded / "ada" / "results.json").read_text())
    assert result["score"] == pytest.approx(float(row["total"]), abs=0.01)
    assert set(result["tests"][0]) == {"name", "score", "max_score", "output", "visibility"}
    assert "3 days late" in (graded / "ada" / "grade.html").read_text() and "3 days late" in result["output"]


def test_equal_submissions_are_flagged_but_not_called_a_verdict(graded: Path) -> None:
    page = (graded / "class.html").read_text()
    assert page.count("one encoder, up to an affine map") == 1  # for three pairs of runs
    assert "identical loss curves" in page and "not verdicts" in page


def test_a_broken_submission_gets_0_points_and_a_page_with_the_reason(graded: Path) -> None:
    assert float(table(graded)["broken"]["total"]) == 0 < float(table(graded)["ada"]["total"])
    assert "cannot be read" in (graded / "broken" / "grade.html").read_text()
    assert "broken: the submission contains nothing" in (graded / "class.html").read_text()
    assert "cannot be read" in table(graded)["broken"]["remarks"]


def test_formulas_are_defused_and_folder_names_are_safe(graded: Path) -> None:
    assert table(graded)[folder_names(["=bob"])["=bob"]]["student"] == "'=bob"
    assert (graded / "grades.csv").read_bytes().startswith(b"\xef\xbb\xbfstudent,name,folder,")  # for spreadsheets
    names = ("ada", "Ada L_1", "a" * 121, "=bob", "..", "a/b", "a.", "a ", "Grades.csv", "class.html", "STUDENT-1",
             "x\n", "a" * 122, "Kim", "kim", "KIM.", "\xe9", "e\u0301")
    folders = folder_names(names)
    assert [name for name in names if folders[name] == name] == ["ada", "Ada L_1", "a" * 121]
    assert len({folder.lower() for folder in folders.values()}) == len(names)  # nor do two differ only in case
    assert [safe_cell(text) for text in ("=1", "+1", "-1", "@a", "a=1", "")] == ["'=1", "'+1", "'-1", "'@a", "a=1", ""]


def test_a_line_of_the_class_list_without_a_submission_is_0_points_and_named(graded: Path) -> None:
    row = table(graded)["zoe"]
    assert (row["name"], row["total"]) == ("Zo\xeb", "0.00")
    assert row["remarks"] == ("is missing: no folder or .zip file has this name, zoe.rar: neither a folder nor a .zip "
                              "file")
    assert "zoe: the submission is missing" in (graded / "class.html").read_text()
    assert json.loads((graded / "zoe" / "results.json").read_text())["score"] == 0


def test_remarks_say_why_runs_do_not_count_and_the_class_page_stays_small() -> None:
    runs = [scored(0, file=f"{i}.json", reason="no checkpoint", correct_verified=None) for i in range(400)]
    evidence = evidence_with(*runs, *(scored(900 + i % 7, holdout_n=10, correct_holdout=9) for i in range(400)))
    one = grade("s", evidence, rubric_of([[0, 0]]), 0, {})
    assert [*remarks(one)[:1], remarks(one)[-1]] == ["0.json: no checkpoint", "and 392 more"]
    assert [run.correct_verified for run in best_runs(evidence.runs)] == [906]
