"""Help, --version, exit codes, closed streams, and what torchrun prints about a failure."""

import json
import os
import re
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path

import pytest

import _main
import _report_evaluation
from tests.commands import ROOT, stdout_without_torch
from training.tasks import TASKS
from utils.command_line import exit_code, name_missing_package
from utils.errors import UsageError
from utils.images.datasets import DATASETS
from utils.recipe import as_json
from utils.records.schema import read_record

# _main.py with streams as it finds them, and without what takes seconds and prints nothing
QUICKER = """
import _main
main = _main.main
def quicker(argv):
    from evaluation import figure_arrays, scores
    from utils.compute import precision
    figure_arrays.tsne, scores.CLASSIFIER_HIDDEN = figure_arrays.first_components, 8
    precision.measure_conv = lambda *_, **__: {'float32': 1.0, 'bfloat16': 0.0}
    main(argv)
_main.main = quicker
_main.leave(_main.command(sys.argv[1:]))
"""


def test_help_leads_with_examples_and_loads_no_torch() -> None:
    text = stdout_without_torch("--help")
    assert text.startswith("examples:\n")
    for word in ("1.2.1", "1.2.2", "1.2.3", "rotation", "digits", "mnist", "cifar10", "folder:PATH", "--temperature",
                 "--show-recipe", "--version", "default: simclr",
                 "training/*_recipe.py"):
        assert word in text


@pytest.mark.parametrize("columns", ["80", "250"])
def test_help_fits_80_columns(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    assert max(map(len, _main.build_parser().format_help().splitlines())) <= 80


def test_help_shows_only_defaults_that_hold_everywhere() -> None:
    shown = {action.dest: found[1] for action in _main.build_parser()._actions
             if (found := re.search(r"\(default: (.*)\)$", action.help or ""))}
    assert shown["epochs"] == shown["encoder"] == "by recipe" and shown["warmup"] == "0.1"
    for task in TASKS.values():
        for family in {spec.recipe_family for spec in DATASETS.values()}:
            for method in task.all_methods:
                for name, value in as_json(task.default_recipe(family, method)).items():
                    assert name == "method" or shown[name] in ("by recipe", str(value).lower()), name


@pytest.mark.parametrize("parse", [_main.main, _report_evaluation.parse])
def test_version_is_that_of_the_project_file(parse, capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--version"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (ended.value.code, capsys.readouterr().out) == (0, f"{project['version']}\n")


def test_running_out_of_memory_is_one_line(capsys) -> None:
    import torch
    assert exit_code(lambda: torch.empty(10**15), "") == 1
    assert "out of memory" in capsys.readouterr().err
    assert exit_code(partial(fail, ImportError("libtorch_cpu.so: failed to map segment from shared object")), "") == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "out of memory" in line and "libtorch_cpu.so" in line and "ulimit" in line
    for error in (ImportError("NumPy\nOriginal error was: x.so: failed to map segment from shared"), MemoryError()):
        name_missing_package(type(error), error, None)  # before exit_code() runs
        [line] = capsys.readouterr().err.splitlines()
        assert line.startswith("error: out of memory: ") and "ulimit" in line
    for bug in (RuntimeError("CUDA error: an illegal memory access was encountered"), ImportError("no module named x")):
        with pytest.raises(type(bug), match=str(bug)):  # a bug keeps its traceback
            exit_code(partial(fail, bug), "")


def test_a_stray_rank_in_the_environment_hides_no_error(monkeypatch, capsys) -> None:
    monkeypatch.setenv("RANK", "1")
    assert exit_code(partial(fail, UsageError("--seed -1: must be 0 or more")), "") == 2
    assert capsys.readouterr().err == "error: --seed -1: must be 0 or more\n"


def fail(error: Exception) -> None:
    raise error


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "utf-8"])
def test_a_name_that_the_output_cannot_hold_is_escaped(encoding: str) -> None:
    name = os.fsdecode("数据/\udcff".encode("utf-8", "surrogateescape"))
    done = subprocess.run([sys.executable, "_main.py", "--task", "1.2.2", "--dataset", "digits", "--show-recipe",
                           "--results-dir", name], cwd=ROOT, env=os.environ | {"PYTHONIOENCODING": encoding},
                          capture_output=True, text=True, encoding=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\udcff" in done.stdout and ("数据" in done.stdout or "\\u6570\\u636e" in done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a shell, and limits that count")
@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_a_closed_stream_does_not_matter(closed: str, tmp_path: Path) -> None:
    command = (f'{sys.executable} -c "import sys{QUICKER}" --task control --dataset digits --method pca --quick '
               f"--precision float32 --results-dir {tmp_path}")
    result = subprocess.run(["sh", "-c", f"{command} {closed}"], cwd=ROOT, capture_output=True, text=True)
    assert (result.returncode, "Traceback" in result.stderr) == (0, False)
    assert read_record(tmp_path / "control_digits_pca_seed0_quick.json").run.status == "quick"


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell")
@pytest.mark.parametrize("stream", [1, 2])
def test_what_is_written_to_a_closed_stream_reaches_no_file(stream: int, tmp_path: Path) -> None:
    program = ("import os, sys; from utils.command_line import prepare_streams; prepare_streams(); "
               f"file = open(sys.argv[1], 'w'); os.write({stream}, b'a warning')")
    subprocess.run(["sh", "-c", f'"$@" {stream}>&-', "sh", sys.executable, "-c", program, tmp_path / "record"],
                   cwd=ROOT, check=True)
    assert (tmp_path / "record").read_bytes() == b""


@pytest.mark.skipif(sys.platform != "linux", reason="needs a shell, and limits that count")
def test_too_little_memory_to_load_pytorch_is_one_line(tmp_path: Path) -> None:
    command = f"{sys.executable} _main.py --task 1.2.2 --dataset digits --quick --results-dir {tmp_path}"
    result = subprocess.run(["sh", "-c", f"ulimit -v 1000000; {command}"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    assert result.stderr.startswith("error: out of memory: ") and len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize("script", ["_main.py", "_report_evaluation.py", "_theory.py"])
def test_a_python_without_the_packages_is_one_line(script: str) -> None:
    result = subprocess.run([sys.executable, "-S", script, *(["--help"] if script == "_main.py" else [])], cwd=ROOT,
                            capture_output=True, text=True)  # -S: without site-packages
    assert (result.returncode, result.stdout) == (1, "")
    assert re.fullmatch(r"error: \S+ has no package \w+; activate the environment .*, or: "
                        r"python -m pip install -r requirements.txt\n", result.stderr)


def test_a_missing_module_of_the_project_shows_its_traceback() -> None:
    code = "from utils.command_line import prepare_imports; prepare_imports(); import training.absent"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1 and result.stderr.startswith("Traceback")


def test_a_python_that_is_too_old_is_one_line() -> None:
    code = "import sys; sys.version_info = (3, 11, 3); import _main"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    oldest = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"].removeprefix(">=")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: Python {oldest} or newer is needed") and result.stderr.count("\n") == 1


def test_torchrun_is_told_why_a_process_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "error.json"
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(file))
    assert exit_code(partial(fail, UsageError("--batch-size 3: too small")), "") == 2
    message = json.loads(file.read_text())["message"]
    assert message["extraInfo"]["py_callstack"] == "error: --batch-size 3: too small"
    assert int(message["extraInfo"]["timestamp"]) > 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no poll")
def test_output_without_a_reader_is_discarded() -> None:
    code = ("import os; os.write(1, b'x'); input(); from utils.console import discard_output_without_reader as discard;"
            "discard(); print('y' * 10**6, flush=True); raise SystemExit(7)")
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout and process.stdin
    assert os.read(process.stdout.fileno(), 1) == b"x"
    process.stdout.close()
    process.stdin.write(b"\n")
    process.stdin.close()
    assert process.wait(60) == 7


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no poll")
def test_a_reader_that_has_read_enough_ends_a_command_without_an_error() -> None:
    command = [sys.executable, "_main.py", "--task", "1.2.1", "--dataset", "digits", "--show-recipe"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert (process.stderr.read(), process.wait(60)) == (b"", 141)
