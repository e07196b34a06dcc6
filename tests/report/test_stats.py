"""McNemar's test, Holm's correction and curves over label fractions."""

from pathlib import Path

import pytest

from report import stats
from report.load import load_results
from report.summary import summarise
from tests.factory import make_record
from tests.report.pages import slow_mcnemar
from utils.records.schema import read_record


@pytest.mark.parametrize(("b", "c"), [(0, 0), (0, 1), (1, 0), (5, 5), (3, 14), (40, 21), (0, 30), (300, 412), (900, 2)])
def test_mcnemar_agrees_with_whole_numbers(b: int, c: int) -> None:
    assert stats.mcnemar(b, c) == pytest.approx(float(slow_mcnemar(b, c)), rel=1e-9)
    assert stats.mcnemar(b, c) == stats.mcnemar(c, b)


def test_holm_rejects_by_its_own_stepping_down() -> None:
    """A pair is rejected at level a just where its adjusted value is at most a, by Holm's own stepping down."""
    values = [0.01, 0.04, 0.03, 0.005, 0.5, 0.01]
    adjusted = stats.holm(values)
    for level in (0.004, 0.03, 0.05, 0.0501, 0.09, 0.2, 0.9):
        rejected: set[int] = set()
        for step, i in enumerate(sorted(range(6), key=lambda i: values[i])):
            if values[i] > level / (6 - step):
                break
            rejected.add(i)
        assert {i for i in range(6) if adjusted[i] <= level} == rejected
    assert stats.holm([]) == []


def test_two_rows_are_compared_on_the_lowest_seed_that_both_have(tmp_path: Path) -> None:
    for method, seeds in (("simclr", (1, 2, 3)), ("dcl", (0, 2, 3))):
        for seed in seeds:
            make_record(tmp_path, "1.2.3", "mnist", method, seed, n=200, epochs=1,
                        accuracy=0.5 + seed / 10 - 0.1 * (method == "dcl"))
    rows = summarise(load_results(tmp_path)[0]).rows
    [pair] = stats.mcnemar_pairs(rows)
    right = [{run.record.run.seed: run.arrays["test_predictions"] == run.arrays["test_labels"]
              for run in row.runs}[2].tolist() for row in (pair.first, pair.second)]
    only = [sum(a > b for a, b in zip(one, other, strict=True)) for one, other in (right, right[::-1])]
    assert pair[2:] == (2, *only, stats.mcnemar(*only), stats.mcnemar(*only)) and min(only) > 10


def test_other_encoders_and_recipes_get_curves_of_their_own(tmp_path: Path) -> None:
    for share in (0.1, 0.5):
        for more in ({}, {"encoder": "mlp"}, {"subset": 500}, {"learning_rate": 0.1}, {"epochs": 2}):
            fields = {"labels": share, "epochs": 1, **more}
            make_record(tmp_path, "1.2.2", "mnist", "joint", n=60, epochs=fields["epochs"], fields=fields)
    loaded = load_results(tmp_path)[0]
    names = [line.name for line in stats.label_curves(summarise(loaded).rows)]
    base = "random initialisation, trained end to end"
    assert names == [base, f"{base}, encoder=mlp", f"{base}, learning_rate=0.1", f"{base}, subset=500"]


def test_an_encoder_trained_with_more_labels_gets_a_curve_of_its_own(tmp_path: Path) -> None:
    """Labels that came in through another run's encoder are said, and keep the row off the line of the others."""
    honest = {"record": "a.json", "task": "1.2.3", "dataset": "mnist", "labels": 0.0, "method": "simclr", "seed": 0,
              "recipe_hash": read_record(make_record(tmp_path, "1.2.3", "mnist", "simclr", n=60)).recipe.hash,
              "sha256": "4" * 64}
    for share in (0.01, 0.1):
        fields = {"labels": share, "epochs": 0}
        make_record(tmp_path, "1.2.3", "mnist", "simclr", n=60, epochs=0, init=honest, fields=fields, name=f"h{share}")
        make_record(tmp_path, "1.2.3", "mnist", "simclr", n=60, epochs=0, init=honest | {"labels": 1.0}, fields=fields,
                    name=f"l{share}")
    rows = summarise(load_results(tmp_path)[0]).rows
    lines = {line.name: len(line.points) for line in stats.label_curves(rows)}
    assert lines == {"contrastive simclr, frozen": 3,
                     "contrastive simclr, frozen, from 1.2.3 simclr, which was trained with 100 % of labels": 2}
    assert sum("which was trained with 100 % of the labels" in row.recipe for row in rows) == 2
