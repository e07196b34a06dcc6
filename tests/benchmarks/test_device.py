"""The benchmark of a device: a machine agrees with itself, and broken variants do not."""

import dataclasses
import json
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torchvision.transforms import Normalize

from benchmarks import contestants, device, same_numbers
from benchmarks import device_checks as checks
from benchmarks.common import even_recipe
from evaluation import figure_arrays, scores
from tests.training.test_devices import CUDA, data_on, pretended_cuda
from training import contrastive_methods, losses
from training.checkpoints import Checkpoints
from training.loop import Setup
from training.tasks import TASKS
from utils.command_line import exit_code

CPU = Setup(torch.device("cpu"), "float32", {"float32": 100.0, "bfloat16": 0.0}, seed=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("device")


def train_only(patch: pytest.MonkeyPatch, *methods: str, trainings: Callable = checks.trainings) -> None:
    """Compare the trainings of these methods only."""
    patch.setattr(checks, "trainings", lambda size: (one for one in trainings(size) if one[1].method in methods))


@pytest.fixture(autouse=True)
def few_methods(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Only some methods and tasks, in this process: `--smallest` itself takes half a minute."""
    train_only(monkeypatch, "joint", "moco")
    monkeypatch.setattr(checks, "SCORED", ("1.2.1",))
    monkeypatch.setattr(contestants, "process_apart", lambda device: ThreadPoolExecutor(1))
    monkeypatch.setattr(contestants, "measure_conv", lambda *_, **__: CPU.conv_gflops)
    monkeypatch.setattr(figure_arrays, "tsne", figure_arrays.first_components)
    yield


def run(folder: Path) -> tuple[int, dict[str, dict]]:
    """Exit code, and the JSON's lines by name."""
    path = folder / "a.json"
    argv = ["--device", "cpu", "--smallest", "--data-dir", str(folder), "--json", str(path)]
    code = exit_code(lambda: device.main(argv), "")
    return code, {line["name"]: line for line in json.loads(path.read_text())["lines"]}


def test_a_comparison_of_the_cpu_with_itself_finds_no_difference(
        folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    code, lines = run(folder)
    printed, errors = capsys.readouterr()
    assert (code, errors) == (0, "")
    assert len(lines) == 2 + 2 + 1 + 4
    assert all(printed.count(name) == 2 for name in lines)  # as it is measured, and in the table
    assert "DIFFERS" not in printed
    assert lines["1.2.3 moco: losses, 3 steps"]["values"]["largest"] == 0
    assert len(lines["1.2.3 moco: losses, 3 steps"]["values"]["losses"]) == 3
    assert lines["1.2.2 joint: bytes, float32"]["values"] == {"compared": ["repeated", "resumed"], "unequal": []}
    speed = lines["1.2.3 dcl: speed, float32"]["values"]
    assert min(speed["images_per_second"], speed["share_of_matrix_peak"], speed["peak_bytes"], speed["tutorial loop"],
               speed["lightly"]) > 0
    shown_in_the_docs(folder / "a.json", monkeypatch, capsys)


def shown_in_the_docs(measured: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(device, "DOCS", measured.with_name("speed.md"))
    device.DOCS.write_text("before\n<!-- device:begin -->\nold\n<!-- device:end -->\nafter\n")
    assert exit_code(lambda: device.main(["--show", str(measured)]), "") == 0
    shown = device.DOCS.read_text()
    assert ": none of 5 comparisons with the CPU exceed what is allowed." in shown and "old" not in shown
    assert shown.count("\n| ") == 2 + 4 and "| 1.2.3 dcl: speed, float32 | " in shown  # head, rule, and four tasks
    other = measured.with_name("b.json")
    for text in ("[]", "{", '{"machine": {}, "lines": []}'):
        other.write_text(text)
        assert exit_code(lambda: device.main(["--show", str(other)]), "") == 2
        assert "not a file that --json wrote" in capsys.readouterr().err
    assert device.DOCS.read_text() == shown


def unseeded_loss(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(contrastive_methods, "info_nce", lambda *given: losses.info_nce(*given) * random.uniform(1, 2))


def forgotten_queue(patch: pytest.MonkeyPatch) -> None:
    load = Checkpoints.load

    def broken(self: Checkpoints):
        found = load(self)
        if found and "kept.moco.queue" in found[1]:
            found[1]["kept.moco.queue"] = torch.randn_like(found[1]["kept.moco.queue"])
        return found
    patch.setattr(Checkpoints, "load", broken)


def inexact_latents(patch: pytest.MonkeyPatch) -> None:
    whole = scores.encode
    patch.setattr(scores, "encode", lambda encoder, images: whole(encoder, images) + torch.rand(()) / 10)


def broken_kernel(patch: pytest.MonkeyPatch) -> None:
    def fail(*given: object) -> None:
        raise RuntimeError("expected all tensors to be on the same device")
    patch.setattr(contrastive_methods, "info_nce", fail)


@pytest.mark.parametrize("harm, differing", [
    (unseeded_loss, {"1.2.3 moco: losses, 3 steps", "1.2.3 moco: bytes, float32"}),
    (forgotten_queue, {"1.2.3 moco: bytes, float32"}),
    (inexact_latents, {"1.2.1 plain: scored"}),
    (broken_kernel, {"1.2.3 moco: losses, 3 steps", "1.2.3 moco: bytes, float32"})])
def test_what_differs_is_named_and_exits_1(harm: Callable[[pytest.MonkeyPatch], None], differing: set[str],
                                           folder: Path, monkeypatch: pytest.MonkeyPatch,
                                           capsys: pytest.CaptureFixture) -> None:
    harm(monkeypatch)
    train_only(monkeypatch, "moco")
    monkeypatch.setattr(checks, "measure_speed", lambda setup, size: [])
    code, lines = run(folder)
    printed, errors = capsys.readouterr()
    assert code == 1
    assert {name for name, line in lines.items() if line["differs"]} == differing
    assert printed.count("DIFFERS") == len(differing)
    assert f"{len(differing)} of 3 lines differ" in errors and len(errors.splitlines()) == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_device_that_is_not_here_is_one_line_and_exit_code_2(capsys: pytest.CaptureFixture) -> None:
    assert exit_code(lambda: device.main(["--device", "cuda"]), "") == 2
    printed, errors = capsys.readouterr()
    assert (printed, len(errors.splitlines())) == ("", 1)
    assert "--device cuda: not available" in errors


def test_a_device_gets_the_numbers_that_the_cpu_draws() -> None:
    draw = {"rand": ((3,),), "randn": ((3,),), "randint": (4, (3,)), "randperm": (5,)}
    for name, given in draw.items():
        expected = getattr(torch, name)(*given, generator=torch.Generator().manual_seed(7))
        with same_numbers.same_numbers():
            drawn, elsewhere = (getattr(torch, name)(
                *given, generator=same_numbers.CpuGenerator(place).manual_seed(7), device=place)
                for place in ("cpu", "meta"))
        assert torch.equal(drawn, expected)
        assert (elsewhere.device.type, elsewhere.shape) == ("meta", expected.shape)


@pytest.mark.parametrize("task, method", [("1.2.1", "denoising"), ("1.2.1", "patches"), ("1.2.2", "joint"),
                                          ("1.2.3", "moco"), ("1.2.3", "cmc"), ("rotation", "rotnet")])
def test_the_same_numbers_reach_the_device(task: str, method: str) -> None:
    """With fake CUDA tensors, as in test_devices.py."""
    recipe = dataclasses.replace(TASKS[task].default_recipe("digits", method), epochs=1,
                                 **checks.CHANGES.get(method, {}))
    with pretended_cuda():
        setup = dataclasses.replace(CPU, device=CUDA, cuda_graph=False)
        assert checks.first_losses(task, recipe, data_on(CUDA), setup, 1) == [1.0]


class HalfGrey(Normalize):
    """A normalisation that does not look at values."""

    def forward(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor - 0.5


@pytest.mark.parametrize("task", ["1.2.1", "1.2.2", "rotation"])  # 1.2.3 selects by values, which are not there
def test_the_other_loops_compute_on_their_device(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = dataclasses.replace(even_recipe(task), widths=(8, 8), batch_size=8)
    monkeypatch.setattr(contestants, "normalisation", lambda data: HalfGrey([0.5] * 3, [0.25] * 3))
    with pretended_cuda():
        data = contestants.random_data(8, (3, 32, 32), CUDA)
        loop = checks.OTHERS[task][0](recipe, data, dataclasses.replace(CPU, device=CUDA))
        images, labels = torch.rand(8, 3, 32, 32), torch.zeros(8, dtype=torch.int64)
        batch = ([images, labels], labels) if task == "rotation" else (images, labels)
        assert loop.loss_of(batch).device.type == "cuda"


def test_the_docs_show_the_committed_measurements(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    docs, copy = device.DOCS.read_text(encoding="utf-8"), tmp_path / "speed.md"
    copy.write_text(docs, encoding="utf-8")
    monkeypatch.setattr(device, "DOCS", copy)
    device.main(["--show", *map(str, sorted(Path(device.__file__).parent.glob("device_*.json")))])
    assert copy.read_text(encoding="utf-8") == docs
