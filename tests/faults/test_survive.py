"""Ctrl-C, full disks, damaged files, concurrent runs, a clock that runs backwards: one clear line, nothing lost."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.harness import DEADLINE, ROOT, TASKS, Folder, check_complete, check_readable, ended, outcome, stopped
from utils.records.schema import UNFINISHED

RUN = TASKS["rotation"]
pytestmark = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="looks at processes through /proc")


@pytest.fixture
def expected(whole) -> dict:
    return whole("rotation")[0]


def last_line(folder: Folder) -> str:
    """The last line of the output; no command here may end in a traceback."""
    assert "Traceback" not in folder.said(), folder.said()
    return folder.said().strip().splitlines()[-1]


def go_on(folder: Folder, expected: dict, **fault) -> None:
    """The same command must complete the run, with the outcome of an undisturbed run."""
    check_readable(folder)
    assert folder.run(RUN, **fault) == 0, folder.said()
    assert outcome(check_complete(folder)[0]) == expected


# Ctrl-C and SIGTERM

@pytest.mark.parametrize("place", ["load", "fit", "restore", "step", "validate", "score", "arrays", "record", "remove"])
def test_ctrl_c_anywhere_says_how_to_resume(place: str, expected: dict, folder: Folder) -> None:
    assert folder.run(RUN, place=place, signal=signal.SIGINT) == 130
    assert last_line(folder).startswith("interrupted; ") and "the same command" in last_line(folder)
    go_on(folder, expected)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_and_sighup_end_with_128_and_their_number_after_a_checkpoint(number: int, expected: dict,
                                                                             folder: Folder) -> None:
    assert folder.run(RUN, place="step", call=5, signal=number) == 128 + number
    assert "the checkpoint of step 5 is in" in last_line(folder)
    go_on(folder, expected)
    assert "resuming from stage1-step000000005" in folder.said()


@pytest.mark.parametrize("library", ["_multiarray_umath", "libtorch"])
def test_ctrl_c_during_the_imports_leaves_no_traceback(library: str, tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "_main.py", *RUN, "--dataset", "digits", "--results-dir", tmp_path],
                               cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while library not in Path(f"/proc/{process.pid}/maps").read_text():
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=DEADLINE)[0]
    said = said.removeprefix("loading PyTorch and digits for 1 run\n")  # printed before libtorch
    assert process.returncode == 130 and said == "\ninterrupted before anything had started\n"


# disks

@pytest.fixture
def small_disk(folder: Folder) -> Iterator[Path]:
    """The results folder on a disk of 2 MB: checkpoints fit, the weights of the scored run do not."""
    folder.results.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", folder.results],
                                      capture_output=True).returncode:
        pytest.skip("this user may not mount a small disk")
    yield folder.results
    subprocess.run(["umount", folder.results], check=True)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", disk], check=True)


def test_a_full_disk_ends_in_one_line_and_the_run_resumes(small_disk: Path, expected: dict, folder: Folder) -> None:
    assert folder.run(RUN) == 1
    assert last_line(folder).startswith("error: ") and "No space left on device" in last_line(folder)
    assert not [name for name in folder.names() if name.endswith((".tmp", ".json"))]
    remount(small_disk, "size=64m")
    go_on(folder, expected)
    assert "resuming from stage1-step000000009" in folder.said()


def test_training_continues_without_room_for_a_checkpoint(small_disk: Path, expected: dict, folder: Folder) -> None:
    (small_disk / "other").write_bytes(bytes(1_990_000))
    assert folder.run(RUN) == 1
    assert "could not be written (No space left on device); the training continues without it" in folder.said()
    assert last_line(folder).startswith("error: ")
    (small_disk / "other").unlink()
    remount(small_disk, "size=64m")
    go_on(folder, expected)


@pytest.mark.parametrize("largest, checkpoints", [(1_000_000, True), (5_000, False)])
def test_a_limit_on_file_sizes_gives_one_line(largest: int, checkpoints: bool, expected: dict, folder: Folder) -> None:
    """Simulates a full disk without root: a limit on file sizes that only the weights, or all files, exceed."""
    assert folder.run(RUN, largest=largest) == 1
    assert last_line(folder).startswith("error: ") and "File too large" in last_line(folder)
    assert ("the training continues without it" not in folder.said()) == checkpoints
    go_on(folder, expected)
    assert ("resuming from stage1-step000000009" in folder.said()) == checkpoints


def test_a_read_only_results_folder_is_one_clear_line(small_disk: Path, folder: Folder) -> None:
    remount(small_disk, "ro")
    assert folder.run(RUN) == 1
    assert last_line(folder) == f"error: --results-dir {small_disk}: cannot write there (Read-only file system)"


def test_a_results_folder_that_is_taken_away_is_made_again(expected: dict, folder: Folder) -> None:
    process = folder.start(RUN, place="score", signal=signal.SIGSTOP)
    stopped(process)
    shutil.rmtree(folder.results)
    os.kill(process.pid, signal.SIGCONT)
    assert ended(process) == 0, folder.said()
    assert outcome(check_complete(folder)[0]) == expected


def test_a_lock_that_cannot_be_created_is_one_clear_line(folder: Folder) -> None:
    folder.results.mkdir()
    (folder.results / ".locks").write_text("no folder")
    assert folder.run(RUN) == 1
    assert "cannot lock the run" in last_line(folder)


# damage between two processes

def unfinished(folder: Folder) -> list[Path]:
    return sorted(folder.results.glob(f"*{UNFINISHED}/*.safetensors"))


def test_a_truncated_checkpoint_falls_back_to_the_one_before(expected: dict, folder: Folder) -> None:
    folder.run(RUN, place="step", call=6)
    before, newest = unfinished(folder)
    os.truncate(newest, newest.stat().st_size // 2)
    go_on(folder, expected)
    assert "skipping a damaged checkpoint" in folder.said() and f"resuming from {before.stem}" in folder.said()


def test_with_no_readable_checkpoint_it_says_so_and_starts_over(expected: dict, folder: Folder) -> None:
    folder.run(RUN, place="step", call=6)
    for file in unfinished(folder):
        os.truncate(file.with_suffix(".json"), 30)
    go_on(folder, expected)
    assert "can be read; starting over" in folder.said()


def test_a_cache_damaged_between_two_processes_is_fetched_again(expected: dict, folder: Folder) -> None:
    folder.run(RUN, place="step", call=6, downloads=True)
    cache = folder.data / "digits.cache"
    os.truncate(cache, cache.stat().st_size // 2)
    go_on(folder, expected, downloads=True)
    assert "is damaged" in folder.said() and "resuming from" in folder.said()


def test_another_recipe_is_refused_with_the_difference(folder: Folder) -> None:
    folder.run(RUN, place="step", call=6)
    assert folder.run([*RUN, "--warmup", "0.3", "--resume"]) == 2
    assert "there, 0.3 here" in last_line(folder)
    assert unfinished(folder)


# clocks

@pytest.mark.parametrize("place, call", [("step", 5), ("remove", 1)])
def test_a_run_resumes_although_the_clock_runs_backwards(place: str, call: int, expected: dict, folder: Folder) -> None:
    assert folder.run(RUN, place=place, call=call, hours_back=1) == -9
    go_on(folder, expected, hours_back=10_000)


# concurrent runs

def test_of_two_identical_runs_the_second_says_who_holds_it(expected: dict, folder: Folder) -> None:
    first = folder.start(RUN, place="step", call=5, signal=signal.SIGSTOP)
    stopped(first)
    second = Folder(folder.path)
    second.log = folder.path / "second"
    assert second.run(RUN) == 1
    assert f"is being trained by process {first.pid} on {os.uname().nodename}, since " in last_line(second)
    assert second.run([*RUN, "--seed", "0", "1"]) == 0  # a command of several runs skips it
    assert f"process {first.pid}" in second.said() and "skipped" in second.said()
    os.kill(first.pid, signal.SIGCONT)
    assert ended(first) == 0
    records = {record["run"]["seed"]: record for record in check_complete(folder, 2)}
    assert outcome(records[0]) == expected


def test_four_processes_over_one_folder_finish_each_run_once(tmp_path: Path) -> None:
    """A fifth process, which starts first, is killed in the middle of a run, and another process completes that run."""
    argv = ["--task", "all", "--seed", "0", "1", "--widths", "4", "8", "--epochs", "1"]
    four = [Folder(tmp_path) for _ in range(5)]
    for number, folder in enumerate(four):
        folder.log = tmp_path / f"log{number}"
    killed = four[0].start(argv, place="score")
    processes = [folder.start(argv) for folder in four[1:]]
    assert ended(killed) == -9
    assert [ended(process, 300) for process in processes] == [0, 0, 0, 0], [folder.said() for folder in four]
    assert four[0].run(argv) == 0  # the run of the killed process, which was locked when the others tried it
    records = check_complete(four[0], 20)
    assert len({(r["run"]["task"], r["run"]["method"], r["run"]["seed"]) for r in records}) == 20
    assert sum(folder.said().count(": test accuracy ") for folder in four) == 20


def test_a_run_in_a_fresh_process_gives_the_same_record(tmp_path: Path) -> None:
    """The same command line in two separate processes gives the same losses and predictions."""
    results = []
    for name in ("a", "b"):
        command = [sys.executable, "_main.py", "--task", "1.2.3", "--dataset", "digits", "--quick", "--precision",
                   "float32", "--results-dir", str(tmp_path / name)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "estimated" in done.stdout
        assert "1.2.3 digits simclr seed 0: test accuracy" in done.stdout.splitlines()[-1]
        assert done.stderr == ""  # no progress bar without a terminal
        raw = json.loads((tmp_path / name / "1.2.3_digits_simclr_seed0_quick.json").read_text())
        results.append((raw["metrics"], [row["train_loss"] for row in raw["history"]], raw["artifacts"]))
    assert results[0] == results[1]
