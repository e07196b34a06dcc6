"""The command that runs all experiments, and the file that it wrote."""

import json
from pathlib import Path
from unittest.mock import Mock

import pytest

import _theory
from tests.theory.measured import COMMITTED
from theory.results import QUESTIONS, TheoryResults, read_theory
from utils.errors import UsageError


def test_every_question_is_compared_with_the_committed_results_by_its_tests() -> None:
    for name in QUESTIONS:
        assert f'check_committed("{name}", ' in (Path(__file__).parent / f"test_{name}.py").read_text(), name


def test_the_committed_results_are_valid_and_small() -> None:
    results = read_theory(COMMITTED)
    assert isinstance(results, TheoryResults)
    assert set(results.seconds) == set(QUESTIONS)
    assert sum(results.seconds.values()) < 60
    assert COMMITTED.stat().st_size < 200_000


@pytest.mark.parametrize("argv, words", [
    (["--out", "theory.txt"], "name ends in .json"), (["--out", "no/such/folder/theory.json"], "there is no folder"),
    (["--oot", "x.json"], "did you mean --out"), (["extra"], "unrecognized")])
def test_bad_commands_are_usage_errors(argv: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        _theory.main(argv)


def test_the_command_writes_what_the_experiments_return(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                        capsys: pytest.CaptureFixture) -> None:
    """With the committed numbers instead of the experiments, which the tests of each question run."""
    expected = json.loads(COMMITTED.read_text())["experiments"]
    runs = {name: Mock(return_value=expected[name]) for name in QUESTIONS}
    for name, run in runs.items():
        monkeypatch.setattr(f"theory.{name}.experiment.run", run)
    _theory.main(["--out", str(tmp_path / "theory.json")])
    results = read_theory(tmp_path / "theory.json")
    assert results is not None
    assert json.loads((tmp_path / "theory.json").read_text())["experiments"] == expected
    assert results.seed == _theory.SEED
    for run in runs.values():
        run.assert_called_once_with(_theory.SEED)
    assert set(results.seconds) == set(QUESTIONS) and set(results.libraries) == {"scikit-learn", "scipy"}
    assert [path.name for path in tmp_path.iterdir()] == ["theory.json"]
    assert "collapse" in capsys.readouterr().out
