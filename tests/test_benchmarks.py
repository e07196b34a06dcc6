"""The benchmarks' arithmetic against closed forms and other libraries, their command lines, and a small run of each."""

import dataclasses
import importlib.util
import json
import math
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

from benchmarks import (
    common,
    contestants,
    extrapolate,
    grading,
    larger_than_memory,
    scaling,
    throughput,
    time_to_reference,
)
from evaluation import scores
from evaluation.rescore import predict_again
from evaluation.rescore import test_images as load_test_images
from report.summary import REFERENCE
from tests.factory import HONEST, make_record
from training.loop import Setup
from training.losses import nt_xent
from training.tasks import TASKS
from utils.command_line import exit_code
from utils.compute import convolution
from utils.errors import RunError, UsageError
from utils.images.datasets import load_dataset
from utils.images.on_device import DeviceData
from utils.records.arrays import read_arrays
from utils.records.schema import read_record

ROOT = Path(__file__).parent.parent
CPU = Setup(torch.device("cpu"), "float32", {"float32": 100.0, "bfloat16": 0.0}, seed=0)
SCRIPTS = {"throughput": throughput, "scaling": scaling, "time_to_reference": time_to_reference,
           "extrapolate": extrapolate, "larger_than_memory": larger_than_memory, "grading": grading}


# Exponents


@pytest.mark.parametrize("slope", [0.0, 1.0, 1.7, -2.0])
def test_a_power_law_is_recovered_exactly(slope: float) -> None:
    x = [32, 64, 128, 500, 4000]
    exponent = scaling.fit(x, [3.5 * value ** slope for value in x])
    assert exponent.slope == pytest.approx(slope, abs=1e-12)
    assert exponent.last == pytest.approx(slope, abs=1e-12)
    assert exponent.error == pytest.approx(0, abs=1e-12)


def test_with_noise_the_error_is_numpy_s_and_as_large_as_the_slope_scatters() -> None:
    rng, x, slopes, errors = np.random.default_rng(0), 2.0 ** np.arange(8), [], []
    for _ in range(300):
        y = 0.2 * x ** 2 * np.exp(rng.normal(0, 0.1, len(x)))
        exponent = scaling.fit(x.tolist(), y.tolist())
        (slope, _), covariance = np.polyfit(np.log(x), np.log(y), 1, cov=True)
        assert (exponent.slope, exponent.error) == pytest.approx((slope, math.sqrt(covariance[0, 0])))
        slopes.append(exponent.slope)
        errors.append(exponent.error)
    assert np.mean(slopes) == pytest.approx(2, abs=0.01)
    assert np.std(slopes) == pytest.approx(np.mean(errors), rel=0.15)


@pytest.mark.parametrize("x, y", [([1, 2], [1, 2]), ([1, 2, 3], [1, 0, 2]), ([0, 1, 2], [1, 2, 3]),
                                  ([1, 2, 3], [1, 2])])
def test_what_has_no_exponent_is_refused(x: list[float], y: list[float]) -> None:
    with pytest.raises(ValueError, match="three points"):
        scaling.fit(x, y)


def test_every_sweep_has_its_points_and_is_drawn(tmp_path: Path, capsys) -> None:
    jobs = scaling.sweeps("1.2.3", 3, {"precision": "float32", "conv_gflops": {"float32": 1.0}})
    assert set(jobs) == set(scaling.FIRST) == set(scaling.MEASURED)
    for name, sweep in jobs.items():
        assert [job.x for job in sweep] == [scaling.FIRST[name] * k for k in (1, 2, 4)]
    points = {name: [scaling.Point(job.x, 1e-3 * job.x, 2**20 * job.x ** 2) for job in sweep]
              for name, sweep in jobs.items()}
    fits = {name: {key: scaling.fit([p.x for p in sweep], [getattr(p, key) for p in sweep])
                   for key in ("seconds", "bytes")} for name, sweep in points.items()}
    figure = scaling.draw(points, fits)
    figure.savefig(tmp_path / "scaling.svg")
    assert [ax.get_title() for ax in figure.axes] == ["exponent 1.00 ± 0.00"] * 4 + ["exponent 2.00 ± 0.00"] * 4
    scaling.show(points, fits)
    assert "NT-Xent alone, by pairs" in capsys.readouterr().out


def test_each_measurement_gives_seconds_and_bytes() -> None:
    for seconds, growth in (scaling.loss(16), scaling.epoch("1.2.2", "float32", CPU.conv_gflops, 8, 4, 8)):
        assert seconds > 0
        assert growth >= 0  # nothing where this process has had more already
    assert scaling.largest_memory() > 2**20


# Published epochs


def test_published_epochs_are_met_and_interpolated_in_their_logarithm() -> None:
    for epochs, accuracy, *_ in throughput.PUBLISHED:
        assert throughput.epochs_for(accuracy) == pytest.approx(epochs)
        assert throughput.accuracy_after(epochs) == pytest.approx(accuracy)
    (e0, a0, *_), (e1, a1, *_) = throughput.PUBLISHED[2:4]
    assert throughput.epochs_for((a0 + a1) / 2) == pytest.approx(math.sqrt(e0 * e1))
    for accuracy in (0.3, 0.5, 0.7153, 0.75, 0.9):
        assert throughput.accuracy_after(throughput.epochs_for(accuracy)) == pytest.approx(accuracy)


@pytest.mark.parametrize("ask, value", [(throughput.epochs_for, 0.2), (throughput.epochs_for, 0.95),
                                        (throughput.accuracy_after, 0.5), (throughput.accuracy_after, 2000)])
def test_nothing_is_read_off_outside_of_what_is_published(ask: Callable[[float], float], value: float) -> None:
    with pytest.raises(RunError, match="no published figure"):
        ask(value)


def test_own_accuracy_is_the_mean_over_seeds_of_the_default_recipe(tmp_path: Path, capsys) -> None:
    method = TASKS["1.2.3"].default_recipe("cifar10").method
    for seed, accuracy in enumerate((0.7, 0.74)):
        make_record(tmp_path, method=method, accuracy=accuracy, seed=seed, n=100)
    make_record(tmp_path, method=method, accuracy=0.9, seed=2, n=100, fields={"batch_size": 100})  # not the default
    make_record(tmp_path, method=method, accuracy=0.9, seed=3, n=100, status="quick",
                name=f"1.2.3_cifar10_{method}_seed3_quick")
    own = throughput.own_record(tmp_path)
    assert own["accuracies"]["classifier_top1"] == pytest.approx(0.72)
    assert own["n"] == 2
    assert not own["today"]  # these recipes have made-up fields
    assert "70.00 % test" in capsys.readouterr().out
    with pytest.raises(RunError, match="no record"):
        throughput.own_record(tmp_path / "nowhere")


# Command lines


def call(capsys: pytest.CaptureFixture, script: str, *argv: str) -> tuple[int, list[str], list[str]]:
    """Exit code, lines of stdout, lines of stderr."""
    code = exit_code(lambda: SCRIPTS[script].main(list(argv)), "")
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err.splitlines()


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_works_from_anywhere(script: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-W", "error", ROOT / "benchmarks" / f"{script}.py", "--help"], cwd=tmp_path,
                          capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("examples:")
    assert done.stderr == ""


@pytest.mark.parametrize("script, argv, words", [
    ("throughput", ["--task", "1.2.1"], ["1.2.1", "1.2.2"]),
    ("throughput", ["--images", "10"], ["--images 10", "at least one batch"]),
    ("throughput", ["--images", "x"], ["--images", "'x'", "whole number"]),
    ("throughput", ["--rounds", "0"], ["--rounds", "at least 1"]),
    ("throughput", ["--round", "1"], ["--round", "did you mean --rounds?"]),
    ("throughput", ["--conventional-epochs", "30"], ["--conventional-epochs", "--recipe"]),
    ("throughput", ["--task", "1.2.2", "--recipe"], ["--task", "--recipe"]),
    ("throughput", ["--json", "a.txt"], ["--json a.txt", ".json"]),
    ("throughput", ["--json", "no-such/a.json"], ["--json", "no folder no-such"]),
    ("scaling", ["--task", "control"], ["--task control", "1.2.1, 1.2.2, 1.2.3, rotation"]),
    ("scaling", ["--points", "2"], ["--points", "at least 3"]),
    ("scaling", ["--out", "a.gif"], ["--out a.gif", ".png or .svg or .pdf"]),
    ("scaling", ["--json", "."], ["--json .", ".json"]),
    ("time_to_reference", ["--cell", "1.2.3/digits"], ["--cell 1.2.3/digits", "1.2.3/cifar10"]),
    ("time_to_reference", ["--cell", "1.2.3/cifar10", "--epochs", "1000"], ["--epochs 1000", "1.2.3/cifar10"]),
    ("time_to_reference", ["--seed", "-1"], ["--seed", "at least 0"]),
    ("time_to_reference", ["--device", "tpu"], ["--device", "cpu"]),
    ("larger_than_memory", ["--image-size", "30"], ["--image-size 30", "multiple of 4"]),
    ("larger_than_memory", ["--images", "1000", "--steps", "6"], ["--steps", "at most half of --images"]),
    ("larger_than_memory", ["--limit", "1"], ["--limit", "at least 256"]),
    ("larger_than_memory", ["--json", "a.txt"], ["--json a.txt", ".json"]),
    ("grading", ["--students", "0"], ["--students", "at least 1"]),
    ("grading", ["--dataset", "imagenet"], ["--dataset", "mnist"]),
])
def test_wrong_use_is_one_line_and_exit_2(capsys, script: str, argv: list[str], words: list[str]) -> None:
    code, out, err = call(capsys, script, *argv)
    assert (code, out, len(err)) == (2, [], 1)
    for word in ["error: ", *words]:
        assert word in err[0]


def test_a_comparison_without_records_fails_before_anything_is_timed(capsys, tmp_path: Path) -> None:
    code, out, err = call(capsys, "throughput", "--recipe", "--results-dir", str(tmp_path))
    assert (code, out, len(err)) == (1, [], 1)
    assert "_main.py --task 1.2.3" in err[0]


EXAMPLES = [(name, re.split(r" {2,}", line.strip())[0]) for name, script in SCRIPTS.items()
            for line in (script.EXAMPLES + script.__doc__).splitlines() if line.strip().startswith("python ")]


@pytest.mark.parametrize("script, command", EXAMPLES)
def test_every_example_parses(script: str, command: str) -> None:
    words = shlex.split(command)
    assert words[:2] == ["python", f"benchmarks/{script}.py"]
    assert SCRIPTS[script].parse(words[2:])


def test_json_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for content in ({"a": 1}, {"b": 2}):
        common.write_json(path, content)
        assert json.loads(path.read_text()) == content
    with pytest.raises(ValueError):
        common.write_json(path, {"c": math.nan})
    assert json.loads(path.read_text()) == {"b": 2}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


# Speed


def test_the_tutorial_s_loss_is_the_project_s() -> None:
    generator = torch.Generator().manual_seed(0)
    z0, z1 = (torch.randn(7, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    assert contestants.tutorial_nt_xent(torch.cat([z0, z1]), 0.3).item() == pytest.approx(nt_xent(z0, z1, 0.3).item())


def test_contestants_take_turns_and_the_first_round_is_dropped(capsys) -> None:
    calls: list[str] = []

    def contestant(name: str, seconds: float) -> common.Contestant:
        def run() -> common.Timed:
            calls.append(name)
            return common.Timed(seconds * len(calls), 12)
        return common.Contestant(name, run)

    timings = common.round_robin([contestant("a", 1), contestant("b", 2)], 2)
    assert calls == ["a", "b"] * 3
    assert [[timed.seconds for timed in timings[name]] for name in "ab"] == [[3, 5], [8, 12]]
    assert common.spread(timings["a"]) == {"images_per_second": pytest.approx((4 + 2.4) / 2), "lowest": 2.4,
                                           "highest": 4, "rounds": [4, 2.4]}
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_the_others_have_torchs_own_convolutions() -> None:
    recipe = dataclasses.replace(common.even_recipe("1.2.2"), widths=(64, 64), batch_size=16)
    data = contestants.random_data(20, (3, 32, 32), CPU.device)
    encoder, _ = contestants.tutorial_classification(recipe, data, CPU).modules
    x = data.sample(16)
    with patch.object(convolution, "winograd_convolution", wraps=convolution.winograd_convolution) as winograd:
        theirs = encoder(x)
        assert not winograd.called
        for module in encoder.modules():
            if type(module) is torch.nn.Conv2d:
                module.__class__ = convolution.Conv3x3  # as it was made
        torch.testing.assert_close(theirs, encoder(x), rtol=1e-3, atol=1e-4)  # the same network
        assert winograd.called


@pytest.mark.parametrize("task", throughput.COMPARED)
def test_every_contestant_trains_and_this_project_is_as_fast_as_itself(task: str, capsys) -> None:
    recipe = dataclasses.replace(common.even_recipe(task), widths=(4, 4), batch_size=8)
    data = contestants.random_data(20, (3, 32, 32), CPU.device)
    table = throughput.compare_speed(task, recipe, data, CPU, 1, workers=(0,))
    throughput.show_speed(task, table | {"share_of_conv_peak": 0.5}, 100.0)
    names = list(table["contestants"])
    assert [name.split(",")[0] for name in names[1:]] == ["tutorial loop", "lightly"][: 1 + (task == "1.2.3")]
    assert table["contestants"][names[0]]["this_project_is_times_as_fast"] == 1
    assert table["gflops_per_second"] > 0
    assert all(row["images_per_second"] > 0 for row in table["contestants"].values())
    printed = capsys.readouterr().out
    assert all(name in printed for name in [*names, "50 % of the 100 GFLOP/s"])
    json.dumps(table, allow_nan=False)
    timed = contestants.train_timed(task, recipe, data, CPU)
    assert (timed.images, capsys.readouterr().out) == (16, "")  # two whole batches, and nothing printed


def test_without_lightly_its_row_is_left_out(capsys, monkeypatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "lightly" else find(name))
    recipe = dataclasses.replace(common.even_recipe("1.2.3"), widths=(4, 4), batch_size=8)
    table = throughput.compare_speed("1.2.3", recipe, contestants.random_data(8, (3, 32, 32), CPU.device), CPU, 1, (0,))
    assert len(table["contestants"]) == 2
    assert "lightly is not installed" in capsys.readouterr().out


# Time to the references


def test_attempts_double_up_to_the_recipe_s_own_epochs() -> None:
    assert time_to_reference.attempts(1, 20, "") == [1, 2, 4, 8, 16, 20]
    assert time_to_reference.attempts(3, 24, "") == [3, 6, 12, 24]
    assert time_to_reference.attempts(4, 4, "") == [4]
    with pytest.raises(UsageError, match="has 4"):
        time_to_reference.attempts(5, 4, "")


@pytest.mark.parametrize("task", ["1.2.2", "1.2.3"])
def test_training_goes_on_until_validation_passes_without_test_images(task: str, capsys, monkeypatch,
                                                                      tmp_path: Path) -> None:
    monkeypatch.setattr(scores, "CLASSIFIER_EPOCHS", 1)
    monkeypatch.setattr(scores, "CLASSIFIER_STEPS", 2)
    monkeypatch.setitem(time_to_reference.CELLS, "cell", (task, "digits"))
    dataset = load_dataset("digits", tmp_path).head(train=150, val=50, test=10)
    dataset = dataclasses.replace(dataset, test_images=dataset.test_images[:0], test_labels=dataset.test_labels[:0])
    data = DeviceData.load(dataset, CPU.device)
    for reference, expected in ((0.0, [1]), (1.0, [1, 2])):  # the second cannot be passed
        monkeypatch.setitem(REFERENCE, (task, "digits"), reference)
        done = time_to_reference.until_passed("cell", [1, 2], data, CPU)
        assert [attempt.epochs for attempt in done] == expected
        assert all(0 < attempt.accuracy <= 1 and attempt.seconds > 0 for attempt in done)
        assert time_to_reference.in_json("cell", done)["passed"] == (reference == 0)
        time_to_reference.show({"cell": done})
        assert ("not passed" in capsys.readouterr().out) == (reference == 1)


# On paper


def a_measurement(each: float = 12.0, step_seconds: float = 2.0) -> dict:
    """As scaling.py writes it, with round numbers: `each` bytes for an entry of NT-Xent's similarities."""
    fit = {"slope": 1.0, "error": 0.0, "last": 1.0}
    points = {"images": [(500, 4.0, 1e6)], "batch size": [(256, step_seconds, 1e6)],
              "latent size": [(128, 1.0, 1e6)], "pairs": [(1024, 0.1, each * 2048 ** 2)]}
    return {"task": "1.2.3", "machine": {"cpu": "a processor", "threads": 2, "precision": "float32"},
            "sweeps": {name: {"points": [dict(zip(("x", "seconds", "bytes"), point, strict=True)) for point in sweep],
                              "exponents": {"seconds": fit, "bytes": fit}} for name, sweep in points.items()}}


def test_a_ring_sends_twice_what_it_reduces_and_one_process_sends_nothing() -> None:
    network = extrapolate.Network("x", flops=1e9, parameters=1e6, channels=100, rate=1e12)
    assert extrapolate.step_bytes(network, 256, 1) == (0, 0, 0)
    gradients, projections, norms = extrapolate.step_bytes(network, 256, 2)
    assert gradients == 4e6  # two halves of four million bytes
    assert projections == 2 * 256 * 128 * 4  # half of 512 projections there, half of their gradients back
    assert norms == 2 * 2 * 100 * 4
    enough = extrapolate.images_that_pay(network, speed=1e9)
    assert enough * network.flops / network.rate == pytest.approx(2 * 4e6 / 1e9)  # computing lasts as long as sending


def test_the_page_is_made_of_the_measurement(tmp_path: Path) -> None:
    (tmp_path / "in.json").write_text(json.dumps(a_measurement()))
    extrapolate.main([str(tmp_path / "in.json"), "--out", str(tmp_path / "out.md")])
    text = (tmp_path / "out.md").read_text()
    assert "12.0 bytes for each" in text
    assert "| 32,768 | 48 GiB | 768 MiB |" in text  # 12 bytes x 65,536^2 are 48 x 2^30
    own = extrapolate.own_network(a_measurement())
    assert own.rate == pytest.approx(256 * own.flops / 2)
    assert f"runs at {own.rate / 1e9:.3g} GFLOP/s" in text.replace("\n", " ")


def test_another_file_is_refused_in_one_line(tmp_path: Path) -> None:
    for text in ("{", "[]", "{}", json.dumps(a_measurement() | {"task": "1.2.1"})):
        (tmp_path / "in.json").write_text(text)
        with pytest.raises(UsageError, match="no measurement of task 1.2.3"):
            extrapolate.main([str(tmp_path / "in.json"), "--out", str(tmp_path / "out.md")])
    assert not (tmp_path / "out.md").exists()


# Larger than memory


def test_its_images_are_read_and_its_broken_ones_are_not(tmp_path: Path, capsys) -> None:
    larger_than_memory.make_images(tmp_path / "images", 60, 25, 32)
    for _ in range(2):  # built, then there already
        found = larger_than_memory.build(tmp_path, 85, 32, larger_than_memory.Limit("none", []))
    assert found == {}
    dataset = load_dataset(f"folder:{tmp_path / 'images'}", tmp_path / "data", 32)
    assert sum(map(sum, dataset.class_counts().values())) == 60 and dataset.classes == larger_than_memory.SHAPES
    assert len(next((tmp_path / "data").glob("*/unreadable.txt")).read_text().splitlines()) == 25
    assert "was there already" in capsys.readouterr().out


def test_a_process_under_the_limit_cannot_take_more(capsys) -> None:
    words = [sys.executable, "-c", "import sys; x = b'x' * (int(sys.argv[1]) << 20)"]
    with larger_than_memory.memory_limit(256 << 20) as limit:
        assert subprocess.run([*limit.prefix, *words, "50"]).returncode == 0
        assert subprocess.run([*limit.prefix, *words, "600"], stderr=subprocess.DEVNULL).returncode != 0
    assert limit.group is None or not limit.group.exists()
# Grading


def test_a_class_is_made_whose_records_are_true_of_their_weights(honest: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(grading, "EVERY", 2)
    bases = [grading.base_run(task, "digits", honest, tmp_path, tmp_path) for task in ("1.2.2", "1.2.3")]
    assert bases == [honest / f"{HONEST[task]}.json" for task in ("1.2.2", "1.2.3")]  # nothing was trained
    grading.make_class(bases, tmp_path / "class", 2, tmp_path)
    data, weights = load_test_images("digits", tmp_path), set()
    for number, base in ((0, bases[0]), (0, bases[1]), (1, bases[0]), (1, bases[1])):
        path = tmp_path / "class" / f"student{number:03d}" / base.name
        record = read_record(path)  # which checks it against itself
        told, found = read_arrays(record, path.parent)["test_predictions"], predict_again(path, data)
        assert np.array_equal(told, found) == (number == 0)  # the second one's record is that of the base
        weights.add(record.artifacts["checkpoint"].sha256)
    assert len(weights) == 4


def test_a_command_is_timed_with_all_that_it_starts() -> None:
    inner = "x = bytearray(60_000_000); import time; time.sleep(1)"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', '{inner}'])"
    done = grading.timed([sys.executable, "-c", outer])
    assert done["seconds"] > 1 and done["cpu_seconds"] > 0
    assert done["peak_bytes"] is None or done["peak_bytes"] > 60_000_000
    with pytest.raises(RunError, match="exit code 4"):
        grading.timed([sys.executable, "-c", "raise SystemExit(4)"])
