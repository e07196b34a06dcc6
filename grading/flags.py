"""Flags for the teacher: what submissions of different students share, and latents that look trained with labels.

Flags are no verdicts: equal seeds, recipes and machines give equal weights in this project, so sharing them proves
nothing by itself, and a latent can be clustered for other reasons.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

from grading.score import Evidence, ScoredRun

# Images whose latent is nearest to another class's mean, per image that the classifier gets wrong (child.clustered):
# below this ratio when labels were used, above it otherwise.  Measured on digits and MNIST, not at lower accuracies.
CLUSTERED = 1.0
NEAR = 0.05  # relative distance of two encoders' weights, from their sketches
Runs = list[tuple[str, ScoredRun]]  # (student, run)


@dataclass(frozen=True)
class Flag:
    """The students concerned, what was noticed, and the file names of their records."""

    students: tuple[str, ...]
    what: str
    files: tuple[str, ...]


def find_flags(evidence: dict[str, Evidence]) -> list[Flag]:
    """Identical and nearly identical weights, identical loss curves, one encoder for two tasks, clustered latents."""
    runs = [(student, run) for student, found in sorted(evidence.items()) for run in found.runs
            if run.correct_verified is not None]
    flags = [flag(group, "identical encoder weights") for group in shared(runs, "weights")]
    flags += [flag(group, "identical loss curves")
              for group in shared([(student, run) for student, run in runs if run.epochs > 1], "history")]
    flags += [flag([one, other], "nearly identical encoder weights") for one, other in combinations(runs, 2)
              if one[0] != other[0] and one[1].weights != other[1].weights and alike(one[1], other[1])]
    flags += [flag(group, "one encoder for two tasks") for group in two_tasks(runs)]
    return flags + [flag([(student, run)], "latents clustered by class, as labels make them, in a task without labels")
                    for student, run in runs if looks_supervised(run)]


def shared(runs: Runs, field: str) -> Iterator[Runs]:
    """Groups of at least two students with the same value of a field."""
    groups: dict[str, Runs] = defaultdict(list)
    for student, run in runs:
        groups[getattr(run, field)].append((student, run))
    return (group for value, group in sorted(groups.items()) if value and len({student for student, _ in group}) > 1)


def two_tasks(runs: Runs) -> Iterator[Runs]:
    """Runs of one student with the same weights in more than one task."""
    groups: dict[tuple[str, str], Runs] = defaultdict(list)
    for student, run in runs:
        groups[student, run.weights].append((student, run))
    return (group for _, group in sorted(groups.items()) if len({run.task for _, run in group}) > 1)


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


def flag(runs: Runs, what: str) -> Flag:
    return Flag(tuple(sorted({student for student, _ in runs})), what, tuple(sorted({run.file for _, run in runs})))
