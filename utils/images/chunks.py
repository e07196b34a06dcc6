"""Images decoded in parallel processes, chunk by chunk.

An image that kills its process or holds it up is left out; no other image is lost.  Each finished chunk is a file, so
that an interrupted decoding resumes: a line of JSON ({place in the chunk: why it is unreadable}), then the pixels of
all other images.  Its name holds its number and its SHA-256.
"""

import contextlib
import hashlib
import json
import multiprocessing
import os
import sys
from collections.abc import Iterator
from concurrent.futures import as_completed
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from utils.errors import RunError, reason
from utils.images.decoding import decode_chunk, pixels_or_reason, set_up_worker, write_chunk

if TYPE_CHECKING:
    from pebble import ProcessPool

Chunk = tuple[dict[int, str], np.ndarray]  # place -> why it is unreadable; (R, side, side, 3) uint8 of all others

CHUNK_IMAGES = 64  # what a kill may cost each process; all of them together may take IMAGE_SECONDS
IMAGE_SECONDS = 60  # an image that takes longer counts as unreadable
MOST_PROCESSES = 16  # each takes some 20 MB, and much more while it decodes a large image


def processes() -> int:
    """One process per core that this process may use, up to MOST_PROCESSES."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_PROCESSES)


def finished_chunks(folder: Path, count: int, side: int) -> tuple[dict[int, Path], list[Path]]:
    """The files of the whole chunks of `count` images in a folder, by number, and the damaged files."""
    whole, damaged = {}, []
    for file in sorted(folder.glob("[0-9]*-*")):
        try:
            number = int(file.name.partition("-")[0])
            read_chunk(file, len(places(number, count)), side)
            whole[number] = file
        except (OSError, ValueError):
            damaged.append(file)
    return whole, damaged


def read_chunk(file: Path, count: int, side: int) -> Chunk:
    """A chunk of `count` images.  Raises ValueError unless its bytes have the SHA-256 in its name."""
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != file.name.partition("-")[2]:
        raise ValueError(f"{file} is damaged")
    start = content.index(b"\n") + 1
    unreadable = read_unreadable(file)
    pixels = np.frombuffer(content, np.uint8, offset=start)
    return unreadable, pixels.reshape(count - len(unreadable), side, side, 3)


def read_unreadable(file: Path) -> dict[int, str]:
    """The first half of read_chunk(), unverified."""
    with file.open("rb") as opened:
        return {int(place): why for place, why in json.loads(opened.readline()).items()}


def places(number: int, count: int) -> range:
    """Which of `count` images a chunk holds."""
    return range(count)[number * CHUNK_IMAGES:(number + 1) * CHUNK_IMAGES]


def decode_all(title: str, files: list[Path], side: int, folder: Path, whole: dict[int, Path]) -> dict[int, Path]:
    """Decode all files into chunks in the folder, except for those in `whole`.  Returns all chunks, by number.

    A chunk whose process dies or takes longer than IMAGE_SECONDS is decoded again, each image as a task of its own.
    Shows a progress bar on a terminal.  Raises RunError if processes cannot be started, OSError on a full disk.
    """
    from pebble import ProcessExpired
    from tqdm import tqdm

    chunks = {number: [files[place] for place in places(number, len(files))]
              for number in range(-(-len(files) // CHUNK_IMAGES))}
    left = [number for number in chunks if number not in whole]
    failed = []
    with (tqdm(total=len(files), initial=sum(len(chunks[number]) for number in whole), desc=f"decoding {title}",
               unit="image", disable=None) as bar,
          _worker_pool(min(processes(), len(left))) as pool):
        tasks = {pool.schedule(decode_chunk, (number, chunks[number], side, folder), timeout=IMAGE_SECONDS): number
                 for number in left}
        finished = dict(whole)
        for task in as_completed(tasks):
            number = tasks[task]
            try:
                finished[number] = task.result()
                bar.update(len(chunks[number]))
            except (TimeoutError, ProcessExpired):
                failed.append(number)
        for number in failed:
            finished[number] = write_chunk(number, _one_by_one(pool, chunks[number], side), folder)
            bar.update(len(chunks[number]))
    return finished


def _one_by_one(pool: "ProcessPool", files: list[Path], side: int) -> list[bytes | str]:
    """Pixels of each file or why it is left out, decoded so that none can spoil another."""
    from pebble import ProcessExpired, ProcessFuture

    def start(file: Path) -> "ProcessFuture[bytes | str]":
        return pool.schedule(pixels_or_reason, (file, side), timeout=IMAGE_SECONDS)

    decoded: list[bytes | str] = []
    for file, task in [(file, start(file)) for file in files]:
        try:
            try:
                decoded.append(task.result())
            except ProcessExpired:  # perhaps for want of memory that others held
                decoded.append(start(file).result())
        except TimeoutError:
            decoded.append(f"decoding it took longer than {IMAGE_SECONDS} s")
        except ProcessExpired as error:
            decoded.append(f"the process that decodes it ends with code {error.exitcode}")
    return decoded


@contextlib.contextmanager
def _worker_pool(workers: int) -> Iterator["ProcessPool"]:
    """Processes that end with the block, whatever ends it.  Raises RunError if they cannot be started.

    They are spawned, since a fork beside torch's threads may hang.  Each would import the caller's main module, which
    may have no `if __name__ == "__main__"` or load torch, if it found one.
    """
    from pebble import ProcessPool

    pool = ProcessPool(max(1, workers), initializer=set_up_worker, context=multiprocessing.get_context("spawn"))
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield pool
    except RuntimeError as error:
        raise RunError(f"the processes that decode images failed: {reason(error)}") from error
    finally:
        pool.stop()
        pool.join()
        sys.modules["__main__"] = main
