"""Points for made-up evidence: bounds, overrides, claims, seeds, labels."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grading.points import grade
from grading.rubric import Late, Override, Rubric
from grading.score import ABSENT, Evidence, ScoredRun
from tests.grading.helpers import evidence_with, rubric_of, scales, scored

SCALE = [[0.5, 0], [1.0, 100]]


@settings(max_examples=60)
@given(scales, st.lists(st.integers(0, 1000), max_size=5), st.integers(0, 1000), st.integers(0, 30), st.randoms())
def test_a_total_is_bounded_monotone_and_independent_of_order(scale, counts, better, days, random) -> None:
    rubric = rubric_of(scale, late=Late(percent_a_day=7))
    runs = [scored(count, file=f"{i}.json") for i, count in enumerate(counts)]

    def total(runs: list[ScoredRun]) -> float:
        return grade("s", evidence_with(*runs), rubric, days, {}).total

    assert 0 <= total(runs) <= rubric.points
    assert total(runs) <= total([*runs, scored(better, file="z.json")])
    assert total(random.sample(runs, len(runs))) == total(runs)


def test_the_teacher_s_override_replaces_the_points_and_is_shown() -> None:
    override = Override(student="s", criterion="three", points=4, reason="well argued")
    one = grade("s", evidence_with(scored(900)), rubric_of(SCALE), 0, {"three": override})
    assert [award.points for award in one.awards] == pytest.approx([80, 7, 4])
    assert one.awards[2].overridden and "well argued" in one.awards[2].reason
    assert one.total == pytest.approx(91)


def test_the_verified_accuracy_counts_and_not_the_claim() -> None:
    one = grade("s", evidence_with(scored(700, claimed=1000)), rubric_of(SCALE), 0, {})
    assert one.awards[0].points == pytest.approx(40)
    assert "claims 100.00 %" in one.awards[0].reason
    assert one.awards[1].points == 0  # the record is not complete, since its claim does not hold


@pytest.mark.parametrize("seeds, weights, points", [
    ((0, 1, 2), "abc", 7), ((0, 1), "ab", 0), ((0, 1, 1), "abc", 0), ((0, 1, 2), "aab", 0)])
def test_three_seeds_need_three_runs_with_different_weights(seeds, weights, points) -> None:
    rubric = Rubric.model_validate({"title": "t", "criteria": [
        {"id": "a", "points": 7, "task": "1.2.3", "dataset": "digits", "requires": "three_seeds"}]})
    latents = {name: list(np.random.default_rng(ord(name)).normal(size=256)) for name in "abc"}
    runs = [scored(900, file=f"{i}.json", seed=seed, outputs=str(i), latents=latents[weight])
            for i, (seed, weight) in enumerate(zip(seeds, weights, strict=True))]
    assert grade("s", evidence_with(*runs), rubric, 0, {}).total == points


@pytest.mark.parametrize("field, values", [
    ("recipe", ("one", "one", "one")), ("recipe", ("one", "two", "three")), ("method", ("simclr", "dcl", "moco"))])
def test_three_seeds_are_of_one_method_and_recipe(field: str, values: tuple[str, ...]) -> None:
    rubric = Rubric.model_validate({"title": "t", "criteria": [
        {"id": "a", "points": 7, "task": "1.2.3", "dataset": "digits", "requires": "three_seeds"}]})
    runs = [scored(900, file=f"{seed}.json", seed=seed, outputs=str(seed), **{field: value},
                   latents=list(np.random.default_rng(seed).normal(size=256))) for seed, value in enumerate(values)]
    assert grade("s", evidence_with(*runs), rubric, 0, {}).total == (7 if len(set(values)) == 1 else 0)


def test_a_student_who_handed_in_nothing_waits_for_no_points_by_hand() -> None:
    for trouble in (ABSENT, f"{ABSENT}; s.rar: neither a folder nor a .zip file"):
        absent = grade("s", Evidence(trouble=trouble), rubric_of(SCALE), 0, {})
        assert [award.points for award in absent.awards] == [0, 0, 0] and not absent.waiting
    assert grade("s", Evidence(trouble="contains no record"), rubric_of(SCALE), 0, {}).waiting


def test_a_missing_record_is_explained_only_by_one_that_cannot_be_read() -> None:
    other = ScoredRun(file="b.json", task="1.2.1", dataset="digits", reason="its reconstructions are wrong")
    unread = ScoredRun(file="c.json", reason="nested too deeply")
    for runs, words in (([other], "was submitted"), ([other, unread], "was submitted (c.json: nested too deeply)")):
        assert grade("s", evidence_with(*runs), rubric_of(SCALE), 0, {}).awards[0].reason.endswith(words)


def test_a_supervised_encoder_earns_nothing_in_a_task_without_labels() -> None:
    one = grade("s", evidence_with(scored(990, labelled=True)), rubric_of(SCALE), 0, {})
    assert one.total == 0 and "trained with labels" in one.awards[0].reason


def test_equal_predictions_including_the_errors_are_one_seed() -> None:
    rubric = Rubric.model_validate({"title": "t", "criteria": [
        {"id": "a", "points": 7, "task": "1.2.3", "dataset": "digits", "requires": "three_seeds"}]})
    for correct, points in ((900, 0), (999, 7)):  # one error in common proves nothing
        runs = [scored(correct, file=f"{seed}.json", seed=seed, outputs="same") for seed in range(3)]
        assert grade("s", evidence_with(*runs), rubric, 0, {}).total == points
