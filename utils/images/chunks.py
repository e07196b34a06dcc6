"""Images decoded in parallel processes, chunk by chunk.

An image that kills its process or holds it up is left out; no other image is lost.  Each finished chunk is a file, so
that an interrupted decoding resumes: a line of JSON with a note per image, then the pixels of all readable images.  Its
name holds its number and its SHA-256.

Each process imports this module, which therefore imports neither NumPy nor torch.
"""

import contextlib
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, as_completed
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from utils.console import say
from utils.errors import RunError, reason
from utils.files import write_atomically
from utils.images.decoding import fitted_image

if TYPE_CHECKING:
    import numpy as np

CHUNK_IMAGES = 64  # what a kill may cost each process; all of them together may take IMAGE_SECONDS
IMAGE_SECONDS = 60  # an image that takes longer counts as unreadable
MOST_PROCESSES = 16  # each takes some 20 MB, and much more while it decodes a large image

Decoded = tuple[bytes, tuple[str, ...]] | str  # pixels and remarks of fitted_image(), or why the image is unreadable
Note = list[str] | str  # the same without the pixels


def workers() -> int:
    """One process per core that this process may use, up to MOST_PROCESSES."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_PROCESSES)


# The file of a chunk


def write_chunk(number: int, decoded: list[Decoded], folder: Path) -> Path:
    """Write the images of a chunk as its file.  Raises OSError on a full disk."""
    notes = [one if isinstance(one, str) else one[1] for one in decoded]
    content = json.dumps(notes).encode() + b"\n" + b"".join(one[0] for one in decoded if not isinstance(one, str))
    path = folder / f"{number:06}-{hashlib.sha256(content).hexdigest()}"
    write_atomically(path, lambda file: file.write(content))
    return path


def read_notes(file: Path) -> list[Note]:
    """A note for each of the chunk's images."""
    with file.open("rb") as opened:
        return json.loads(opened.readline())


def read_chunk(file: Path, side: int) -> "np.ndarray":
    """A chunk's readable images, (R, side, side, 3) uint8.  RunError unless its bytes have the SHA-256 in its name."""
    import numpy as np

    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != file.name.partition("-")[2]:
        raise RunError(f"{file} is damaged; start again to decode it again")
    return np.frombuffer(content, np.uint8, offset=content.index(b"\n") + 1).reshape(-1, side, side, 3)


# In a process that decodes


def set_up_worker() -> None:
    """Prepare a process of the pool: silent, ended at once by SIGTERM, and ended whenever its parent ends."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff and others print their complaints
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # pebble's handler would wait for the image to be decoded
    parent = multiprocessing.parent_process()
    assert parent is not None, "only a process that multiprocessing started calls this"

    def end_with_parent() -> None:  # pebble notices a killed parent only between two tasks
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def decode_chunk(number: int, files: list[Path], side: int, folder: Path) -> Path:
    """Decode a chunk's images and write its file.  Raises OSError on a full disk."""
    return write_chunk(number, [decode(file, side) for file in files], folder)


def decode(file: Path, side: int) -> Decoded:
    """The bytes of (side, side, 3) uint8 pixels and remarks, or why the image cannot be read."""
    try:
        image, remarks = fitted_image(file, side, side, 3)
        return image.tobytes(), remarks
    except Exception as error:  # a damaged image may raise any exception
        text = str(error).replace(repr(str(file)), "").rstrip(" :")  # the list names the file already
        return reason(ValueError(text or type(error).__name__))


# In the process that wants the images


def decode_all(title: str, files: list[Path], side: int, folder: Path) -> list[Path]:
    """Decode all files into chunks in the folder, except for chunks that it holds already.  Returns all in order.

    A chunk whose process dies or takes longer than IMAGE_SECONDS is decoded again, each image as a task of its own.
    Shows a progress bar on a terminal.  Raises RunError if processes cannot be started, OSError on a full disk.
    """
    from tqdm import tqdm

    chunks = [files[start:start + CHUNK_IMAGES] for start in range(0, len(files), CHUNK_IMAGES)]
    finished, failed = _finished_chunks(title, folder, chunks, side), []
    left = [number for number in range(len(chunks)) if number not in finished]
    with (tqdm(total=len(files), initial=sum(len(chunks[number]) for number in finished), desc=f"decoding {title}",
               unit="image", disable=None) as bar, _pool(min(workers(), len(left))) as pool):
        tasks: dict[Future[Path], int] = {
            pool.schedule(decode_chunk, (number, chunks[number], side, folder), timeout=IMAGE_SECONDS): number
            for number in left}
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
    return [finished[number] for number in range(len(chunks))]


def _finished_chunks(title: str, folder: Path, chunks: list[list[Path]], side: int) -> dict[int, Path]:
    """The whole chunks that an interrupted start left of these, by number.  Deletes damaged ones."""
    whole, damaged = {}, 0
    for file in sorted(folder.glob("[0-9]*-*")):
        try:
            read_chunk(file, side)
            whole[int(file.name.partition("-")[0])] = file
        except (OSError, ValueError, RunError):
            file.unlink()
            damaged += 1
    if whole or damaged:
        done, count = sum(len(chunks[number]) for number in whole), sum(map(len, chunks))
        say(f"{title}: resuming an interrupted start: {done:,} of {count:,} images are decoded"
            + (f"; {damaged} chunks are damaged and decoded again" if damaged else ""))
    return whole


def _one_by_one(pool: ProcessPool, files: list[Path], side: int) -> list[Decoded]:
    """The pixels of each file, or why it is left out."""
    def start(file: Path) -> ProcessFuture[Decoded]:
        return pool.schedule(decode, (file, side), timeout=IMAGE_SECONDS)

    decoded: list[Decoded] = []
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
def _pool(count: int) -> Iterator[ProcessPool]:
    """Processes that end with the block, whatever ends it.  Raises RunError if they cannot be started.

    They are spawned, since a fork next to torch's threads may hang.  Each would import the main module, which may load
    torch or lack an `if __name__ == "__main__"`, if it were not replaced meanwhile.
    """
    pool = ProcessPool(max(1, count), initializer=set_up_worker, context=multiprocessing.get_context("spawn"))
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
