"""The command line as a user sees it: one-line errors, skipped runs, --init, --embed; nothing is overwritten."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

import _main
from tests.commands import call
from training import run
from utils.command_line import TOO_LARGE, exit_code
from utils.errors import UsageError
from utils.records.schema import read_record, recipe_hash


@pytest.fixture(scope="module", autouse=True)
def quick_scores() -> Iterator[None]:
    """Few images, a small classifier, no t-SNE, speed measured once: no assertion here depends on them."""
    from evaluation import figure_arrays, scores
    from training import run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scores, "CLASSIFIER_EPOCHS", 3)
        patch.setattr(scores, "CLASSIFIER_STEPS", 6)
        patch.setattr(scores, "CLASSIFIER_HIDDEN", 128)
        patch.setattr("training.run.QUICK_IMAGES", {"train": 300, "val": 60, "test": 100})
        patch.setattr(figure_arrays, "tsne", figure_arrays.first_components)
        patch.setattr(run, "measure_conv", cache(run.measure_conv))
        yield


@pytest.mark.parametrize("argv, words", [
    (["--task", "1.2.4", "--dataset", "digits"], ["1.2.4", "did you mean 1.2.",
                                                  "1.2.1, 1.2.2, 1.2.3, rotation, control, all"]),
    (["--task", "rotations", "--dataset", "digits"], ["did you mean rotation?"]),
    (["--task", "Contrastive", "--dataset", "digits"], ["did you mean 1.2.3?"]),
    (["--task", "simclr", "--dataset", "digits"], ["did you mean 1.2.3?"]),
    (["--task", "ALL", "--dataset", "digits"], ["did you mean all?"]),
    (["--task", "1.2.3", "--dataset", "digits", "--method", ""], ["--method :", "choose from simclr"]),
    (["--task", "1.2.3", "--dataset", "digits", "--data-dir=~no-such-user/x"], ["--data-dir", "~no-such-user/x"]),
    (["--task", "1.2.3", "--dataset", "folder:.", "--data-dir", "x/../y"], ["x/../y is within", "a class of it"]),
    (["--task", "1.2.3", "--dataset", "cifar"], ["did you mean cifar10?", "folder:PATH"]),
    (["--task", "1.2.3", "--dataset", "digits", "--temprature", "1"], ["--temprature", "did you mean --temperature?"]),
    (["--task", "1.2.1", "--dataset", "digits", "--temperature", "1"], ["--temperature", "not part", "1.2.1"]),
    (["--task", "all", "--dataset", "digits", "--temperature", "1"], ["--temperature", "not part"]),
    (["--task", "1.2.3", "--dataset", "digits", "--temperature", "0"], ["--temperature", "at least 0.001"]),
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
    (["--task", "1.2.3", "--dataset", "folder:x", "--image-size", "33"], ["--image-size 33", "multiple of 4"]),
    (["--task", "1.2.3", "--dataset", "folder:x", "--image-size", "big"], ["--image-size", "'big'"]),
    (["--task", "1.2.3", "--dataset", "mnist", "--image-size", "64"], ["--image-size", "folder:PATH", "mnist"]),
    (["--embed", "a.json", "--images", "folder:x", "--out", "b.npz", "--image-size", "64"], ["--image-size"]),
    (["--task", "1.2.3", "--dataset", "a" * 5000], ["unknown data set"]),
    (["--dataset", "digits"], ["--task"]),
    (["--task", "1.2.3"], ["--dataset"]),
    ([], ["--task"]),
    (["--task", "all", "--dataset", "digits", "--method", "dcl"], ["--method", "one task"]),
    (["--task", "1.2.3", "--dataset", "digits", "--method", "simclr", "masked"], ["--method masked", "vicreg"]),
    (["--task", "1.2.3", "--dataset", "digits", "--method", "vicreg", "--temperature", "1"],
     ["--temperature", "vicreg", "simclr, dcl, moco, cmc"]),
    (["--task", "1.2.3", "--dataset", "digits", "--epochs", "0"], ["--epochs 0", "--init"]),
    (["--task", "1.2.2", "--dataset", "digits", "--finetune"], ["--finetune", "not part", "1.2.2"]),
    (["--task", "control", "--dataset", "digits", "--learning-rate", "1"], ["--learning-rate", "not part", "control"]),
    (["--task", "1.2.3", "--dataset", "digits", "--labels", "1.5"], ["--labels", "at most 1"]),
    (["--task", "1.2.3", "--dataset", "digits", "--init", "nowhere.json"], ["--init nowhere.json", "No such file"]),
    (["--task", "1.2.3", "--dataset", "digits", "--encoder", "resnet18", "--widths", "8"], ["--widths", "resnet18"]),
    (["--task", "control", "--dataset", "digits", "--method", "pca", "--encoder", "vit"], ["--encoder", "pca"]),
    (["--task", "control", "--dataset", "digits", "--epochs", "3"], ["--epochs", "not part", "control"]),
    (["--embed", "a.json", "--images", "folder:x"], ["--out is needed"]),
    (["--embed", "a.json", "--images", "x", "--out", "b.npz"], ["--images x", "folder:PATH"]),
    (["--embed", "a.json", "--images", "folder:", "--out", "b.npz"], ["folder:PATH"]),
    (["--embed", "a.json", "--images", "folder:~no-such-user/x", "--out", "b.npz"], ["no-such-user"]),
    (["--embed", "a.json", "--images", "folder:x", "--out", "b.txt"], ["--out b.txt", ".npz"]),
    (["--embed", "a.json", "--images", "folder:no-such", "--out", "b.npz"], ["there is no folder", "no-such"]),
    (["--embed", "a.json", "--images", "folder:x", "--out", "b.npz", "--task", "1.2.3"], ["--task", "--embed"]),
    (["--task", "1.2.2", "--dataset", "digits", "--learning-rate", "1e300"], ["--learning-rate 1e+300", "at most"]),
    (["--task", "1.2.2", "--dataset", "digits", "--weight-decay", "1e30"], ["--weight-decay 1e+30", "at most 100"]),
    (["--task", "1.2.2", "--dataset", "digits", "--epochs", "1" + "0" * 400], ["--epochs 1000", "at most 1000000"]),
    (["--task", "1.2.3", "--dataset", "digits", "--view-scale", "0.01"], ["--view-scale 0.01", "0 pixels", "needs 5"]),
    (["--task", "1.2.3", "--dataset", "digits", "--method", "cmc", "--view-scale", "0.01"], ["--view-scale 0.01"]),
    (["--task", "1.2.3", "--dataset", "digits", "--pooling", "flatten", "--view-scale", "0.75"],
     ["--view-scale 0.75", "accepts only images of one size"]),
    (["--task", "1.2.2", "--dataset", "cifar10", "--resize-from", "0.2"], ["--resize-from 0.2", "6 pixels", "needs 9"]),
    (["--task", "1.2.2", "--dataset", "digits", "--cutout", "999"], ["--cutout 999", "below 8"]),
    (["--task", "1.2.2", "--dataset", "mnist", "--translate", "999999"], ["--translate 999999", "below 28"]),
    (["--task", "1.2.2", "--dataset", "folder:.", "--translate", "40", "--image-size", "40"], ["below 40"]),
    (["--task", "1.2.1", "--dataset", "digits", "--method", "masked", "--mask-patch", "8"], ["--mask-patch 8"]),
    (["--task", "1.2.1", "--dataset", "digits", "--encoder", "conv", "--decoder-widths", "8", "8"], ["takes three"]),
    (["--task", "1.2.1", "--dataset", "mnist", "--method", "patches", "--target-filters", "9", "--target-components",
      "73"], ["--target-components 73: 9 filters have 72 features"]),
    (["--task", "control", "--dataset", "digits", "--method", "patch_pca", "--latent-dim", "1025"],
     ["--latent-dim 1025: 128 filters have 1024 features"]),
    (["--task", "1.2.3", "--dataset", "digits", "--finetune-epochs", "3"], ["--finetune-epochs", "with --finetune"]),
    (["--task", "1.2.3", "--dataset", "digits", "--finetune-learning-rate", "0.1"], ["--finetune-learning-rate"]),
    (["--task", "1.2.2", "--dataset", "digits", "--widths", *["8"] * 6], ["--widths names 6 blocks", "8 x 8"]),
    (["--task", "control", "--dataset", "digits", "--method", "random", "--widths", *["8"] * 6], ["--widths names 6"]),
    (["--task", "1.2.2", "--dataset", "digits", "--subset", "999999"], ["--subset 999999", "1295 images"]),
    (["--task", "1.2.2", "--dataset", "mnist", "--subset", "9"], ["--subset 9", "10 classes"]),
    (["--task", "1.2.2", "--dataset", "digits", "--seed", "0", "--seed", "1"], ["--seed", "given twice"]),
    (["--task", "1.2.1", "--task", "1.2.2", "--dataset", "digits"], ["--task", "given twice; it takes one value"]),
    (["--task", "1.2.2", "--dataset", "digits", "--dataset", "mnist"], ["--dataset", "given twice"]),
    (["--task", "1.2.3", "--dataset", "digits", "--method", "dcl", "--method=vicreg"], ["--method", "given twice"]),
    (["--task", "1.2.2", "--dataset", "digits", "--widths", "8", "--widths", "16"], ["--widths", "given twice"]),
    (["--task", "1.2.2", "--dataset", "digits", "\u2013seed", "1"], ["did you mean --seed?"]),
    (["--task", "1.2.2", "--dataset", "digits", "\u2014epochs=3"], ["did you mean --epochs?"]),
    (["--task", "1.2.2", "--dataset", "folder:/nonexistent"], ["there is no folder /nonexistent"]),
    (["--task", "1.2.2", "--dataset", f"folder:{__file__}"], ["test_main.py is not a folder"]),
    (["--task", "1.2.3", "--dataset", "digits", "--results-dir", ""], ["--results-dir", "the path is empty"]),
    (["--task", "1.2.3", "--dataset", "digits", "--data-dir="], ["--data-dir", "the path is empty"]),
    (["--task", "1.2.3", "--dataset", "digits", "--init", ""], ["--init", "the path is empty"]),
    (["--embed", "a.json", "--images", "", "--out", "b.npz"], ["--images", "folder:PATH"]),
    (["--task", "1.2.3", "--dataset", "digits", "--init", __file__], [f"--init {__file__}: is not a JSON file"]),
])
def test_wrong_use_is_one_line_and_exit_2(capsys, tmp_path, monkeypatch, argv: list[str], words: list[str]) -> None:
    monkeypatch.setitem(sys.modules, "training.run", None)  # found out before torch is imported
    monkeypatch.setitem(sys.modules, "utils.records.environment", None)
    results = [] if not argv or "--embed" in argv else ["--results-dir", str(tmp_path / "results")]
    code, out, err = call(capsys, *argv, *results)
    assert code == 2
    assert out == []
    assert len(err) == 1
    assert err[0].startswith("error: ")
    for word in words:
        assert word in err[0]
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("folder, subset, words", [
    ("few", 1, ["class 'dog' has 9 readable images, but at least 10"]),
    ("split", 1, ["class 'cat' has 0 readable images in test", "its folder is empty"]),
    ("one", 1, ["has 1 class folder;"]), ("fits", 1, ["--subset 1: ", "has 2 classes, and each needs an image"]),
    ("fits", 21, ["--subset 21: ", "fits has at most 20 images"]),
    ("splits", 21, ["--subset 21: ", "splits has at most 20 images"])])
def test_a_folder_that_does_not_fit_is_refused_before_torch_is_imported(
        capsys, tmp_path, monkeypatch, folder: str, subset: int, words: list[str]) -> None:
    for place, count in {"few/cat": 10, "few/dog": 9, "split/train/cat": 20, "split/train/dog": 20,
                         "split/test/cat": 0, "split/test/dog": 5, "one/cat": 20, "fits/cat": 10,
                         "fits/dog": 10, "splits/train/cat": 10, "splits/train/dog": 10, "splits/val/cat": 9,
                         "splits/val/dog": 9}.items():
        (tmp_path / place).mkdir(parents=True)
        for number in range(count):
            (tmp_path / place / f"{number}.png").touch()
    monkeypatch.setitem(sys.modules, "training.run", None)
    code, out, err = call(capsys, "--task", "1.2.2", "--dataset", f"folder:{tmp_path / folder}",
                          "--subset", str(subset), "--results-dir", str(tmp_path / "results"))
    assert (code, out, len(err)) == (2, [], 1)
    for word in words:
        assert word in err[0]


def test_what_is_loaded_is_said_before_torch_is_imported(capsys, tmp_path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "training.run", None)
    with pytest.raises(ImportError):
        call(capsys, "--task", "1.2.2", "--dataset", "digits", "--seed", "0", "1", "--results-dir", str(tmp_path))
    assert capsys.readouterr().out == "loading PyTorch and digits for 2 runs\n"


def test_an_absent_device_is_refused(capsys, tmp_path) -> None:
    import torch
    if torch.backends.mps.is_available():
        pytest.skip("this machine has MPS")
    code, _, err = call(capsys, "--task", "1.2.3", "--dataset", "digits", "--device", "mps", "--results-dir",
                        str(tmp_path))
    assert (code, len(err)) == (2, 1)
    assert "cpu" in err[0]


def test_an_unwritable_results_folder_is_reported_before_training(capsys, tmp_path) -> None:
    (tmp_path / "file").write_text("in the way")
    code, out, err = call(capsys, "--task", "1.2.3", "--dataset", "digits", "--results-dir", str(tmp_path / "file"))
    assert (code, out) == (1, [])
    assert "cannot write there" in err[0]


def test_a_name_that_is_too_long_is_reported_before_anything_is_computed(capsys, tmp_path, trained: Path) -> None:
    """A temporary name is longer than the file's own, which the system would accept."""
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    out = tmp_path / "out" / f"{'x' * 240}.npz"
    code, said, err = call(capsys, "--embed", str(trained), "--images", f"folder:{tmp_path}", "--out", str(out))
    assert (code, said, len(err)) == (1, [], 1)
    assert f"--out {tmp_path / 'out'}: cannot write there (File name too long)" in err[0]
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("dataset", ["mnist", "folder:set"])
@pytest.mark.parametrize("data_dir, words", [("file", "File exists"), ("file/data", "Not a directory"),
                                             ("a" * 300, "File name too long")])
def test_a_data_folder_that_cannot_be_used_is_reported_before_torch_is_imported(
        capsys, tmp_path, monkeypatch, dataset: str, data_dir: str, words: str) -> None:
    monkeypatch.setitem(sys.modules, "training.run", None)
    (tmp_path / "file").write_text("in the way")
    for name in ("cat", "dog"):
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(10):
            (tmp_path / "set" / name / f"{number}.png").touch()
    monkeypatch.chdir(tmp_path)
    code, out, err = call(capsys, "--task", "1.2.2", "--dataset", dataset, "--data-dir", data_dir)
    assert (code, out) == (1, [])
    assert f"the data folder {data_dir} cannot be used: " in err[-1] and words in err[-1]


def test_a_tilde_is_the_home_folder(capsys, tmp_path, monkeypatch) -> None:
    """Shells expand it in `--results-dir ~/results`, but not in `--results-dir=~/results`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    code, out, _ = call(capsys, "--task", "1.2.2", "--dataset", "digits", "--results-dir=~/results", "--show-recipe")
    assert code == 0 and out[0].endswith(f"-> {tmp_path}/results/1.2.2_digits_joint_seed0.json")


def test_latents_that_are_not_finite_are_one_line_and_a_failed_record(capsys, tmp_path, monkeypatch) -> None:
    from evaluation import scores

    whole = scores.encode
    monkeypatch.setattr(scores, "encode", lambda *arguments: whole(*arguments) / 0)
    code, _, err = call(capsys, "--task", "control", "--dataset", "digits", "--method", "pca", "--quick",
                        "--results-dir", str(tmp_path))
    assert (code, len(err)) == (1, 1)
    assert "the latents are not finite" in err[0] and "_failed.json" in err[0]
    record = read_record(tmp_path / "control_digits_pca_seed0_quick_failed.json")
    assert record.run.status == "failed" and "not finite" in record.failure.reason
    assert len(list(tmp_path.glob("[!.]*"))) == 1


def test_diverged_training_exits_with_1_and_writes_a_failed_record(capsys, tmp_path) -> None:
    code, _, err = call(capsys, "--task", "1.2.2", "--dataset", "digits", "--learning-rate", "1e30", "--quick",
                        "--results-dir", str(tmp_path))
    assert (code, len(err)) == (1, 1)
    assert "at step" in err[0]
    assert len(list(tmp_path.glob("[!.]*"))) == 1
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
    assert len(list(tmp_path.glob("*_quick.json"))) == 9  # three tasks and six controls
    assert sum("test accuracy" in line for line in out) == 9


def test_an_epoch_that_cannot_be_printed_is_saved_before(capsys, tmp_path, monkeypatch) -> None:
    from training.loop import Loop

    def full(line: str) -> None:
        if line.startswith("epoch"):
            raise OSError(28, "No space left on device")
    monkeypatch.setattr(Loop, "_print", staticmethod(full))
    code, _, err = call(capsys, "--task", "rotation", "--dataset", "digits", "--epochs", "1", "--widths", "4", "8",
                        "--results-dir", str(tmp_path))
    assert code == 1 and "No space left on device" in err[-1]
    [kept] = tmp_path.glob("*.unfinished/stage1-*.json")
    assert len(json.loads(kept.read_text())["progress"]["history"]) == 1


def test_a_run_that_needs_too_much_memory_does_not_stop_the_others(capsys, tmp_path, monkeypatch) -> None:
    from training import contrastive

    def train(recipe: Any, *rest: Any, really: Callable = contrastive.train) -> Any:
        if recipe.method == "simclr":
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return really(recipe, *rest)
    monkeypatch.setattr(contrastive, "train", train)
    given = ["--task", "1.2.3", "--dataset", "digits", "--quick", "--results-dir", str(tmp_path), "--method", "simclr"]
    code, out, err = call(capsys, *given, "dcl")
    assert (code, len(err)) == (1, 1) and "1.2.3 digits simclr" in err[0] and "smaller --batch-size" in err[0]
    assert [path.name for path in tmp_path.glob("*.json")] == ["1.2.3_digits_dcl_seed0_quick.json"]
    code, _, err = call(capsys, *given)
    assert code == 1 and err == [f"error: {TOO_LARGE}"]


def test_complete_runs_are_skipped_and_a_repeated_run_gets_its_own_name(capsys, tmp_path) -> None:
    many_runs = ["--task", "1.2.2", "--dataset", "digits", "--seed", "0", "1", "--epochs", "1", "--results-dir",
               str(tmp_path)]
    assert call(capsys, *many_runs)[0] == 0
    records = sorted(tmp_path.glob("*.json"))
    assert len(records) == 2
    assert all(read_record(path).run.status == "complete" for path in records)
    assert len({read_record(path).recipe.hash for path in records}) == 1
    assert all(path.stem.endswith(read_record(path).recipe.hash) for path in records)  # the recipe is not the default
    before = {path.name: path.read_bytes() for path in tmp_path.glob("[!.]*")}
    code, out, _ = call(capsys, *many_runs)
    assert code == 0
    assert sum("skipped" in line for line in out) == 2
    code, out, _ = call(capsys, "--task", "1.2.2", "--dataset", "digits", "--epochs", "1", "--results-dir",
                        str(tmp_path))
    assert code == 0
    assert any("_run2" in line for line in out)
    for name, content in before.items():
        assert (tmp_path / name).read_bytes() == content
    assert len(list(tmp_path.glob("*_run2.json"))) == 1


def test_a_complete_record_without_its_arrays_is_trained_again_under_a_new_name(capsys, tmp_path) -> None:
    many_runs = ["--task", "control", "--dataset", "digits", "--method", "pca", "--seed", "0", "1", "--results-dir",
                 str(tmp_path)]
    assert call(capsys, *many_runs)[0] == 0
    first, second = sorted(tmp_path.glob("*.json"))
    first.with_suffix(".npz").unlink()
    second.with_suffix(".safetensors").unlink()
    before = first.read_bytes()
    code, out, _ = call(capsys, *many_runs)
    assert code == 0
    assert [line for line in out if f"({first.stem}.npz: No such file or directory); it is trained again" in line]
    assert [line for line in out if f"{second}, its weights are missing, skipped (--fresh trains it again)" in line]
    assert first.read_bytes() == before
    assert [path.stem for path in tmp_path.glob("*_run2.json")] == [f"{first.stem}_run2"]
    second.with_suffix(".safetensors").write_bytes(b"of another run")
    code, out, _ = call(capsys, *many_runs)
    assert sum(f"complete already in {tmp_path / first.stem}_run2.json" in line for line in out) == 1
    assert sum("its SHA-256 is not the one in the record); it is trained again" in line for line in out) == 1


def test_a_complete_run_in_another_number_format_is_not_the_one_that_is_asked_for(capsys, tmp_path) -> None:
    words = ["--task", "control", "--dataset", "digits", "--method", "pca", "--seed", "0", "1", "--results-dir",
             str(tmp_path)]
    assert call(capsys, *words, "--precision", "float32")[0] == 0
    assert sum("skipped" in line for line in call(capsys, *words, "--precision", "float32")[1]) == 2
    assert sum("skipped" in line for line in call(capsys, *words, "--precision", "bfloat16")[1]) == 0


def test_an_unfinished_run_in_the_way_of_one_of_many_does_not_stop_the_others(capsys, tmp_path, monkeypatch) -> None:
    opened = run.open_checkpoints

    def refuse_seed_0(planned, *rest):
        if planned.seed == 0:
            raise UsageError("it holds an unfinished run that differs")
        return opened(planned, *rest)

    monkeypatch.setattr(run, "open_checkpoints", refuse_seed_0)
    words = ["--task", "control", "--dataset", "digits", "--method", "pca", "--results-dir", str(tmp_path)]
    code, _, err = call(capsys, *words, "--seed", "0", "1")
    assert code == 1 and "seed 0: it holds an unfinished run that differs" in err[-1]
    assert [path.stem for path in tmp_path.glob("*.json")] == ["control_digits_pca_seed1"]
    assert call(capsys, *words, "--seed", "0")[0] == 2


def test_an_encoder_that_may_have_seen_the_test_images_is_refused() -> None:
    """A folder's test split is drawn again when an image is added."""
    before = {"train_images": "a", "test_images": "b", "test_labels": "c"}
    init = SimpleNamespace(name="x.json", record=SimpleNamespace(run=SimpleNamespace(dataset="folder-pets"),
                                                                 data=SimpleNamespace(sha256=before)))
    for name, part, refused in (("folder-pets", "", False), ("folder-pets", "train_images", False),
                                ("folder-pets", "test_images", True), ("folder-cars", "test_images", False)):
        with pytest.raises(UsageError, match="may have seen today's test images") if refused else nullcontext():
            run.check_unseen(init, SimpleNamespace(name=name, sha256=before | {part: "d"}))


def test_a_quick_run_is_marked_in_name_and_record(capsys, tmp_path) -> None:
    code, out, _ = call(capsys, "--task", "rotation", "--dataset", "digits", "--quick", "--results-dir", str(tmp_path))
    assert code == 0
    record = read_record(tmp_path / "rotation_digits_rotnet_seed0_quick.json")
    assert record.run.status == "quick"
    assert str(record.headline.correct) in out[-1]
    assert out[-1].endswith("rotation_digits_rotnet_seed0_quick.json")


def test_a_folder_of_images_is_a_data_set_and_keeps_its_quick_record_next_to_another_of_its_name(
        capsys, tmp_path) -> None:
    import numpy as np
    from PIL import Image

    rng, results = np.random.RandomState(0), tmp_path / "results"
    for place in ("a", "b"):
        for name, colour in (("blue<b>", 2), ("red", 0)):
            (tmp_path / place / "my images" / name).mkdir(parents=True)
            for i in range(30):
                pixels = rng.randint(0, 90, (40, 48, 3), np.uint8)
                pixels[..., colour] += 120
                Image.fromarray(pixels).save(tmp_path / place / "my images" / name / f"{i}.png")
    first, second = (results / f"1.2.2_folder-my-images-0999b277_joint_seed0_quick{end}.json" for end in ("", "_run2"))
    for place in ("a", "b", "b", "a"):
        before = {path: path.read_bytes() for path in results.glob("*.*") if path.is_file()}
        code, out, _ = call(capsys, "--task", "1.2.2", "--dataset", f"folder:{tmp_path / place / 'my images'}",
                            "--quick", "--data-dir", str(tmp_path / "data"), "--results-dir", str(results))
        assert code == 0, out
        path, other = (first, second) if place == "a" else (second, first)
        assert out[-1].endswith(f"-> {path}")
        assert all(file.read_bytes() == data for file, data in before.items() if file.stem == other.stem)
    assert sorted(results.glob("*.json")) == [first, second]
    assert read_record(first).data.classes == ["blue<b>", "red"]
    assert read_record(first).data.sha256 != read_record(second).data.sha256


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record of a short contrastive run on digits, with its checkpoint."""
    folder = tmp_path_factory.mktemp("trained")
    words = "--task 1.2.3 --dataset digits --epochs 1 --widths 8 16 --precision float32 --results-dir"
    assert exit_code(lambda: _main.main([*words.split(), str(folder)]), "") == 0
    return next(folder.glob("*.json"))


def test_init_scores_trains_or_fine_tunes_the_encoder_of_another_run(capsys, tmp_path, trained: Path) -> None:
    from safetensors.torch import load_file

    start = ["--dataset", "digits", "--init", str(trained), "--precision", "bfloat16", "--results-dir", str(tmp_path)]
    first = read_record(trained)
    for words in (["--task", "1.2.3", "--epochs", "0"], ["--task", "1.2.1", "--epochs", "1"],
                  ["--task", "1.2.3", "--epochs", "0", "--labels", "0.1"],
                  ["--task", "1.2.3", "--epochs", "0", "--labels", "0.1", "--finetune", "--finetune-epochs", "1"]):
        assert call(capsys, *words, *start)[0] == 0
    records = {(r.run.task, r.recipe.fields["labels"], r.recipe.fields.get("finetune")): r
               for r in map(read_record, tmp_path.glob("*.json"))}
    assert len(records) == 4
    assert all("_from-1.2.3-simclr" in path.stem for path in tmp_path.glob("*.json"))
    for record in records.values():
        assert record.run.init is not None
        assert record.run.init.sha256 == first.artifacts["checkpoint"].sha256
        assert record.recipe.fields["widths"] == [8, 16]
    rescored = records["1.2.3", 1.0, False]
    assert (rescored.history, rescored.derived.steps, rescored.selection.epoch) == ([], 0, 0)
    for name in ("test/uniformity", "test/effective_rank", "test/knn_top1"):  # the same frozen encoder
        assert rescored.metrics[name] == first.metrics[name]
    tuned = records["1.2.3", 0.1, True]
    assert (len(tuned.history), tuned.selection.epoch) == (1, 1)
    assert tuned.derived.steps == tuned.history[-1].step > 0
    assert tuned.derived.training_flops > 0
    assert "cross-entropy" in tuned.run.objective
    few = records["1.2.3", 0.1, False]
    assert 10 <= sum(few.data.class_counts["labelled"]) < 0.15 * sum(few.data.class_counts["train"])
    weights = {key: load_file(tmp_path / record.artifacts["checkpoint"].name) for key, record in records.items()}
    source = load_file(trained.with_suffix(".safetensors"))
    name = "encoder.blocks.0.conv2.weight"
    assert (weights["1.2.3", 0.1, False][name] == source[name]).all()  # frozen
    assert not (weights["1.2.3", 0.1, True][name] == source[name]).all()  # unfrozen
    assert not (weights["1.2.1", 1.0, False][name] == source[name]).all()  # trained further, with a decoder
    code, _, err = call(capsys, "--task", "1.2.3", "--widths", "9", *start)
    assert (code, len(err)) == (2, 1)
    assert "--widths" in err[0]


def test_a_damaged_or_missing_start_is_one_line(capsys, tmp_path, trained: Path) -> None:
    import shutil

    for path in trained.parent.glob("[!.]*"):
        shutil.copy(path, tmp_path)
    record, weights = tmp_path / trained.name, tmp_path / f"{trained.stem}.safetensors"
    start = ["--task", "1.2.3", "--init", str(record), "--epochs", "0", "--results-dir", str(tmp_path / "out")]
    good = record.read_text(encoding="utf-8")
    for field, value in (("encoder", '"foo"'), ("widths", '"abc"'), ("pooling", '"zzz"'), ("latent_dim", "-3")):
        fields = json.loads(good)["recipe"]["fields"] | {field: json.loads(value)}
        raw = json.loads(good)
        raw["recipe"] |= {"fields": fields, "hash": recipe_hash(fields)}
        record.write_text(json.dumps(raw), encoding="utf-8")
        embed = ["--embed", str(record), "--images", f"folder:{tmp_path}", "--out", str(tmp_path / "o.npz")]
        for words in (start, embed):
            code, _, err = call(capsys, *words, *(["--dataset", "digits"] if words is start else []))
            assert code in (1, 2), (field, err)
            assert len(err) == 1, (field, err)
    record.write_text(good, encoding="utf-8")
    code, _, err = call(capsys, *start, "--dataset", "mnist")
    assert (code, len(err)) == (2, 1)
    assert "its encoder takes images of [1, 8, 8]" in err[0] and "those of mnist are [1, 28, 28]" in err[0]
    code, _, err = call(capsys, *start, "--dataset", "digits", "--temperature", "0.5")
    assert (code, len(err)) == (2, 1)
    assert "--temperature does not apply: --epochs 0" in err[0]
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    code, _, err = call(capsys, *start, "--dataset", "digits")
    assert (code, len(err)) == (1, 1)
    assert "SHA-256" in err[0]
    weights.unlink()
    code, _, err = call(capsys, *start, "--dataset", "digits")
    assert (code, len(err)) == (1, 1)
    assert "train the run again (--task 1.2.3 --dataset digits --method " in err[0] and "_run2.json)" in err[0]
    assert not list((tmp_path / "out").glob("*.json"))


def test_a_full_run_refuses_to_start_from_a_quick_run(capsys, tmp_path) -> None:
    quick = ["--dataset", "digits", "--quick", "--results-dir", str(tmp_path)]
    assert call(capsys, "--task", "1.2.2", *quick)[0] == 0
    record = next(tmp_path.glob("*.json"))
    code, _, err = call(capsys, "--task", "1.2.3", "--dataset", "digits", "--epochs", "0", "--init", str(record),
                        "--results-dir", str(tmp_path))
    assert (code, len(err)) == (2, 1)
    assert "quick run" in err[0]
    # a quick run may start from it; its record says that the encoder has seen all labels
    code, _, err = call(capsys, *quick, "--task", "1.2.3", "--init", str(record), "--labels", "0.1")
    assert code == 0, err
    started = read_record(next(tmp_path.glob("1.2.3*.json"))).run.init
    assert (started.labels, started.dataset) == (1.0, "digits")


def test_diverged_fine_tuning_is_one_line_and_a_failed_record(capsys, tmp_path, trained: Path) -> None:
    code, _, err = call(capsys, "--task", "1.2.3", "--dataset", "digits", "--init", str(trained), "--epochs", "0",
                        "--finetune", "--finetune-learning-rate", "1e30", "--results-dir", str(tmp_path))
    assert (code, len(err)) == (1, 1)
    assert "--finetune-learning-rate" in err[0]
    assert read_record(next(tmp_path.glob("*_failed.json"))).run.status == "failed"


def test_subset_and_labels_use_the_number_of_images_they_name(capsys, tmp_path) -> None:
    words = ["--task", "1.2.2", "--dataset", "digits", "--subset", "300", "--labels", "0.1", "--epochs", "1",
             "--results-dir", str(tmp_path)]
    assert call(capsys, *words)[0] == 0
    record = read_record(next(tmp_path.glob("*.json")))
    assert 290 <= sum(record.data.class_counts["train"]) <= 310
    assert 25 <= sum(record.data.class_counts["labelled"]) <= 35
    assert sum(record.data.class_counts["test"]) == 359
    assert record.derived.steps == 300 // 64  # an epoch is as long as with all labels
    code, _, err = call(capsys, "--task", "1.2.2", "--dataset", "digits", "--subset", "99999", "--results-dir",
                        str(tmp_path))
    assert (code, len(err)) == (2, 1)
    assert "--subset 99999" in err[0]


def test_own_images_are_embedded_in_the_order_of_their_names(capsys, tmp_path, trained: Path) -> None:
    import numpy as np
    import torch
    from PIL import Image

    from models.saved import load_encoder

    pixels = np.random.RandomState(0).randint(0, 256, (3, 8, 8), np.uint8)
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    for i, name in enumerate(("b.png", "a.png", "deep/c.png")):
        Image.fromarray(pixels[i]).save(tmp_path / "mine" / name)
    turned = Image.Exif()
    turned[0x0112] = 6  # the first row is on the right, the first column on top
    Image.fromarray(np.ascontiguousarray(pixels[0][:, ::-1].T)).save(tmp_path / "mine" / "turned.png", exif=turned)
    (tmp_path / "mine" / "broken.png").write_bytes(b"no image")
    (tmp_path / "mine" / "phone.heic").write_bytes(b"not read")
    out = tmp_path / "latents.npz"
    words = ["--embed", str(trained), "--images", f"folder:{tmp_path / 'mine'}", "--out", str(out)]
    code, lines, err = call(capsys, *words)
    assert (code, lines) == (0, [f"loading PyTorch and the encoder of {trained}",
                                 f"latents of 4 images -> {out}"])
    assert err[0] == "mine: 5 images; left out: 1 .heic" and "broken.png" in err[1]
    with np.load(out, allow_pickle=False) as file:
        assert file["files"].tolist() == ["a.png", "b.png", "deep/c.png", "turned.png"]
        latents = file["latents"]
    assert latents.shape == (4, 128)
    with torch.no_grad():
        expected = load_encoder(trained)(torch.from_numpy(pixels[[1, 0, 2, 0]])[:, None].float() / 255)
    np.testing.assert_allclose(latents, expected.numpy(), rtol=1e-4, atol=1e-5)
    code, _, err = call(capsys, *words)  # an existing file is not overwritten
    assert (code, len(err)) == (2, 1)
    assert "already exists" in err[0]


def test_show_recipe_names_init_and_quick_as_origins(capsys, trained: Path) -> None:
    code, out, err = call(capsys, "--task", "1.2.1", "--dataset", "digits", "--init", str(trained), "--quick",
                          "--show-recipe")
    assert (code, err) == (0, [])
    rows = {name: " ".join(words) for name, *words in map(str.split, out[1:])}
    assert rows["widths"] == f"8 16 --init {trained}"
    assert rows["decoder_widths"] == "128 64 32 set by encoder conv"
    assert rows["epochs"] == "1 --quick"
