"""The expected results of undisturbed runs, computed once per test process."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.harness import TASKS, Folder, check_complete, outcome


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[dict[str, Any], float]]:
    """Function from a task to the outcome of its undisturbed run, and the seconds that it takes."""
    kept: dict[str, tuple[dict[str, Any], float]] = {}

    def of(task: str) -> tuple[dict[str, Any], float]:
        if task not in kept:
            folder = Folder(tmp_path_factory.mktemp("whole"))
            folder.start(["--help"]).join()  # the first process waits for the imports
            begun = time.monotonic()
            assert folder.run(TASKS[task]) == 0, folder.said()
            seconds = time.monotonic() - begun
            kept[task] = outcome(check_complete(folder)[0]), seconds
        return kept[task]
    return of


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)
