"""Flags for the teacher: what submissions of different students share, and latents that look trained with labels.

Flags are no verdicts: equal seeds, recipes and machines give equal weights in this project, so sharing them proves
nothing by itself, and a latent can be clustered for other reasons.
"""

import math
from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations
from operator import attrgetter
from typing import Any, NamedTuple

from grading.score import Evidence, ScoredRun

# Images whose latent is nearest to another class's mean, per image that the classifier gets wrong (child.clustered):
# below this ratio when labels were used, above it otherwise.  Measured on digits and MNIST, not at lower accuracies.
CLUSTERED = 1.0
NEAR = 0.05  # relative distance of two encoders' weights, from their sketches


class Owned(NamedTuple):
    """A run and the student who submitted it."""

    student: str
    run: ScoredRun


@dataclass(frozen=True)
class Flag:
    """The students concerned, what was noticed, and the file names of their records."""

    students: tuple[str, ...]
    what: str
    files: tuple[str, ...]


def find_flags(evidence: dict[str, Evidence]) -> list[Flag]:
    """Identical and nearly identical weights, identical loss curves, one encoder for two tasks, clustered latents."""
    runs = [Owned(student, run) for student, found in sorted(evidence.items()) for run in found.runs
            if run.correct_verified is not None]
    flags = [flag(group, "identical encoder weights") for group in groups(runs, "run.weights", differing="student")]
    flags += [flag(group, "identical loss curves") for group in groups(
        [one for one in runs if one.run.epochs > 1], "run.history", differing="student")]
    flags += [flag([one, other], "nearly identical encoder weights") for one, other in combinations(runs, 2)
              if one.student != other.student and one.run.weights != other.run.weights and alike(one.run, other.run)]
    flags += [flag(group, "one encoder for two tasks")
              for group in groups(runs, "student", "run.weights", differing="run.task")]
    return flags + [flag([one], "latents clustered by class, as labels make them, in a task without labels")
                    for one in runs if looks_supervised(one.run)]


def groups(runs: list[Owned], *equal: str, differing: str) -> list[list[Owned]]:
    """Runs that are equal in some fields, in the order of these, and differ in another."""
    found: dict[Any, list[Owned]] = defaultdict(list)
    for one in runs:
        found[attrgetter(*equal)(one)].append(one)
    return [group for _, group in sorted(found.items()) if len(set(map(attrgetter(differing), group))) > 1]


def looks_supervised(run: ScoredRun) -> bool:
    """Whether the latent of a task without labels is clustered as only training with labels was seen to do."""
    if run.task == "1.2.2" or run.labelled:
        return False
    if run.clustered is None or run.n is None or run.correct_verified is None:
        return False
    return run.n - run.clustered < CLUSTERED * (run.n - run.correct_verified)


def alike(run: ScoredRun, other: ScoredRun) -> bool:
    """Whether two encoders' weights are identical or nearly so."""
    if run.weights == other.weights or not run.sketch or len(run.sketch) != len(other.sketch):
        return run.weights == other.weights
    length = max(math.hypot(*run.sketch), math.hypot(*other.sketch))
    return length > 0 and math.dist(run.sketch, other.sketch) / length < NEAR


def flag(runs: list[Owned], what: str) -> Flag:
    return Flag(tuple(sorted({one.student for one in runs})), what, tuple(sorted({one.run.file for one in runs})))
