"""Flags between made-up students."""

import numpy as np

from grading.flags import find_flags, hidden_gap, same_encoder
from grading.score import SKETCH, losses_digest, shipped_records
from tests.grading.helpers import evidence_with, scored

RNG = np.random.default_rng(0)
ONE, OTHER = (list(RNG.normal(size=SKETCH)) for _ in range(2))


def test_clustered_latents_and_one_encoder_for_two_tasks_are_flagged() -> None:
    evidence = {name: evidence_with(*runs) for name, runs in {
        "a": [scored(990, clustered=996)], "b": [scored(990, clustered=985)],
        "c": [scored(990, clustered=996, labelled=True)], "d": [scored(990, clustered=996, task="1.2.2")],
        "e": [scored(900, latents=ONE), scored(900, latents=ONE, task="1.2.1", file="b.json")]}.items()}
    for i, one in enumerate(evidence.values()):
        one.runs[:] = [run.model_copy(update={"outputs": str(i)}) for run in one.runs]
    assert [(students, what[0].split(",")[0]) for students, what, _ in find_flags(evidence)] == [
        (("e",), "one encoder for two tasks"), (("a",), "latents clustered by class")]


def test_students_who_share_several_things_get_one_flag_however_many_copies_they_hand_in() -> None:
    near = list(np.array(ONE) + 0.01 * RNG.normal(size=SKETCH))
    shared = {"outputs": "p", "history": "h", "epochs": 5}
    evidence = {"a": evidence_with(scored(900, latents=ONE, **shared)), "c": evidence_with(scored(900, latents=OTHER)),
                "b": evidence_with(*(scored(900, latents=near, file=f"{i}.json", **shared) for i in range(400)))}
    (students, noticed, _), = find_flags(evidence)
    assert students == ("a", "b")
    assert [what.split(",")[0] for what in noticed] == ["one encoder", "equal predictions", "identical loss curves"]


def test_a_run_that_comes_with_the_repository_is_flagged() -> None:
    shipped = {name: losses_digest(record) for name, record in shipped_records().items()}
    file = next(name for name in shipped if name.startswith("1.2.3_mnist_simclr_seed0"))
    evidence = {"a": evidence_with(scored(900, history=shipped[file], epochs=5)),
                "b": evidence_with(scored(900, history="own", epochs=5, outputs="own"))}
    (students, noticed, files), = find_flags(evidence)
    assert students == ("a", "this repository's results/") and noticed == ["identical loss curves"] and file in files


def test_equal_controls_are_no_copies() -> None:
    both = {name: evidence_with(scored(900, task=task, outputs="x", epochs=2, history="y"))
            for task in ("control", "1.2.3") for name in ("a", "b")}
    assert find_flags(both)
    assert not find_flags({name: evidence_with(scored(900, task="control", outputs="x", epochs=2, history="y"))
                           for name in ("a", "b")})


def test_equal_predictions_with_hardly_an_error_prove_nothing() -> None:
    assert not find_flags({name: evidence_with(scored(995, outputs="p")) for name in "ab"})


def test_a_run_without_a_summary_or_with_zeros_is_near_no_other() -> None:
    runs = [("s", scored(900, latents=latents)) for latents in ([], [], [0.0] * 5, ONE[:9])]
    assert len(same_encoder(runs)) == 4


def test_a_warning_when_nearly_all_runs_fail_on_the_hidden_images() -> None:
    def evidence(*correct: int):
        return {str(i): evidence_with(scored(900, holdout_n=1000, correct_holdout=n)) for i, n in enumerate(correct)}
    assert "90 percentage points less" in hidden_gap(evidence(0, 0, 900)) and not hidden_gap(evidence(0, 890, 900))
    assert not hidden_gap({})
