"""All experiments: seeds, the committed results, the command."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import _theory
from tests.theory.measured import COMMITTED, EXPERIMENTS, measured
from theory.results import Experiments, TheoryResults, read_theory
from utils.errors import UsageError


@pytest.mark.parametrize("name", ["temperature", "alignment_uniformity", "reconstruction_loss"])
def test_the_seed_decides_alone(name: str) -> None:
    torch.manual_seed(123)
    np.random.seed(123)
    again = EXPERIMENTS[name](_theory.SEED)
    assert again == measured(name) != EXPERIMENTS[name](_theory.SEED + 1)


def test_the_form_names_every_experiment_and_takes_what_they_return() -> None:
    assert set(EXPERIMENTS) == set(Experiments.model_fields)
    Experiments.model_validate({name: measured(name) for name in EXPERIMENTS})


# name -> (relative, absolute) tolerance: training gives other last digits on other processors
TOLERANCE = {"linear_autoencoder": (1e-3, 0.0), "projection_head": (0, 0.05), "collapse": (0.15, 0.08)}
FREE = ("axis_cosines", "other_seed_axis_cosines", "gradient_error", "l2_image_to_mean", "l1_image_to_median")


def close(ours: Any, theirs: Any, relative: float, absolute: float, where: str) -> None:
    """Equal up to the tolerance, all the way down."""
    if isinstance(ours, dict):
        assert set(ours) == set(theirs), where
        for key in ours:
            if key not in FREE:
                close(ours[key], theirs[key], relative, absolute, f"{where}.{key}")
    elif isinstance(ours, list):
        assert len(ours) == len(theirs), where
        for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            close(a, b, relative, absolute, f"{where}[{i}]")
    elif isinstance(ours, float):
        assert ours == pytest.approx(theirs, rel=relative, abs=absolute), where
    else:
        assert ours == theirs, where


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_committed_results_are_what_the_code_measures(name: str) -> None:
    committed = json.loads(COMMITTED.read_text())["experiments"][name]
    close(committed, measured(name), *TOLERANCE.get(name, (1e-3, 3e-3)), name)


def test_the_committed_results_are_believed_and_small() -> None:
    results = read_theory(COMMITTED)
    assert isinstance(results, TheoryResults)
    assert set(results.seconds) == set(EXPERIMENTS)
    assert sum(results.seconds.values()) < 60
    assert COMMITTED.stat().st_size < 200_000


@pytest.mark.parametrize("argv, words", [
    (["--out", "theory.txt"], "must end in .json"), (["--out", "no/such/folder/theory.json"], "there is no folder"),
    (["--oot", "x.json"], "did you mean --out"), (["extra"], "unrecognized")])
def test_bad_commands_are_usage_errors(argv: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        _theory.main(argv)


def test_the_command_writes_what_the_experiments_return(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                        capsys: pytest.CaptureFixture) -> None:
    expected = {name: measured(name) for name in EXPERIMENTS}
    for name, result in expected.items():
        monkeypatch.setattr(f"theory.{name}.experiment.run", lambda seed, result=result: result)
    _theory.main(["--out", str(tmp_path / "theory.json")])
    results = read_theory(tmp_path / "theory.json")
    assert results.model_dump(by_alias=True)["experiments"] == json.loads(json.dumps(expected))
    assert results.seed == _theory.SEED and set(results.libraries) == {"scikit-learn", "scipy"}
    assert [path.name for path in tmp_path.iterdir()] == ["theory.json"]
    assert "collapse" in capsys.readouterr().out
