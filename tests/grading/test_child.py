"""What the child measures on latents and reconstructions, and which records it takes."""

import codecs
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from evaluation.figure_arrays import to_uint8
from evaluation.rescore import latents_of, load_decoder
from grading import child, score
from grading.child import (
    clustered,
    examine,
    own_folder,
    reconstructions_wrong,
    records_by_weights,
    sentence,
    sketch,
)
from models.saved import load_saved
from tests.factory import HONEST
from tests.hostile import edit_record
from utils.files import sha256_file
from utils.images.datasets import load_dataset
from utils.records.schema import read_record


@pytest.fixture(scope="module")
def images(honest: Path) -> torch.Tensor:
    return torch.from_numpy(load_dataset("digits", honest).test_images)


def examined(folder: Path, name: str, images: torch.Tensor, out: Path) -> dict[str, Any]:
    """The child's report on a record in a folder, whose files have been numbered as in a grading."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    files = {}
    for i, path in enumerate(sorted(folder.rglob("*.*"))):
        if path.suffix in (".json", ".npz", ".safetensors"):
            copy = f"{i}{path.suffix}"
            shutil.copy(path, out / copy)
            files[copy] = (sha256_file(path), path.relative_to(folder).as_posix())
    stored = next(copy for copy, (_, path) in files.items() if path.endswith(name))
    report: dict[str, Any] = {}
    with torch.no_grad():
        try:
            records = records_by_weights(out, [copy for copy in files if copy.endswith(".json")])
            examine(own_folder(out, stored), files, records, {"digits": images}, report)
        except Exception as error:
            report["reason"] = sentence(error, out / f"{stored}.own")
    return report


def test_latents_nearest_to_the_mean_of_their_class_are_counted() -> None:
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(300) % 3
    z = torch.eye(3, 8)[classes] + 0.1 * torch.randn(300, 8, generator=generator)
    assert clustered(5 * z, classes) == 300
    assert clustered(z, classes.roll(150).where(torch.arange(300) < 30, classes)) == 300
    astray = classes.clone()
    astray[:10] = (astray[:10] + 1) % 3  # ten are predicted as another class, whose mean is far
    assert clustered(z, astray) == 290


def test_an_affine_map_does_not_change_the_summary_of_latents_and_other_latents_do() -> None:
    generator = torch.Generator().manual_seed(0)
    z, other = (torch.randn(300, 16, generator=generator) @ torch.randn(16, 16, generator=generator) for _ in range(2))

    def near(latents: torch.Tensor) -> float:
        one, two = np.array(sketch(z)), np.array(sketch(latents))
        return float(one @ two / np.linalg.norm(one) / np.linalg.norm(two))

    scales = torch.linspace(0.1, 9, 16)
    turned = z @ torch.linalg.qr(torch.randn(16, 16, generator=generator)).Q
    for same in (z + 100, z - 100, z + 1000 * z[:, :1], z[:, torch.randperm(16, generator=generator)], z * scales, -z,
                 turned):
        assert near(same) > 0.99
    assert near(other) < 0.5 and sketch(torch.zeros(9, 4)) == [0.0] * 256


def test_reconstructions_are_those_of_the_checkpoint_s_decoder_for_the_real_images(honest, images, tmp_path) -> None:
    with np.load(honest / f"{HONEST['1.2.1']}.npz") as file:
        arrays = {name: file[name] for name in file.files if name.startswith("reconstruction_")}
    saved = load_saved(honest / f"{HONEST['1.2.1']}.json")
    with torch.no_grad():
        z = latents_of(saved.encoder, images)
        assert reconstructions_wrong(saved, z, images, arrays) == ""
        for name, forged, expected in (
                ("outputs", arrays["reconstruction_inputs"], "not what its decoder gives"),  # a perfect copy
                ("inputs", arrays["reconstruction_outputs"], "not of this data set's"),
                ("index", arrays["reconstruction_index"][:0], "not of this data set's")):
            forgery = arrays | {f"reconstruction_{name}": forged}
            if name == "index":
                forgery = {key: value[:0] for key, value in arrays.items()}
            assert expected in reconstructions_wrong(saved, z, images, forgery), name
        other = z.roll(1, 0)  # of other images: worse than the median
        decoded = to_uint8(load_decoder(saved)(other[torch.from_numpy(arrays["reconstruction_index"]).long()]))
        assert "hardly closer to the test images than one constant image" in reconstructions_wrong(
            saved, other, images, arrays | {"reconstruction_outputs": decoded})


@pytest.mark.parametrize("fields, init, labelled", [
    ({}, None, False), ({"finetune": True, "epochs": 1, "finetune_epochs": 1}, None, True), ({}, {}, False),
    ({}, {"labels": 0.5}, True), ({}, {"task": "1.2.2", "method": "joint"}, True)])
def test_labels_shape_a_latent_by_fine_tuning_and_by_the_encoder_it_starts_from(
        honest, images, tmp_path, fields: dict, init: dict | None, labelled: bool) -> None:
    path = Path(shutil.copytree(honest, tmp_path / "s")) / f"{HONEST['1.2.3']}.json"
    if init is not None:
        started_from(path, sha256_file(path.with_name(f"{HONEST['1.2.2']}.safetensors")))
        edit_record(path, lambda record: record["run"]["init"].update(init))
    edit_record(path, lambda record: record["recipe"]["fields"].update(fields))
    assert examined(tmp_path / "s", path.name, images, tmp_path / "out")["labelled"] == labelled


def test_a_record_without_the_decoder_s_weights_earns_nothing_for_reconstructions(honest, images, tmp_path) -> None:
    shutil.copytree(honest, tmp_path / "s")
    path = tmp_path / "s" / f"{HONEST['1.2.1']}.safetensors"
    save_file({name: value for name, value in load_file(path).items() if not name.startswith("decoder.")}, path)
    edit_record(path.with_suffix(".json"), lambda record: None)
    report = examined(tmp_path / "s", f"{HONEST['1.2.1']}.json", images, tmp_path / "out")
    assert report["predictions"] and not report["reconstructions"] and "cannot be verified" in report["reason"]


def test_artifacts_are_found_whatever_they_and_their_folders_are_called(honest, images, tmp_path) -> None:
    name = HONEST["1.2.1"]
    for folder, suffix in (("a", ".json"), ("b", ".npz"), ("c", ".safetensors")):
        (tmp_path / "s" / folder).mkdir(parents=True)
        shutil.copy(honest / f"{name}{suffix}", tmp_path / "s" / folder / f"{name} (1){suffix}")
    record = tmp_path / "s" / "a" / f"{name} (1).json"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):  # as editors on Windows save it
        text = (honest / f"{name}.json").read_text()
        record.write_bytes(text.encode(encoding))
        report = examined(tmp_path / "s", record.name, images, tmp_path / "out")
        assert len(report["predictions"]["digits"]) == len(images) and report["reconstructions"], (encoding, report)
    assert record.read_bytes()[:2] == codecs.BOM_UTF16_LE
    (tmp_path / "s" / "c" / f"{name} (1).safetensors").unlink()
    reason = examined(tmp_path / "s", record.name, images, tmp_path / "out")["reason"]
    assert reason == f"{name}.safetensors is missing; submit it with the record"
    (tmp_path / "s" / "c" / f"{name}.safetensors").write_bytes(b"other")
    reason = examined(tmp_path / "s", record.name, images, tmp_path / "out")["reason"]
    assert reason == f"{name}.safetensors is not the file that the run wrote (its SHA-256 is another)"


@pytest.mark.parametrize("encoder", ["pca", "patch_pca"])
@pytest.mark.parametrize("task", ["1.2.1", "1.2.3"])
def test_an_encoder_without_training_is_no_run_of_a_task_that_trains(honest, images, tmp_path, task, encoder) -> None:
    shutil.copytree(honest, tmp_path / "s")
    edit_record(tmp_path / "s" / f"{HONEST[task]}.json", lambda record: record["recipe"]["fields"].update(
        encoder=encoder))
    report = examined(tmp_path / "s", f"{HONEST[task]}.json", images, tmp_path / "out")
    assert "predictions" not in report and f"nothing in an encoder {encoder} is trained" in report["reason"]


def test_an_encoder_that_was_left_at_its_first_weights_is_no_run_of_a_task(honest, images, tmp_path) -> None:
    """A random control under the name of a task, with a classifier that fits it."""
    shutil.copytree(honest, tmp_path / "s")
    record = tmp_path / "s" / f"{HONEST['1.2.3']}.json"
    weights = load_file(record.with_suffix(".safetensors"))
    norms = {name.removesuffix(".running_var") for name in weights if name.startswith("encoder.")}
    weights |= {f"{norm}.{part}": torch.full_like(weights[f"{norm}.{part}"], value)
                for norm in norms for part, value in (("weight", 1), ("bias", 0)) if f"{norm}.running_mean" in weights}
    save_file(weights, record.with_suffix(".safetensors"))
    edit_record(record, lambda record: None)
    report = examined(tmp_path / "s", record.name, images, tmp_path / "out")
    assert "predictions" not in report and "its encoder was not trained" in report["reason"]


def test_a_run_that_starts_from_weights_of_the_repository_earns_nothing(honest, images, tmp_path, monkeypatch) -> None:
    name = f"{HONEST['1.2.3']}.json"
    shutil.copytree(honest, tmp_path / "s")
    shutil.copytree(honest, tmp_path / "results")
    monkeypatch.setattr("grading.score.ROOT", tmp_path)
    score.shipped_records.cache_clear()
    edit_record(tmp_path / "s" / name, lambda record: record["run"].update(started="2026-01-01T00:00:00Z"))
    shipped = sha256_file((tmp_path / "results" / name).with_suffix(".safetensors"))
    for sha256, expected in ((shipped, "its encoder comes with the repository"), ("8" * 64, "was not handed in")):
        started_from(tmp_path / "s" / name, sha256)
        report = examined(tmp_path / "s", name, images, tmp_path / "out")
        assert expected in report["reason"] and "predictions" not in report
    own, path = tmp_path / "s" / "own.safetensors", tmp_path / "s" / name  # by way of a run of one's own
    save_file(load_file(path.with_suffix(".safetensors")), own, metadata={"other": "bytes"})
    shutil.copy(path, own.with_suffix(".json"))
    edit_record(own.with_suffix(".json"), lambda record: record["artifacts"]["checkpoint"].update(
        name=own.name, sha256=sha256_file(own)))
    started_from(path, sha256_file(own))
    for sha256, refused in ((shipped, True), (None, False)):
        started_from(own.with_suffix(".json"), sha256)
        report = examined(tmp_path / "s", name, images, tmp_path / "out")
        assert ("its encoder comes with the repository" in report.get("reason", "")) == refused
        assert ("predictions" in report) != refused
    score.shipped_records.cache_clear()


def started_from(path: Path, sha256: str | None) -> None:
    """Edit a record as if its encoder came from the run with these weights, of the same task; None: from no other."""
    init = {"record": "x.json", "task": "1.2.3", "dataset": "digits", "method": "simclr", "seed": 0,
            "recipe_hash": "0" * 8, "labels": 0.0, "sha256": sha256}
    edit_record(path, lambda record: record["run"].update(init=init if sha256 else None))


def test_a_run_that_comes_with_the_repository_earns_nothing(honest, images, tmp_path, monkeypatch) -> None:
    name = "1.2.2_digits_joint_seed0.json"
    monkeypatch.setattr("grading.score.ROOT", tmp_path)
    shutil.copytree(honest, tmp_path / "results")
    def report() -> dict[str, Any]:
        score.shipped_records.cache_clear()
        return examined(honest, name, images, tmp_path / "out")

    assert "comes with the repository" in report()["reason"]
    edit_record(tmp_path / "results" / name, lambda record: record["environment"].update(commit="unknown"))
    assert "predictions" in report()  # trained in a copy that was downloaded without git
    edit_record(tmp_path / "results" / name, lambda record: record["environment"].update(commit="a" * 40))
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert "comes with the repository" in report()["reason"]  # a downloaded copy inside another repository
    subprocess.run(["git", "-C", str(tmp_path), "add", "-f", f"results/{HONEST['1.2.3']}.json"], check=True)
    assert "predictions" in report()  # git does not track it: the student has trained into results/
    subprocess.run(["git", "-C", str(tmp_path), "add", "-f", f"results/{name}"], check=True)
    assert "comes with the repository" in report()["reason"]
    edit_record(tmp_path / "results" / name, lambda record: record["run"].update(started="2026-01-01T00:00:00Z"))
    assert "predictions" in report()  # a run of one's own, started later
    failed = {"epoch": 1, "step": 1, "reason": "diverged"}  # a run without weights
    edit_record(tmp_path / "results" / name, lambda record: record.update(
        run=record["run"] | {"status": "failed"}, artifacts={}, metrics={}, selection=None, confusion=None,
        failure=failed))
    assert read_record(tmp_path / "results" / name).failure and "predictions" in report()
    (tmp_path / "results" / name).write_text("{")  # the teacher's own folder is no fault of the student's
    assert "predictions" in report()
    score.shipped_records.cache_clear()


def test_an_encoder_that_another_task_trained_is_no_run_of_this_one(honest, images, tmp_path) -> None:
    shutil.copytree(honest, tmp_path / "s")

    def of_another_task(record: dict) -> None:
        record["run"]["init"] = {"record": "x.json", "task": "1.2.1", "dataset": "digits", "method": "plain",
                                 "labels": 0.0, "recipe_hash": "0" * 8, "seed": 0, "sha256": "0" * 64}
        record["recipe"]["fields"]["epochs"] = record["selection"]["epoch"] = record["derived"]["steps"] = 0
        record["history"] = []

    edit_record(tmp_path / "s" / f"{HONEST['1.2.3']}.json", of_another_task)
    report = examined(tmp_path / "s", f"{HONEST['1.2.3']}.json", images, tmp_path / "out")
    assert report["reason"] == "its encoder was trained by task 1.2.1 (--init, 0 epochs), not by 1.2.3"


@pytest.mark.parametrize("error, expected", [
    (MemoryError(), "needs more memory than one submission may use"),
    (RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried"),
     "needs more memory than one submission may use"),
    (ValueError("x.npz: not an array file: "), "ValueError: x.npz: not an array file")])
def test_a_student_reads_what_is_wrong_in_words(error: Exception, expected: str) -> None:
    assert sentence(error, Path("/tmp/x")) == expected


def test_a_record_that_is_nested_too_deeply_is_refused_in_words(honest, images, tmp_path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "a.json").write_text("[" * 200_000 + "]" * 200_000)
    assert examined(tmp_path / "s", "a.json", images, tmp_path / "out")["reason"] == "nested too deeply to be a record"
    (tmp_path / "s" / "a.json").write_text(json.dumps({"schema": 4}))
    assert examined(tmp_path / "s", "a.json", images, tmp_path / "out")["reason"].startswith("run: Field required")


@pytest.mark.parametrize("hard, seconds", [(child.resource.RLIM_INFINITY, 300), (40, 40)])
def test_a_lower_limit_of_the_machine_is_kept_and_none_is_raised(monkeypatch, hard: int, seconds: int) -> None:
    limits: dict[int, tuple[int, int]] = {}
    monkeypatch.setattr(child.resource, "getrlimit", lambda kind: (hard, hard))
    monkeypatch.setattr(child.resource, "setrlimit", limits.__setitem__)
    child.set_limits(299.5)
    assert limits[child.resource.RLIMIT_CPU] == (seconds, seconds)
    assert hard != 40 or set(limits.values()) == {(40, 40), (0, 0)}
