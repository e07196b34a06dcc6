"""What a teacher should look at: things that two students' submissions share.  Flags, never verdicts.

Equal seeds, recipes and machines give equal weights in this project, so that sharing them proves nothing by itself.
"""

import math
from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations

from grading.score import Evidence, Scored

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
    return flags + near(runs)


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
