"""Images decoded in parallel, chunk by chunk, in separate processes.

An image that kills or blocks its process is left out, and nothing else is lost.  A finished chunk is a file, so that an
interrupted decoding can resume: a line of JSON ({place in the chunk: why it is unreadable}), then the pixels of all
other images; the file name holds its number and SHA-256.  The processes import no torch; they read jobs from stdin and
exit when it closes, however their parent ended.
"""

import contextlib
import hashlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np

from utils.errors import RunError
from utils.images.decoding import IMAGE_SECONDS

Chunk = tuple[dict[int, str], np.ndarray]  # place -> why it is unreadable; (R, side, side, 3) uint8 of the others

CHUNK_IMAGES = 256  # at most this many are lost per process by a kill
MOST_PROCESSES = 16  # each takes some 20 MB, and much more for a large image
CHILD = "from utils.images.decoding import serve; serve()"


def processes() -> int:
    """One per core that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, MOST_PROCESSES)


def finished_chunks(folder: Path, count: int, side: int) -> tuple[dict[int, Path], list[Path]]:
    """The intact chunk files of `count` images in a folder, by number, and the damaged ones."""
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
    """A chunk of `count` images.  Raises ValueError where its bytes do not match the SHA-256 in its name."""
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != file.name.partition("-")[2]:
        raise ValueError(f"{file} is damaged")
    start = content.index(b"\n") + 1
    unreadable = read_unreadable(file)
    pixels = np.frombuffer(content, np.uint8, offset=start)
    return unreadable, pixels.reshape(count - len(unreadable), side, side, 3)


def read_unreadable(file: Path) -> dict[int, str]:
    """The first part of read_chunk(), unverified."""
    with file.open("rb") as opened:
        return {int(place): why for place, why in json.loads(opened.readline()).items()}


def places(number: int, count: int) -> range:
    """The indices, of `count` images, that belong to a chunk."""
    return range(count)[number * CHUNK_IMAGES:(number + 1) * CHUNK_IMAGES]


def decode_all(title: str, files: list[Path], side: int, folder: Path, whole: dict[int, Path]) -> dict[int, Path]:
    """Decode all files into chunks in the folder, except for the existing ones (whole).  Returns all of them.

    Shows a progress bar on a terminal.  Raises RunError where a process cannot start or write.
    """
    from tqdm import tqdm

    numbers = range(-(-len(files) // CHUNK_IMAGES))
    left = [number for number in numbers if number not in whole]
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in left:
        waiting.put(number)
    threads, lock = min(processes(), len(left)), threading.Lock()
    done = sum(len(places(number, len(files))) for number in whole)
    with (tqdm(total=len(files), initial=done, desc=f"decoding {title}", unit="image", disable=None) as bar,
          Decoders() as decoders, ThreadPoolExecutor(max(1, threads)) as pool):
        def tick() -> None:
            with lock:
                bar.update()

        def work() -> None:
            process = decoders.start()
            while not decoders.stopped.is_set():
                try:
                    number = waiting.get_nowait()
                except queue.Empty:
                    break
                names = [str(files[i]) for i in places(number, len(files))]
                job = {"number": number, "files": names, "side": side, "folder": str(folder.absolute())}
                process = _decoded(job, process, decoders, tick)

        try:
            for worker in as_completed([pool.submit(work) for _ in range(threads)]):
                worker.result()
        finally:  # at the end, and after an error or Ctrl-C
            decoders.stop()
    return whole | {int(file.name.partition("-")[0]): file for number in left for file in folder.glob(f"{number:06}-*")}


class Decoders:
    """The decoding processes; all of them end with the block."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self.started: list[subprocess.Popen] = []

    def __enter__(self) -> "Decoders":
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()
        for process in self.started:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # data that was never sent
                    if pipe is not None:
                        pipe.close()

    def start(self) -> subprocess.Popen:
        """Start a process and wait until it is ready.  Ctrl-C does not reach it."""
        root = str(Path(__file__).resolve().parents[2])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, *filter(None, sys.path)]),
                       "PYTHONIOENCODING": "utf-8:surrogateescape", "OPENBLAS_NUM_THREADS": "1"}
        process = subprocess.Popen([sys.executable, "-P", "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, encoding="utf-8", errors="surrogateescape",
                                   env=environment, start_new_session=True)
        self.started.append(process)
        assert process.stdout is not None  # a pipe, see above
        if process.stdout.readline() != "ready\n" and not self.stopped.is_set():
            raise RunError(f"{sys.executable} could not be started to decode images")
        return process

    def stop(self) -> None:
        """Kill all processes; finished chunks remain."""
        self.stopped.set()
        for process in self.started:
            process.kill()


def _decoded(job: dict, process: subprocess.Popen, decoders: Decoders, tick: Callable[[], None]) -> subprocess.Popen:
    """Let a process decode a chunk.  Returns the process for the next one: a new one, if this one died.

    It may have run out of memory, so an image is refused only after two attempts.
    """
    refused: dict[str, str] = {}
    deaths: Counter[str] = Counter()
    ticked = 0
    while True:
        last = "start"  # its last line
        assert process.stdin is not None and process.stdout is not None  # pipes, see start()
        with contextlib.suppress(OSError):  # already dead
            process.stdin.write(json.dumps(job | {"refused": refused}) + "\n")
            process.stdin.flush()
        while line := process.stdout.readline():
            if decoders.stopped.is_set() or line == "done\n":
                return process
            if line.startswith("failed "):
                raise RunError(f"{job['folder']}: {line.removeprefix('failed ').strip()}")
            last = line.strip()
            if last.isdigit() and int(last) >= ticked:
                ticked = int(last) + 1
                tick()
        code = process.wait()
        if decoders.stopped.is_set():
            return process
        deaths[last] += 1
        too_long = hasattr(signal, "SIGALRM") and code == -signal.SIGALRM
        if deaths[last] == 2 and not last.isdigit():
            raise RunError(f"{job['folder']}: the decoding process ended with code {code}")
        if too_long or deaths[last] == 2:
            refused[last] = (f"decoding it took longer than {IMAGE_SECONDS} s" if too_long else
                             f"the decoding process ends with code {code}")
        process = decoders.start()
