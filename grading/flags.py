"""Flags for the teacher: what submissions of different students share, and latents that look trained with labels.

Flags are no verdicts: equal seeds, recipes and machines give equal weights in this project, so sharing them proves
nothing by itself, and a latent can be clustered for other reasons.
"""

from collections import defaultdict
from statistics import median

import numpy as np

from grading.score import SKETCH, Evidence, ScoredRun, losses_digest, shipped_records

# Images whose latent is nearest to another class's mean, per image that the classifier gets wrong (child.clustered):
# below this ratio when labels were used, above it otherwise.  Measured on digits and MNIST, not at lower accuracies.
CLUSTERED = 1.0
# Cosine of two summaries of latents (child.sketch) above which they are one encoder's.  Measured on digits and
# MNIST: at least 0.97 for one encoder rewritten by a mix of its latent or with 5 % noise in its weights, and at least
# 0.96, but once 0.69, where the mix stretches one direction a thousandfold.  Two seeds have at most 0.58 on digits; on
# CIFAR-10 0.42 (joint), 0.78 (patches) and 0.84 (simclr, by an earlier summary).
NEAR = 0.9
ERRORS = 10  # at least, for equal predictions to mean anything
GAP = 0.2  # public minus hidden accuracy, median: more is probably a mistake in the hidden images
Owned = tuple[str, ScoredRun]  # a student and a run of theirs


def find_flags(evidence: dict[str, Evidence]) -> list[tuple[tuple[str, ...], list[str], list[str]]]:
    """One flag for each group of students: the students, what was noticed, and the file names of their records.

    Noticed are one encoder, equal predictions and equal loss curves of several students, loss curves of runs that come
    with this repository, and clustered latents.
    """
    runs = [(student, run) for student, found in sorted(evidence.items()) for run in found.runs
            if run.correct_verified is not None and run.task != "control"]  # equal controls are no copies
    encoders = same_encoder(runs)
    shared: dict[tuple[str, object], list[Owned]] = defaultdict(list)
    for number, group in enumerate(encoders):
        shared["one encoder, up to an affine map of its latent", number] = group
    for one in runs:
        if wrong(one[1]) >= ERRORS:
            shared["equal predictions, errors included", one[1].outputs].append(one)
        if one[1].epochs > 1:
            shared["identical loss curves", one[1].history].append(one)
    for name, record in shipped_records().items():  # which students have, too
        if (key := ("identical loss curves", losses_digest(record))) in shared:
            shared[key].append(("this repository's results/", ScoredRun(file=name)))
    noticed = [(what, group) for (what, _), group in shared.items() if len({student for student, _ in group}) > 1]
    for group in encoders:
        for name in sorted({student for student, _ in group}):
            own = [one for one in group if one[0] == name]
            if len({run.task for _, run in own}) > 1:
                noticed.append(("one encoder for two tasks", own))
    noticed += [("latents clustered by class, as after training with labels, in a task without labels", [one])
                for one in runs if looks_supervised(one[1])]
    files: dict[tuple[str, ...], dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for what, group in noticed:
        files[tuple(sorted({student for student, _ in group}))][what] |= {run.file for _, run in group}
    return [(students, list(found), sorted(set().union(*found.values()))) for students, found in files.items()]


def same_encoder(runs: list[Owned]) -> list[list[Owned]]:
    """Runs with the same encoder: each run joins the first group whose first run it is near to."""
    groups: list[tuple[np.ndarray, list[Owned]]] = []
    for one in runs:
        own = direction(one[1])
        group = next((members for first, members in groups if first @ own > NEAR), [])
        if not group:
            groups.append((own, group))
        group.append(one)
    return [members for _, members in groups]


def direction(run: ScoredRun) -> np.ndarray:
    """The summary of a run's latents (child.sketch) as a unit vector, zeros if there is none."""
    vector = np.array([*run.latents, *[0.0] * (SKETCH - len(run.latents))])
    return vector / max(float(np.linalg.norm(vector)), 1e-30)


def wrong(run: ScoredRun) -> int:
    """How many test images a verified run gets wrong."""
    return (run.n or 0) - (run.correct_verified or 0)


def one_seed(run: ScoredRun, other: ScoredRun) -> bool:
    """Whether two verified runs count as one seed: by their seeds, their encoder, or their predictions with errors."""
    return run.seed == other.seed or bool(direction(run) @ direction(other) > NEAR) or (
        wrong(run) >= ERRORS and run.outputs == other.outputs)


def looks_supervised(run: ScoredRun) -> bool:
    """Whether the latent of a task without labels is clustered as only training with labels was seen to do."""
    if run.task == "1.2.2" or run.labelled or run.clustered is None:
        return False
    return (run.n or 0) - run.clustered < CLUSTERED * wrong(run)


def hidden_gap(evidence: dict[str, Evidence]) -> str:
    """A warning if nearly all runs fail on the hidden images, or ""."""
    gaps = [run.accuracy - run.holdout_accuracy for one in evidence.values() for run in one.runs
            if run.accuracy is not None and run.holdout_accuracy is not None]
    if not gaps or median(gaps) <= GAP:
        return ""
    return (f"half of the runs have at least {100 * median(gaps):.0f} percentage points less on the hidden images than "
            "on the public ones: check the scale, orientation, colour order and labels of the hidden images")
