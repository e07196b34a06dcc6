"""Grade a whole class of hostile and broken submissions; kill a grading and resume it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from grading.output import folder_names
from grading.score import Evidence, Scorer
from grading.submission import shown
from tests.factory import HONEST
from tests.grading.helpers import DIGITS, ROOT, run_grading, table
from tests.hostile import CORPUS, TARGET


def every_byte(out: Path) -> dict[str, bytes]:
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def two_runs(honest: Path, folder: Path) -> None:
    """A copy of the run that is tampered with, and hard links to another run, which no entry of the corpus changes."""
    folder.mkdir(parents=True)
    for suffix in (".json", ".npz", ".safetensors"):
        shutil.copy(honest / f"{TARGET}{suffix}", folder)
        os.link(honest / f"{HONEST['1.2.1']}{suffix}", folder / f"{HONEST['1.2.1']}{suffix}")


def test_a_hostile_submission_affects_only_its_own_student(honest: Path, tmp_path: Path) -> None:
    submissions, out, rubric = tmp_path / "subs", tmp_path / "out", tmp_path / "rubric.yaml"
    rubric.write_text(DIGITS)
    alone, alone_out = tmp_path / "alone", tmp_path / "alone_out"
    for folder in (submissions, alone):
        two_runs(honest, folder / "honest")
    for name, tamper in CORPUS.items():
        two_runs(honest, submissions / name)
        tamper(submissions / name)
    assert len(CORPUS) >= 60
    before = every_byte(submissions / "honest")
    ungraded = run_grading(submissions, rubric, out, jobs=2)
    run_grading(alone, rubric, alone_out)
    packed = Path(shutil.make_archive(str(tmp_path / "packed"), "zip", alone))
    run_grading(packed, rubric, tmp_path / "packed_out")

    assert every_byte(submissions / "honest") == before
    assert not [path for path in tmp_path.rglob("executed*")] and not Path("executed").exists()
    assert not [path for path in (tmp_path, tmp_path.parent, Path("/tmp")) if (path / "escaped.json").exists()]
    # the honest student's grade is the same as without the others
    assert every_byte(out / "honest") == every_byte(alone_out / "honest")
    for name in ("honest/grade.html", "honest/results.json", "grades.csv", "class.html"):  # nor does the archive matter
        assert (tmp_path / "packed_out" / name).read_bytes() == (alone_out / name).read_bytes(), name
    rows = table(out)
    students = folder_names([shown(name) for name in ("honest", *CORPUS)])
    folders = {name: students[shown(name)] for name in ("honest", *CORPUS)}
    assert set(rows) == set(folders.values()) and len(rows) == 1 + len(CORPUS)
    rows = {name: rows[folder] for name, folder in folders.items()}
    full = rows["honest"]
    named = {line.split(": ")[0] for line in ungraded}
    for name in CORPUS:
        folder = out / folders[name]
        result = json.loads((folder / "results.json").read_text())
        evidence = Evidence.model_validate_json((folder / "evidence.json").read_bytes())
        assert 0 <= result["score"] <= 80, name
        assert float(rows[name]["total"]) <= float(full["total"]), name
        assert all(test["output"] and "\n" not in test["output"] for test in result["tests"]), name
        page = (folder / "grade.html").read_text()
        assert "<script" not in page and "onerror=alert" not in page.replace("onerror=alert(1)&gt;", ""), name
        # one run of two was tampered with: the other keeps its points, or the whole submission is not gradable
        if shown(name) not in named:
            kept = rows[name]["autoencoder"] == full["autoencoder"] > "0.00"
            assert kept or name == "arrays-gone", (name, rows[name])
        target = [run for run in evidence.runs if run.file.split("/")[-1] == f"{TARGET}.json"]
        assert shown(name) in named or not target or target[0].correct_verified is not None or target[0].reason, name
    for name in ("claims-everything", "other-weights"):  # valid to read, found out by scoring
        assert "is not confirmed" in (out / name / "grade.html").read_text()
    assert rows["claims-everything"]["classifier"] == full["classifier"]
    for name in ("zip-windows", "zip-macos", "empty-folders", "same-in-two-forms", "renamed", "deep-folders", "copies",
                 "nearly-copies", "zip-slip", "inner-noise"):  # sloppy but not hostile, or without effect
        assert rows[name]["total"] == full["total"], name
    for name in ("zip-bomb", "sparse", "inner-bomb"):  # one file is left out
        assert rows[name]["total"] == full["total"] and "larger than the 20 MB" in rows[name]["remarks"], name
    assert (out / "class.html").stat().st_size < 200_000  # regardless of the number of copies
    for name in ("zip-cut", "zip-noise", "zip-empty", "zip-many", "empty", "no-records", "inner-many",
                 "pipe-as-zip", "linked-student", "zip-encrypted", "zip-wrong-sums", "zip-false-sizes",
                 "zip-long-list"):
        assert name in named, name
    # grading again scores nothing and gives the same bytes
    first = every_byte(out)
    calls: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Scorer, "run", lambda *a: calls.append(a) or "")
        run_grading(submissions, rubric, out)
    assert every_byte(out) == first and not calls


def test_a_killed_grading_resumes_without_scoring_finished_submissions_again(honest: Path, tmp_path: Path) -> None:
    submissions, out, rubric = tmp_path / "subs", tmp_path / "out", tmp_path / "rubric.yaml"
    rubric.write_text(DIGITS)
    for i in range(6):
        shutil.copytree(honest, submissions / f"s{i}")
    command = [sys.executable, str(ROOT / "_report_evaluation.py"), "grade", str(submissions), "--rubric",
               str(rubric), "--out", str(out), "--jobs", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    for _ in range(2400):  # two minutes, on a busy machine
        if list(out.glob("*/evidence.json")):
            break
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = {path.parent.name: path.stat().st_mtime_ns for path in out.glob("*/evidence.json")}
    assert finished and not (out / "grades.csv").exists()
    run_grading(submissions, rubric, out)
    for name, when in finished.items():
        assert (out / name / "evidence.json").stat().st_mtime_ns == when  # not scored again
    rows = table(out)
    assert len(rows) == 6 and len({row["total"] for row in rows.values()}) == 1
