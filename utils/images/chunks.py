"""Images decoded in parallel processes into one file of pixels.

An image that kills its process or holds it up is left out; no other image is lost.  Each finished chunk of images is a
line of a journal, so that an interrupted decoding resumes.

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
import time
from collections.abc import Iterator
from concurrent.futures import Future, as_completed
from errno import errorcode
from multiprocessing import resource_tracker
from pathlib import Path
from types import ModuleType

from pebble import ProcessExpired, ProcessFuture, ProcessPool

from utils.console import say
from utils.errors import RunError, reason
from utils.images.decoding import fitted_image

CHUNK_IMAGES = 64  # what a kill may cost each process; all of them together may take IMAGE_SECONDS
IMAGE_SECONDS = 60  # an image that takes longer counts as unreadable
MOST_PROCESSES = 16  # each takes some 20 MB, and much more while it decodes a large image
SAY_SECONDS = 120  # between two lines on the progress, without a terminal
PIXELS = "pixels"  # file: (side, side, 3) uint8 of every image, in order; zeros if it is unreadable
JOURNAL = "journal"  # file: one line of JSON for each finished chunk, see write_chunk()

# faults of disk, network or machine, which may pass, whereas the cache remembers an unreadable image for good
PASSING = {"EIO", "EREMOTEIO", "ESTALE", "ENOTCONN", "EMFILE", "ENFILE", "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN",
           "ENETUNREACH", "ECONNRESET", "ECONNABORTED", "ETIMEDOUT",
           "EDEADLK", "EDEADLOCK"}  # the last two, which are one: of files that are only in iCloud

Decoded = tuple[bytes, tuple[str, ...]] | str  # pixels and remarks of fitted_image(), or why the image is unreadable
Note = list[str] | str  # the same without the pixels


def workers() -> int:
    """One process per core that this process may use, up to MOST_PROCESSES."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_PROCESSES)


def digest_of(first: int, notes: list[Note], pixels: bytes) -> str:
    """SHA-256 of what is known of a chunk, whose first image has the number `first`."""
    return hashlib.sha256(json.dumps([first, notes]).encode() + pixels).hexdigest()


def write_chunk(first: int, decoded: list[Decoded], side: int, folder: Path) -> str:
    """Write a chunk's pixels and return its line for the journal: its first image, a note on each image, its digest.

    Raises OSError on a full disk.
    """
    size = side * side * 3
    notes: list[Note] = [one if isinstance(one, str) else list(one[1]) for one in decoded]
    pixels = b"".join(bytes(size) if isinstance(one, str) else one[0] for one in decoded)
    with (folder / PIXELS).open("r+b") as file:
        file.seek(first * size)
        file.write(pixels)
    return json.dumps([first, notes, digest_of(first, notes, pixels)])


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


def decode_chunk(first: int, files: list[Path], side: int, folder: Path) -> str:
    """Decode a chunk's images, or as many of them as half the time allows, and write their pixels.

    Returns the line for the journal.  Raises OSError on a full disk, and RunError if the disk does not answer: a
    TimeoutError would pass for that of the pool.
    """
    end, decoded = time.monotonic() + IMAGE_SECONDS / 2, list[Decoded]()
    for file in files:
        decoded.append(decode(file, side))
        if time.monotonic() > end:  # a slow network, say; the rest comes later
            break
    try:
        return write_chunk(first, decoded, side, folder)
    except TimeoutError as error:
        raise RunError(f"{folder}: {error.strerror}; give the same command again") from None


def raise_if_passing(file: Path, error: Exception) -> None:
    """RunError where the fault is not the image's: of disk, network or machine, or the file has gone meanwhile."""
    gone = False
    if isinstance(error, FileNotFoundError):  # a dead link, or a name that cannot be opened, is still listed
        try:
            gone = file.name not in os.listdir(file.parent)
        except OSError:  # the whole folder
            gone = True
    if gone or isinstance(error, OSError) and errorcode.get(error.errno or 0) in PASSING:
        raise RunError(f"{file}: {getattr(error, 'strerror', error)}; give the same command again") from None


def decode(file: Path, side: int) -> Decoded:
    """The bytes of (side, side, 3) uint8 pixels and remarks, or why the image cannot be read."""
    try:
        image, remarks = fitted_image(file, side, side, 3)
        return image.tobytes(), remarks
    except Exception as error:  # a damaged image may raise any exception
        raise_if_passing(file, error)
        text = str(error).replace(repr(str(file)), "").rstrip(" :")  # the list names the file already
        return reason(ValueError(text or type(error).__name__))


def decode_all(title: str, files: list[Path], side: int, folder: Path) -> list[Note]:
    """Decode all files into PIXELS in the folder, except for the chunks that it holds already.  A note on each image.

    The images of a chunk whose process dies or takes longer than IMAGE_SECONDS are decoded again, each as a chunk of
    its own.  Shows a progress bar on a terminal, a line now and then elsewhere.  Raises RunError if processes cannot be
    started, OSError on a full disk.
    """
    from tqdm import tqdm

    notes = _resume(title, len(files), side, folder)
    alone: list[int] = []  # images of chunks that failed
    said = time.monotonic()
    with (tqdm(total=len(files), initial=len(notes) - notes.count(None), desc=f"decoding {title}", unit="image",
               disable=None) as bar, (folder / JOURNAL).open("a") as journal,
          _pool(min(workers(), -(-notes.count(None) // CHUNK_IMAGES))) as pool):
        def start(first: int, count: int) -> ProcessFuture[str]:
            return pool.schedule(decode_chunk, (first, files[first:first + count], side, folder), timeout=IMAGE_SECONDS)

        def finish(line: str) -> None:
            nonlocal said
            first, new, _ = json.loads(line)
            bar.update(notes[first:first + len(new)].count(None))
            notes[first:first + len(new)] = new
            journal.write(f"\n{line}")  # a new line first, since a kill may have cut off the last one
            journal.flush()
            if bar.disable and time.monotonic() > said + SAY_SECONDS:
                said = time.monotonic()
                say(f"{title}: {len(notes) - notes.count(None):,} of {len(notes):,} images are decoded")

        while left := _missing(notes, alone):
            chunks: dict[Future[str], range] = {start(part.start, len(part)): part for part in left}
            for task in as_completed(chunks):
                try:
                    finish(task.result())
                except (TimeoutError, ProcessExpired):
                    alone += chunks[task]
        for image, task in [(image, start(image, 1)) for image in alone]:
            try:
                try:
                    finish(task.result())
                except ProcessExpired:  # perhaps for want of memory that others held
                    finish(start(image, 1).result())
            except TimeoutError:
                finish(write_chunk(image, [f"decoding it took longer than {IMAGE_SECONDS} s"], side, folder))
            except ProcessExpired as error:
                why = ("the process that decodes it was killed twice, perhaps for want of memory"
                       if error.exitcode == -9 else
                       f"the process that decodes it ends with code {error.exitcode}")
                finish(write_chunk(image, [why], side, folder))
    return [note for note in notes if note is not None]


def _missing(notes: list[Note | None], alone: list[int]) -> list[range]:
    """Chunks of neighbouring images that have no note yet and are not to be decoded alone."""
    chunks: list[range] = []
    for image in sorted({image for image, note in enumerate(notes) if note is None} - set(alone)):
        if chunks and chunks[-1].stop == image and image % CHUNK_IMAGES:
            chunks[-1] = range(chunks[-1].start, image + 1)
        else:
            chunks.append(range(image, image + 1))
    return chunks


def _resume(title: str, count: int, side: int, folder: Path) -> list[Note | None]:
    """A note on each of `count` images, None for those that no whole chunk of an interrupted start holds."""
    notes: list[Note | None] = [None] * count
    damaged = 0
    for name in (PIXELS, JOURNAL):
        (folder / name).touch()
    with (folder / PIXELS).open("rb") as file:
        for line in filter(None, (folder / JOURNAL).read_text(errors="replace").splitlines()):
            try:
                first, some, digest = json.loads(line)
                file.seek(first * side * side * 3)
                whole = digest == digest_of(first, some, file.read(len(some) * side * side * 3))
            except (ValueError, TypeError):
                whole = False
            if whole:
                notes[first:first + len(some)] = some
            damaged += not whole
    if damaged or notes.count(None) < count:
        say(f"{title}: resuming interrupted decoding: {count - notes.count(None):,} of {count:,} images are decoded"
            + (f"; {damaged} chunks are damaged and decoded again" if damaged else ""))
    return notes


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Ctrl-C comes after the block, and never to processes and threads that start in it, which this process ends."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # its start, which the pool's would need, ends by unblocking Ctrl-C
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _pool(count: int) -> Iterator[ProcessPool]:
    """Processes that end with the block, whatever ends it.  Raises RunError if they cannot be started.

    They are spawned, since a fork next to torch's threads may hang.  Each would import the main module, which may load
    torch or lack an `if __name__ == "__main__"`, if it were not replaced meanwhile.
    """
    pool = ProcessPool(max(1, count), initializer=set_up_worker, context=multiprocessing.get_context("spawn"))
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    started = False
    try:
        with _without_interrupts():
            started = pool.active  # which starts it
        yield pool
    except (RuntimeError, OSError) as error:
        if started and isinstance(error, OSError):  # of the disk
            raise
        cause = error.__cause__ if isinstance(error.__cause__, OSError) else error  # of pebble's BrokenProcessPool
        raise RunError(f"the processes that decode images failed: {reason(cause)}") from error
    finally:
        pool.stop()
        pool.join()
        sys.modules["__main__"] = main
