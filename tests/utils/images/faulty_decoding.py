"""Set-ups of a decoding process that break or log its images, in place of chunks.set_up_worker().

In a module of their own that imports little, since every such process imports it.
"""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from utils.images import chunks


def _before_each_image(act: Callable[[Path], None]) -> None:
    fitted_image = chunks.fitted_image

    def replaced(path: Path, *size: int) -> Any:
        act(path)
        return fitted_image(path, *size)

    chunks.fitted_image = replaced
    chunks.set_up_worker()


def slow_and_logged(log: Path, seconds: float = 0.05) -> None:
    """One line per image: the process and the file; then it waits."""
    def act(path: Path) -> None:
        with log.open("a") as out:
            out.write(f"{os.getpid()} {path}\n")
        time.sleep(seconds)
    _before_each_image(act)


def impatient(log: Path) -> None:
    """Stops after each image, and writes its name to the log."""
    def act(path: Path) -> None:
        with log.open("a") as out:
            out.write(f"{path.name}\n")
    chunks.IMAGE_SECONDS = 0
    _before_each_image(act)


def slow_to_start(log: Path) -> None:
    """Writes the process to the log, and whether Ctrl-C is blocked; takes a second before the rest of its set-up."""
    with log.open("a") as out:
        out.write(f"{os.getpid()} {signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, [])}\n")
    time.sleep(1)
    chunks.set_up_worker()


def hanging(log: Path) -> None:
    """Writes the process to the log, then decodes nothing for a minute."""
    slow_and_logged(log, 60)


def deadly(once: Path) -> None:
    """`killer` kills its process, `unlucky` only the first time, `sleeper` takes 20 s."""
    def act(path: Path) -> None:
        if path.stem == "unlucky" and not once.exists():
            once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if path.stem == "killer":
            os.kill(os.getpid(), signal.SIGKILL)
        if path.stem == "sleeper":
            time.sleep(20)
    _before_each_image(act)


def cannot_start() -> None:
    raise SystemExit


def full_disk() -> None:
    def write(*_: object) -> None:
        raise OSError(28, "No space left on device")
    chunks.write_chunk = write
    chunks.set_up_worker()
