"""The isolated process: no secrets, no network, a time limit; and which submissions are scored again."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from grading import score
from grading.rubric import Rubric
from grading.score import Scorer, evidence_of, load_truth
from grading.strict_yaml import read_yaml


def test_a_job_that_takes_too_long_is_ended_and_scored_again_by_the_next_grading(
        honest: Path, rubric_file: Path, tmp_path: Path) -> None:
    truth = load_truth(read_yaml(rubric_file, Rubric), honest, None, tmp_path)
    with Scorer(0.02) as scorer:
        slow = evidence_of(honest, truth, scorer, None)
        assert (slow.trouble, slow.settled) == ("could not be scored: it took longer than 0.02 s", False)
        scorer.timeout = 60.0
        evidence = evidence_of(honest, truth, scorer, slow)  # the same process serves the next job
        assert evidence.settled and not evidence.trouble
        assert [run.correct_verified for run in evidence.runs] == [run.claimed for run in evidence.runs]
        assert evidence_of(honest, truth, scorer, evidence) is evidence


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


@pytest.mark.parametrize("report, files", [
    ("{", 0), ("[]", 0), ('{"a.json": {"claimed": "5"}}', 0), ('{"a.json": {"claimed": -1}}', 0),
    ('{"a.json": {"extra": 1}}', 0), ('{"a.json": {"predictions": "../0"}}', 0), ('{"b.json": {}}', 0),
    ('{"a.json": {"claimed": 5}}', 1), (" " * score.REPORT_BYTES + "{}", 0)])
def test_a_child_s_report_is_read_strictly(tmp_path: Path, report: str, files: int) -> None:
    (tmp_path / "report.json").write_text(report)
    assert len(score.read_child_report(tmp_path / "report.json", {"a.json"})) == files
