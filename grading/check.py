"""Check a submission before it is handed in: what a grader would accept of it, without points.

It is copied and scored as in a grading (score.evidence_of), in isolation and by the same rules.
"""

import tempfile
from itertools import combinations
from pathlib import Path

from grading.points import one_seed, outcome
from grading.score import Evidence, ScoredRun, Scorer, evidence_of, load_truth
from report import show
from utils.errors import PartlyDone, RunError, UsageError
from utils.images.datasets import DATASETS


def check(submission: Path, data_dir: Path, timeout: float) -> None:
    """Print one line per record and per file that is left out.

    Raises UsageError if there is no such folder, RunError if nothing is accepted, PartlyDone if not every record is.
    """
    if not submission.exists():
        raise UsageError(f"--check {submission}: no such folder or .zip file")
    evidence = examine(submission.resolve(), data_dir, timeout)
    for run in evidence.runs:
        print(f"{'accepted' if run.accuracy is not None else 'NOT accepted'}: {show.plain(in_words(run))}")
    for run, other in combinations([run for run in evidence.runs if run.accuracy is not None], 2):
        if setting(run) == setting(other) and one_seed(run, other):
            print(f"count as one seed: {show.plain(f'{run.file} and {other.file}')}")
    for line in evidence.refused:
        print(f"left out: {show.plain(line)}")
    if evidence.trouble or evidence.ended:
        raise RunError(f"{submission}: the submission {show.plain(evidence.trouble or evidence.ended)}")
    accepted = sum(run.accuracy is not None for run in evidence.runs)
    print(f"{accepted} of {show.plural(len(evidence.runs), 'record')} accepted")
    if accepted < len(evidence.runs):
        raise PartlyDone(f"{show.plural(len(evidence.runs) - accepted, 'record')} would not be accepted")


def examine(submission: Path, data_dir: Path, timeout: float) -> Evidence:
    """The evidence on one submission.  It is read twice: first only to find out which data sets it needs."""
    with tempfile.TemporaryDirectory(prefix="grading-") as scratch, Scorer(timeout) as scorer:
        evidence = evidence_of([submission], load_truth((), data_dir, None, Path(scratch)), scorer, None)
        datasets = {run.dataset for run in evidence.runs} & set(DATASETS)
        if datasets:
            evidence = evidence_of([submission], load_truth(datasets, data_dir, None, Path(scratch)), scorer, None)
        return evidence


def setting(run: ScoredRun) -> tuple[str, str, str]:
    """What runs have in common that differ in their seeds only."""
    return run.task, run.dataset, run.recipe


def in_words(run: ScoredRun) -> str:
    """One record: what it is and what was verified, or why it does not count."""
    if run.accuracy is None:
        return f"{run.file}: {outcome(run)}"
    return (f"{run.file}: {run.task} on {run.dataset}, {run.method}, seed {run.seed}: "
            f"{run.correct_verified} of {run.n} test images correct; {outcome(run)}")
