"""The command line, as a user meets it: help, errors of one line, what is skipped and what is never overwritten."""

import subprocess
import sys
from pathlib import Path

import pytest

import _main
from utils.command_line import exit_code
from utils.record import read_record

ROOT = Path(__file__).parent.parent


def call(capsys: pytest.CaptureFixture, *argv: str) -> tuple[int, list[str], list[str]]:
    """Exit code, lines of stdout, lines of stderr."""
    code = exit_code(lambda: _main.main(list(argv)), "")
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err.splitlines()


@pytest.mark.parametrize("argv, words", [
    (["--task", "1.2.4", "--dataset", "digits"], ["1.2.4", "did you mean 1.2.", "1.2.1, 1.2.2, 1.2.3, rotation, all"]),
    (["--task", "rotations", "--dataset", "digits"], ["did you mean rotation?"]),
    (["--task", "1.2.3", "--dataset", "cifar"], ["did you mean cifar10?", "folder:PATH"]),
    (["--task", "1.2.3", "--dataset", "digits", "--temprature", "1"], ["--temprature", "did you mean --temperature?"]),
    (["--task", "1.2.1", "--dataset", "digits", "--temperature", "1"], ["--temperature", "no part", "1.2.1"]),
    (["--task", "all", "--dataset", "digits", "--temperature", "1"], ["--temperature", "no part"]),
    (["--task", "1.2.3", "--dataset", "digits", "--temperature", "0"], ["--temperature", "above 0"]),
    (["--task", "1.2.3", "--dataset", "digits", "--epochs", "x"], ["--epochs", "'x'"]),
    (["--task", "1.2.3", "--dataset", "digits", "--seed", "-1"], ["--seed", "0 or more"]),
    (["--task", "1.2.3", "--dataset", "digits", "--seed", str(2**64)], ["--seed", "below"]),
    (["--task", "1.2.3", "--dataset", "digits", "--latent-dim", "1"], ["--latent-dim", "at least 2"]),
    (["--task", "1.2.3", "--dataset", "digits", "--quick", "--epochs", "3"], ["--quick", "--epochs"]),
    (["--task", "1.2.3", "--dataset", "digits", "--method", "dcll"], ["--method dcll", "simclr"]),
    (["--task", "1.2.3", "--dataset", "digits", "--device", "tpu"], ["--device", "cpu"]),
    (["--task", "1.2.3", "--dataset", "digits", "--batch", "3"], ["--batch", "did you mean --batch-size?"]),
    (["--task", "1.2.3", "--dataset", "folder:~no-such-user/x"], ["no-such-user"]),
    (["--task", "1.2.3", "--dataset", ""], ["unknown data set ''"]),
    (["--task", "1.2.3", "--dataset", "a" * 5000], ["unknown data set"]),
    (["--dataset", "digits"], ["--task"]),
    (["--task", "1.2.3"], ["--dataset"]),
    ([], ["--task"]),
])
def test_wrong_use_is_one_line_and_exit_2(capsys, tmp_path, argv: list[str], words: list[str]) -> None:
    code, out, err = call(capsys, *argv, *(["--results-dir", str(tmp_path / "results")] if argv else []))
    assert code == 2
    assert out == []
    assert len(err) == 1
    assert err[0].startswith("error: ")
    for word in words:
        assert word in err[0]
    assert not (tmp_path / "results").exists()


def test_a_device_that_is_not_there_is_refused(capsys, tmp_path) -> None:
    import torch
    if torch.backends.mps.is_available():
        pytest.skip("this machine has MPS")
    code, _, err = call(capsys, "--task", "1.2.3", "--dataset", "digits", "--device", "mps", "--results-dir",
                        str(tmp_path))
    assert (code, len(err)) == (2, 1)
    assert "cpu" in err[0]


def test_unwritable_results_folder_is_said_before_training(capsys, tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    code, out, err = call(capsys, "--task", "1.2.3", "--dataset", "digits", "--results-dir", str(tmp_path / "file"))
    assert (code, out) == (1, [])
    assert "cannot write there" in err[0]


def test_what_does_not_fit_in_memory_is_one_line(capsys) -> None:
    import torch
    assert exit_code(lambda: torch.empty(10**15), "") == 1
    assert "out of memory" in capsys.readouterr().err
    with pytest.raises(RuntimeError, match="illegal memory access"):  # a fault of the program keeps its traceback
        exit_code(raise_fault, "")


def raise_fault() -> None:
    raise RuntimeError("CUDA error: an illegal memory access was encountered")


def test_diverged_training_is_exit_1_and_a_failed_record(capsys, tmp_path) -> None:
    code, _, err = call(capsys, "--task", "1.2.2", "--dataset", "digits", "--learning-rate", "1e30", "--quick",
                        "--results-dir", str(tmp_path))
    assert (code, len(err)) == (1, 1)
    assert "at step" in err[0]
    assert len(list(tmp_path.iterdir())) == 1
    assert read_record(next(tmp_path.glob("*_quick_failed.json"))).run.status == "failed"


def test_a_run_that_diverges_does_not_stop_the_others(capsys, tmp_path, monkeypatch) -> None:
    from training import autoencoding
    from training.loop import Diverged

    def diverge(*_: object) -> None:
        raise Diverged(float("nan"), 1, 3, [])
    monkeypatch.setattr(autoencoding, "train", diverge)
    code, out, err = call(capsys, "--task", "all", "--dataset", "digits", "--quick", "--results-dir", str(tmp_path))
    assert (code, len(err)) == (1, 1)
    assert "1.2.1 digits" in err[0]
    assert "step 3" in err[0]
    assert "_failed.json" in err[0]
    assert len(list(tmp_path.glob("*_quick.json"))) == 3
    assert sum("test accuracy" in line for line in out) == 3


def test_complete_runs_are_skipped_kept_and_repeated_on_request(capsys, tmp_path) -> None:
    several = ["--task", "1.2.2", "--dataset", "digits", "--seed", "0", "1", "--epochs", "1", "--results-dir",
               str(tmp_path)]
    assert call(capsys, *several)[0] == 0
    records = sorted(tmp_path.glob("*.json"))
    assert len(records) == 2
    assert all(read_record(path).run.status == "complete" for path in records)
    assert len({read_record(path).recipe.hash for path in records}) == 1
    assert all(path.stem.endswith(read_record(path).recipe.hash) for path in records)  # not the default recipe
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    code, out, _ = call(capsys, *several)
    assert code == 0
    assert sum("skipped" in line for line in out) == 2
    code, out, _ = call(capsys, "--task", "1.2.2", "--dataset", "digits", "--epochs", "1", "--results-dir",
                        str(tmp_path))
    assert code == 0
    assert any("_run2" in line for line in out)
    for name, content in before.items():
        assert (tmp_path / name).read_bytes() == content
    assert len(list(tmp_path.glob("*_run2.json"))) == 1


def test_quick_is_marked_in_name_and_record(capsys, tmp_path) -> None:
    code, out, _ = call(capsys, "--task", "rotation", "--dataset", "digits", "--quick", "--results-dir", str(tmp_path))
    assert code == 0
    record = read_record(tmp_path / "rotation_digits_rotnet_seed0_quick.json")
    assert record.run.status == "quick"
    assert str(record.headline.correct) in out[-1]
    assert out[-1].endswith("rotation_digits_rotnet_seed0_quick.json")


def test_a_folder_of_images_is_a_data_set(capsys, tmp_path) -> None:
    import numpy as np
    from PIL import Image

    rng = np.random.RandomState(0)
    for name, colour in (("blue<b>", 2), ("red", 0)):
        (tmp_path / "my images" / name).mkdir(parents=True)
        for i in range(30):
            pixels = rng.randint(0, 90, (40, 48, 3), np.uint8)
            pixels[..., colour] += 120
            Image.fromarray(pixels).save(tmp_path / "my images" / name / f"{i}.png")
    code, out, _ = call(capsys, "--task", "1.2.2", "--dataset", f"folder:{tmp_path / 'my images'}", "--quick",
                        "--data-dir", str(tmp_path / "data"), "--results-dir", str(tmp_path / "results"))
    assert code == 0, out
    record = read_record(tmp_path / "results" / "1.2.2_folder-my-images_joint_seed0_quick.json")
    assert record.data.classes == ["blue<b>", "red"]


def test_help_leads_with_examples_and_loads_no_torch() -> None:
    code = "import sys; sys.argv = ['_main.py', '--help']\ntry:\n import runpy; runpy.run_path('_main.py', " \
           "run_name='__main__')\nexcept SystemExit: pass\nassert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    lines = [line for line in done.stdout.splitlines() if line]
    assert lines[0] == "examples:"
    for word in ("1.2.1", "1.2.2", "1.2.3", "rotation", "digits", "mnist", "cifar10", "folder:PATH", "--temperature"):
        assert word in done.stdout
