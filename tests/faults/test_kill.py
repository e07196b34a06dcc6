"""kill -9 at any moment: the same command resumes, and its record equals an uninterrupted run's."""

import random

import pytest

from tests.faults.harness import TASKS, Folder, check_complete, check_readable, ended, outcome
from utils.records.schema import UNFINISHED

KILLS = 13  # of each of four tasks, at random moments


def finish(folder: Folder, argv: list[str], expected: dict, **fault) -> None:
    """The same command again must complete the run, with the outcome of an undisturbed run."""
    check_readable(folder)
    assert folder.run(argv, **fault) == 0, folder.said()
    assert outcome(check_complete(folder)[0]) == expected


@pytest.mark.parametrize("task", TASKS)
def test_a_run_killed_at_random_moments_resumes(task: str, whole, tmp_path) -> None:
    expected, seconds = whole(task)
    moments, kills, runs = random.Random(TASKS[task][1]), 0, 0
    while kills < KILLS:
        runs += 1
        folder = Folder(tmp_path / str(runs))
        for _ in range(4):  # kills per run; later ones hit a run that was already resumed
            process = folder.start(TASKS[task])
            process.join(moments.uniform(0, seconds))
            process.kill()
            if ended(process) == 0:  # it ended before the kill
                break
            kills += 1
            check_readable(folder)
            names = folder.names()
            if any(name.endswith(".json") for name in names) and not any(UNFINISHED in name for name in names):
                break  # killed after its work was done: the same command would start another run
        else:
            finish(folder, TASKS[task], expected)
            continue
        assert outcome(check_complete(folder)[0]) == expected


@pytest.mark.parametrize("place, calls", [
    ("step", (1, 5, 9)), ("fsync", (1, 2, 3, 4, 30, 49, 51, 53, 55)), ("replace", (1, 2, 14, 25, 26, 27, 28)),
    ("validate", (3,)), ("score", (1,)), ("record", (1,)), ("unlink", (3, 4, 17, 18, 19)),
])
def test_a_run_killed_just_before_a_critical_call_resumes(place: str, calls: tuple[int, ...], whole, tmp_path) -> None:
    """Kills within checkpoints, between their two files, between .npz and .json, and before their removal."""
    expected, _ = whole("rotation")
    for call in calls:
        folder = Folder(tmp_path / str(call))
        assert folder.run(TASKS["rotation"], place=place, call=call) == -9, (call, folder.said())
        finish(folder, TASKS["rotation"], expected)


@pytest.mark.parametrize("largest", [1000, 100_000, 1_000_000])
def test_a_run_killed_while_it_writes_a_file_resumes(largest: int, whole, folder: Folder) -> None:
    """The system kills the process at this byte of the first file that is large enough: checkpoint or weights."""
    assert folder.run(TASKS["rotation"], largest=largest, dies=True) < 0
    finish(folder, TASKS["rotation"], whole("rotation")[0])


@pytest.mark.parametrize("place, call", [("part", 1), ("part", 3), ("fsync", 1), ("replace", 1), ("replace", 2)])
def test_a_run_killed_during_a_download_downloads_again(place: str, call: int, whole, folder: Folder) -> None:
    """Kills before a file, between two files, while the cache is written, and just before and after its renaming."""
    assert folder.run(TASKS["rotation"], place=place, call=call, downloads=True) == -9
    finish(folder, TASKS["rotation"], whole("rotation")[0], downloads=True)
