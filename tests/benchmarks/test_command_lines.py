"""The benchmarks' command lines: help, wrong use, and the examples in their documentation."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import device, grading, larger_than_memory, scaling, throughput, time_to_reference
from utils.command_line import exit_code

ROOT = Path(__file__).parent.parent.parent
SCRIPTS = {"throughput": throughput, "scaling": scaling, "time_to_reference": time_to_reference,
           "larger_than_memory": larger_than_memory, "grading": grading, "device": device}


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
    ("throughput", ["--against", "coursework"], ["--against", "--recipe"]),
    ("throughput", ["--recipe", "--against", "mlp"], ["--against", "coursework"]),
    ("throughput", ["--recipe", "--against", "coursework", "--conventional-epochs", "9"], ["--against resnet18"]),
    ("throughput", ["--json", "a.txt"], ["--json a.txt", ".json"]),
    ("throughput", ["--json", "no-such/a.json"], ["--json", "no folder no-such"]),
    ("scaling", ["--task", "control"], ["--task control", "1.2.1, 1.2.2, 1.2.3, rotation"]),
    ("scaling", ["--points", "2"], ["--points", "at least 3"]),
    ("scaling", ["--out", "a.gif"], ["--out a.gif", ".png or .svg or .pdf"]),
    ("scaling", ["--json", "."], ["--json .", ".json"]),
    ("scaling", ["--extrapolate", "a.json", "--out", "a.png"], ["--out a.png", ".md"]),
    ("scaling", ["--extrapolate", "nowhere.json"], ["nowhere.json", "not a measurement"]),
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
    ("device", ["--device", "tpu"], ["--device", "cpu"]),
    ("device", ["--json", "a.txt"], ["--json a.txt", ".json"]),
])
def test_wrong_use_is_one_line_and_exit_code_2(capsys, script: str, argv: list[str], words: list[str]) -> None:
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
