"""What a teacher should look at: what students' submissions share, and latents that look as if labels had made them.

Flags, never verdicts: equal seeds, recipes and machines give equal weights in this project, so that sharing them proves
nothing by itself; and a latent may lie in clusters for another reason.
"""

import math
from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations

from grading.score import Evidence, Scored

# images whose latent lies nearest to another class's mean, for each that the classifier gets wrong (child.clustered):
# below it where labels were seen, above where not, on digits and MNIST; not measured where accuracies are lower
CLUSTERED = 1.0
NEAR = 0.05  # relative distance of two encoders' weights, from their sketches


@dataclass(frozen=True)
class Flag:
    """Two or more students, what they share, and the names of the records that share it."""

    students: tuple[str, ...]
    what: str
    files: tuple[str, ...]


def find_flags(evidence: dict[str, Evidence]) -> list[Flag]:
    """Identical weights, near-identical weights and identical loss curves across students."""
    runs = [(student, run) for student, one in sorted(evidence.items()) for run in one.runs if run.verified is not None]
    flags = shared(runs, "weights", "identical encoder weights")
    flags += shared([(student, run) for student, run in runs if run.epochs > 1], "history", "identical loss curves")
    return flags + near(runs) + two_tasks(runs) + clusters(runs)


def two_tasks(runs: list[tuple[str, Scored]]) -> list[Flag]:
    """Students who have one encoder stand for two tasks."""
    groups: dict[tuple[str, str], list[Scored]] = defaultdict(list)
    for student, run in runs:
        groups[student, run.weights].append(run)
    return [flag([(student, run.file) for run in group], "one encoder for two tasks")
            for (student, _), group in sorted(groups.items()) if len({run.task for run in group}) > 1]


def clusters(runs: list[tuple[str, Scored]]) -> list[Flag]:
    """Runs of tasks without labels whose latents lie in clusters as only labels were seen to make them."""
    return [flag([(student, run.file)], "latents in clusters, as labels make them, in a task without labels")
            for student, run in runs if run.task != "1.2.2" and not run.labelled and run.clustered is not None
            and run.n - run.clustered < CLUSTERED * (run.n - run.verified)]


def shared(runs: list[tuple[str, Scored]], field: str, what: str) -> list[Flag]:
    """Groups of at least two students with one value."""
    groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for student, run in runs:
        groups[getattr(run, field)].append((student, run.file))
    return [flag(pairs, what) for value, pairs in sorted(groups.items())
            if value and len({student for student, _ in pairs}) > 1]


def near(runs: list[tuple[str, Scored]]) -> list[Flag]:
    """Pairs of different students whose weights differ, but by little."""
    found = []
    for (student, run), (other, theirs) in combinations(runs, 2):
        if student != other and run.weights != theirs.weights and alike(run, theirs):
            found.append(flag([(student, run.file), (other, theirs.file)], "nearly identical encoder weights"))
    return found


def alike(run: Scored, other: Scored) -> bool:
    """Whether two encoders' weights are the same, or nearly."""
    if run.weights == other.weights or not run.sketch or len(run.sketch) != len(other.sketch):
        return run.weights == other.weights
    length = max(math.hypot(*run.sketch), math.hypot(*other.sketch))
    return length > 0 and math.dist(run.sketch, other.sketch) / length < NEAR


def flag(pairs: list[tuple[str, str]], what: str) -> Flag:
    return Flag(tuple(sorted({student for student, _ in pairs})), what, tuple(sorted({file for _, file in pairs})))
