"""Flags between made-up students."""

import numpy as np

from grading.flags import find_flags
from tests.grading.helpers import evidence_with, scored


def test_clustered_latents_and_one_encoder_for_two_tasks_are_flagged() -> None:
    evidence = {name: evidence_with(*runs) for name, runs in {
        "a": [scored(990, clustered=996)], "b": [scored(990, clustered=985)],
        "c": [scored(990, clustered=996, labelled=True)], "d": [scored(990, clustered=996, task="1.2.2")],
        "e": [scored(900, weights="w"), scored(900, weights="w", task="1.2.1", file="b.json")]}.items()}
    for name in "abcd":
        evidence[name] = evidence_with(*(run.model_copy(update={"weights": name}) for run in evidence[name].runs))
    assert [(flag.students, flag.what.split(",")[0]) for flag in find_flags(evidence)] == [
        (("e",), "one encoder for two tasks"), (("a",), "latents clustered by class")]


def test_near_copies_are_flagged_and_independent_encoders_are_not() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=256)
    sketches = {"a": one, "b": one + 0.001 * rng.normal(size=256), "c": rng.normal(size=256)}
    evidence = {name: evidence_with(scored(900, weights=name, sketch=list(sketch)))
                for name, sketch in sketches.items()}
    assert [(flag.students, flag.what) for flag in find_flags(evidence)] == [
        (("a", "b"), "nearly identical encoder weights")]
