"""Train on a folder of images whose cache is larger than the allowed memory, and on the same arrays in memory.

    python benchmarks/larger_than_memory.py --json larger.json            200,000 images, 2.4 GB under a limit of 2 GiB
    python benchmarks/larger_than_memory.py --images 20000 --limit 1024   a first look

Generates images (coloured shapes on noise, with broken files of several kinds among them), starts to build the cache,
kills that half-way with SIGKILL and starts it again.  Then two processes train alternately: one with the memory-mapped
cache under the limit, one with the same arrays in memory and no limit.  Each turn draws random images from all of
them.  Building the cache is under the limit as well.

The limit includes the page cache if the system allows setting one on a control group (cgroup v2 or v1, or through
systemd-run); otherwise only anonymous memory is limited (RLIMIT_DATA), and the output says so.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the project, wherever this is called from

from benchmarks.common import (
    Contestant,
    Timed,
    add_json_flag,
    even_recipe,
    print_table,
    round_robin,
    spread,
    whole,
    write_json,
)
from training.tasks import TASKS
from utils.command_line import Parser, check_output, exit_code
from utils.errors import RunError, UsageError
from utils.images.chunks import CHUNK_IMAGES, JOURNAL, workers
from utils.images.datasets import check_dataset
from utils.recipe import ENCODER_WIDTHS

EXAMPLES = """examples:
  python benchmarks/larger_than_memory.py --json larger.json            some twenty minutes on two cores
  python benchmarks/larger_than_memory.py --images 20000 --limit 1024   a first look
  python benchmarks/larger_than_memory.py --folder kept --encoder mlp   keeps the images; a quick network

"""
ROOT = Path(__file__).resolve().parent.parent
TASK = "1.2.2"  # one view per image and one network: of the three tasks it consumes images fastest
SHAPES = ("circle", "cross", "ring", "square", "triangle")
NOISES = 200  # backgrounds, which are reused
ENTER = 'echo $$ > "$0/cgroup.procs" && exec "$@"'
MEMORY_SECONDS = 0.05  # between samples of a process's memory


def parse(argv: list[str]) -> argparse.Namespace:
    """Read the command line.  Raises UsageError."""
    parser = Parser(EXAMPLES, usage="python benchmarks/larger_than_memory.py [options]",
                    description="Train on a folder of images larger than memory.")
    parser.add_argument("--images", type=whole(500), default=200_000, metavar="N", help="images (default 200000)")
    parser.add_argument("--broken", type=whole(0), default=100, metavar="N",
                        help="broken files among them (default 100)")
    parser.add_argument("--image-size", type=whole(1), default=64, metavar="N",
                        help="side of the images in the cache, pixels (default 64)")
    parser.add_argument("--limit", type=whole(256), default=2048, metavar="MIB",
                        help="memory limit of building and training, MiB (default 2048)")
    parser.add_argument("--encoder", default="conv", choices=("conv", "mlp"),
                        help="conv: two small blocks; mlp: faster still, so that reading counts more")
    parser.add_argument("--batch-size", type=whole(2), default=100, metavar="N", help="images per step (default 100)")
    parser.add_argument("--steps", type=whole(1), default=100, metavar="N", help="steps per turn (default 100)")
    parser.add_argument("--rounds", type=whole(1), default=5, metavar="N", help="turns per process (default 5)")
    parser.add_argument("--folder", type=Path, metavar="DIR",
                        help="keep images and cache here, and reuse existing ones (default: a temporary folder)")
    parser.add_argument("--shared", action="store_true",
                        help="the machine is shared: exclude the time spent waiting for a core (Linux)")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"),
                        help="number format of both trainings (default float32)")
    add_json_flag(parser)
    arguments = parser.parse_args(argv)
    check_dataset("folder:images", arguments.image_size)
    if arguments.steps * arguments.batch_size > arguments.images // 2:
        raise UsageError("--steps times --batch-size: a turn uses at most half of --images")
    check_output(arguments.json, "--json", (".json",))
    return arguments


def main(argv: list[str]) -> None:
    """Generate images, build the cache, train, print and write the JSON.  Raises UsageError and RunError."""
    arguments = parse(argv)
    with contextlib.ExitStack() as stack:
        folder = arguments.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="larger-")))
        need = arguments.images * (3 * 3 * arguments.image_size ** 2 + 8192)  # cache and chunks, twice; the files
        folder.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(folder).free < need:
            raise RunError(f"{folder} has less than {need / 1e9:.0f} GB free; --folder chooses another place")
        limit = stack.enter_context(memory_limit(arguments.limit * 2**20))
        print(f"memory limit of {arguments.limit} MiB: {limit.how}", flush=True)
        make_images(folder / "images", arguments.images, arguments.broken, arguments.image_size)
        settings = {key: value for key, value in vars(arguments).items() if key not in ("folder", "json")}
        measured: dict[str, Any] = {"settings": settings, "limited_by": limit.how}
        measured["building"] = build(folder, arguments.images + arguments.broken, arguments.image_size, limit)
        measured["training"] = train(folder, arguments, limit)
    write_json(arguments.json, measured)


# The limit


@dataclass(frozen=True)
class Limit:
    """How memory is limited.  prefix: put before a command to run it under the limit; group: its cgroup."""

    how: str
    prefix: list[str]
    group: Path | None = None


@contextlib.contextmanager
def memory_limit(size: int) -> Iterator[Limit]:
    """The strictest limit of this many bytes that the system allows."""
    for parent, file in cgroups():
        group = parent / f"larger-than-memory-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        try:
            (group / file).write_text(str(size))
            with contextlib.suppress(OSError):  # systems without swap have no such file
                (group / "memory.swap.max").write_text("0")
            subprocess.run(["sh", "-c", ENTER, group, "true"], check=True, stderr=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError):  # no permission to limit the memory of this group
            group.rmdir()
            continue
        try:
            yield Limit(f"{file} of a control group, including the page cache", ["sh", "-c", ENTER, str(group)], group)
        finally:
            with contextlib.suppress(OSError):  # a process is still ending
                group.rmdir()
        return
    scope = ["systemd-run", "--user", "--scope", "--quiet", "-p", f"MemoryMax={size}", "-p", "MemorySwapMax=0"]
    with contextlib.suppress(OSError):
        if subprocess.run([*scope, "true"], capture_output=True).returncode == 0:
            yield Limit("MemoryMax of a systemd scope, including the page cache", scope)
            return
    yield Limit("without the page cache: no control group can be made here, so only anonymous memory is limited "
                "(RLIMIT_DATA)", ["sh", "-c", f'ulimit -d {size // 1024} && exec "$0" "$@"'])


def cgroups() -> Iterator[tuple[Path, str]]:
    """Control groups in which a new one might be made, each with the name of the file that limits its memory."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "memory":
                yield Path("/sys/fs/cgroup/memory") / path.lstrip("/"), "memory.limit_in_bytes"
            elif controllers == "":
                own = Path("/sys/fs/cgroup") / path.lstrip("/")
                yield from ((own, "memory.max"), (own.parent, "memory.max"))


class Watched:
    """Samples the anonymous memory of a process and its children; peak in MiB."""

    def __init__(self, pid: int) -> None:
        self.pid, self.peak, self.ended = pid, 0.0, threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def __enter__(self) -> "Watched":
        self.thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.ended.set()
        self.thread.join()

    def watch(self) -> None:
        while not self.ended.wait(MEMORY_SECONDS):
            self.peak = max(self.peak, sum(map(anonymous_mib, [self.pid, *children(self.pid)])))


def anonymous_mib(pid: int) -> float:
    """RssAnon of a process; 0 if the system does not report it."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) / 1024
    return 0.0


def children(pid: int) -> list[int]:
    """Ids of a process's children."""
    with contextlib.suppress(OSError):
        return [int(word) for task in Path(f"/proc/{pid}/task").iterdir()
                for word in (task / "children").read_text().split()]
    return []


# The images


def make_images(folder: Path, count: int, broken: int, side: int) -> None:
    """Write JPEGs into one sub-folder per shape, with broken files among them; an existing folder is kept."""
    import numpy as np
    from PIL import Image, ImageDraw

    if folder.exists():
        print(f"images: those in {folder}")
        return
    start, rng = time.monotonic(), random.Random(0)
    noise = np.random.default_rng(0).integers(0, 160, (NOISES, side, side, 3), np.uint8)
    backgrounds = [Image.fromarray(pixels) for pixels in noise]
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    for name in SHAPES:
        (unfinished / name).mkdir(parents=True)
    for number in range(count):
        image, name = rng.choice(backgrounds).copy(), SHAPES[number % len(SHAPES)]
        draw_shape(ImageDraw.Draw(image), name, side, rng)
        image.save(unfinished / name / f"{number:07}.jpg", quality=90)
    for number in range(broken):
        break_image(unfinished / SHAPES[number % len(SHAPES)], number)
    unfinished.rename(folder)
    seconds = time.monotonic() - start
    print(f"images: {count:,} made in {seconds:.0f} s, and {broken} broken files", flush=True)


def draw_shape(draw: Any, name: str, side: int, rng: random.Random) -> None:
    """Draw a shape of random colour, size and position."""
    colour = tuple(rng.randrange(100, 256) for _ in range(3))
    r = rng.uniform(0.15, 0.3) * side
    x, y = (rng.uniform(r, side - r) for _ in range(2))
    box = (x - r, y - r, x + r, y + r)
    if name == "circle":
        draw.ellipse(box, fill=colour)
    elif name == "ring":
        draw.ellipse(box, outline=colour, width=max(2, side // 16))
    elif name == "square":
        draw.rectangle(box, fill=colour)
    elif name == "triangle":
        draw.polygon([(x - r, y + r), (x + r, y + r), (x, y - r)], fill=colour)
    else:
        draw.line((x - r, y, x + r, y), fill=colour, width=max(2, side // 16))
        draw.line((x, y - r, x, y + r), fill=colour, width=max(2, side // 16))


def break_image(folder: Path, number: int) -> None:
    """Add a broken file: truncated, text, empty, a folder or a dead link."""
    file = folder / f"broken{number:05}.jpg"
    kind = number // len(SHAPES) % 5
    if kind == 0:
        whole_image = next(folder.glob("0*.jpg")).read_bytes()
        file.write_bytes(whole_image[: len(whole_image) // 2])
    elif kind == 1:
        file.with_suffix(".png").write_text("no image")
    elif kind == 2:
        file.touch()
    elif kind == 3:
        file.mkdir()
    else:
        file.symlink_to("nowhere")


# Building the cache


def build(folder: Path, count: int, side: int, limit: Limit) -> dict[str, Any]:
    """Start, kill half-way and start again.  Prints and returns seconds, images/s and peak memory."""
    def started() -> subprocess.Popen:
        code = ("import sys; from pathlib import Path; from utils.images.datasets import load_dataset; "
                "load_dataset(f'folder:{sys.argv[1]}', Path(sys.argv[2]), int(sys.argv[3]))")
        words = [str((folder / "images").resolve()), str((folder / "data").resolve()), str(side)]
        return subprocess.Popen([*limit.prefix, sys.executable, "-c", code, *words], cwd=ROOT)

    if (folder / "data").exists():
        print("cache: exists already, so building it is not timed")
        return {}
    half, start, first = count // 2, time.monotonic(), 0.0
    process = started()
    with Watched(process.pid) as memory:
        while process.poll() is None and finished_images(folder) < half:
            first = first or (time.monotonic() if finished_images(folder) else 0.0)
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done, seconds = finished_images(folder), time.monotonic() - first
    print(f"cache, first start: killed with SIGKILL after {time.monotonic() - start:.0f} s, {done:,} of {count:,} "
          f"images decoded; {done / seconds:.0f} images/s in {workers()} processes", flush=True)
    again = time.monotonic()
    process = started()
    with Watched(process.pid) as more:
        if process.wait():
            raise RunError("the cache could not be built")
    rest = time.monotonic() - again
    peak = max(memory.peak, more.peak)
    print(f"cache, second start: {rest:.0f} s for the other {count - done:,}, including listing the folder, "
          f"checking existing chunks and merging; peak anonymous memory of all processes {peak:.0f} MiB", flush=True)
    return {"decoded_before_kill": done, "images_per_second": done / seconds, "seconds_second_start": rest,
            "peak_anonymous_mib": peak}


def finished_images(folder: Path) -> int:
    """Images in finished chunks; the last chunk may be smaller."""
    return CHUNK_IMAGES * sum(path.read_text().count("\n") for path in (folder / "data").glob(f".*.chunks/{JOURNAL}"))


# Training


def train(folder: Path, arguments: argparse.Namespace, limit: Limit) -> dict[str, Any]:
    """Train alternately in both.  Prints and returns images/s of each, their ratio and peak memory."""
    job = {"folder": str((folder / "images").resolve()), "data_dir": str((folder / "data").resolve()),
           "size": arguments.image_size, "encoder": arguments.encoder, "batch_size": arguments.batch_size,
           "steps": arguments.steps, "precision": arguments.precision, "shared": arguments.shared}
    print("\ntraining: both start", flush=True)
    with trainer(job | {"mapped": True}, limit.prefix) as mapped, trainer(job | {"mapped": False}, []) as in_memory:
        for one in (mapped, in_memory):
            one.answer()  # when its data is loaded
        forget(folder / "data")
        turns = {"memory-mapped, under the limit": mapped, "in memory, no limit": in_memory}
        timings = round_robin([Contestant(name, one.turn) for name, one in turns.items()], arguments.rounds)
        peaks = {name: one.memory.peak for name, one in turns.items()}
    speeds = {name: spread(timed) | {"peak_anonymous_mib": peaks[name]} for name, timed in timings.items()}
    ours, theirs = (row["images_per_second"] for row in speeds.values())
    columns = ("images_per_second", "lowest", "highest", "peak_anonymous_mib")
    rows = [[name, *(f"{row[column]:.1f}" for column in columns)] for name, row in speeds.items()]
    print_table(f"{TASK} {TASKS[TASK].title}, {arguments.encoder}, batches of {arguments.batch_size}, median of "
                f"{arguments.rounds} turns{', without waiting for a core' if arguments.shared else ''}",
                ["", "images/s", "lowest", "highest", "peak anonymous MiB"], rows)
    cache = sum(file.stat().st_size for file in (folder / "data").glob("*/*.npy"))
    charged = peak_of_group(limit.group)
    print(f"memory-mapped is {100 * ours / theirs:.1f} % as fast; the cache has {cache / 2**20:.0f} MiB"
          + (f", the limited group used at most {charged:.0f} MiB" if charged else ""), flush=True)
    return {"contestants": speeds, "ratio": ours / theirs, "cache_mib": cache / 2**20, "group_peak_mib": charged}


def forget(folder: Path) -> None:
    """Drop the cache's files from the page cache, where pages read by others do not count for the limited group."""
    for file in folder.glob("*/*.npy"):
        with contextlib.suppress(OSError, AttributeError), file.open("rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def peak_of_group(group: Path | None) -> float | None:
    """Peak memory of a control group in MiB, including the page cache; None if unknown."""
    for name in ("memory.peak", "memory.max_usage_in_bytes"):
        if group is not None and (group / name).exists():
            return int((group / name).read_text()) / 2**20
    return None


class Trainer:
    """A process that runs train_turns()."""

    def __init__(self, process: subprocess.Popen[str], memory: Watched) -> None:
        assert process.stdin and process.stdout  # pipes
        self.process, self.memory, self.stdin, self.stdout = process, memory, process.stdin, process.stdout

    def turn(self) -> Timed:
        """Train for one turn."""
        with contextlib.suppress(OSError):
            self.stdin.write("turn\n")
            self.stdin.flush()
        return Timed(**self.answer())

    def answer(self) -> dict[str, Any]:
        """Its next answer.  Raises RunError if it has died."""
        line = self.stdout.readline()
        if not line:
            raise RunError(f"the training process ended with code {self.process.wait()}")
        return json.loads(line)


@contextlib.contextmanager
def trainer(job: dict[str, Any], prefix: list[str]) -> Iterator[Trainer]:
    """A training process that waits for its turns and ends with the block."""
    code = "from benchmarks.larger_than_memory import train_turns; train_turns()"
    process = subprocess.Popen([*prefix, sys.executable, "-c", code, json.dumps(job)], cwd=ROOT, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    with process, Watched(process.pid) as memory:
        yield Trainer(process, memory)


def train_turns() -> None:
    """In a separate process: for each line on stdin, train for some steps and answer with a line of JSON (Timed)."""
    import numpy as np
    import torch

    from benchmarks.contestants import VALIDATION_IMAGES, set_up, train_timed
    from utils.images.datasets import load_dataset
    from utils.images.on_device import DeviceData

    job = json.loads(sys.argv[1])
    dataset = load_dataset(f"folder:{job['folder']}", Path(job["data_dir"]), job["size"])
    if not job["mapped"]:
        dataset = replace(dataset, train_images=np.array(dataset.train_images))
    with contextlib.redirect_stdout(sys.stderr):
        setup = set_up("cpu", job["precision"])
    data = DeviceData.load(dataset, setup.device)
    recipe = replace(even_recipe(TASK, dataset.recipe_family, job["encoder"]), batch_size=job["batch_size"],
                     widths=ENCODER_WIDTHS[job["encoder"]])
    generator = torch.Generator().manual_seed(0)
    print("{}", flush=True)
    for _ in sys.stdin:
        chosen = torch.randperm(len(data.train), generator=generator)[: job["steps"] * job["batch_size"]]
        val = data.val[:VALIDATION_IMAGES]
        turn = replace(data, train=data.train[chosen], labelled=data.train[chosen], val=val, selection=val)
        start, waited = time.monotonic(), waiting_seconds()
        timed = train_timed(TASK, recipe, turn, setup)
        share = (waiting_seconds() - waited) / (time.monotonic() - start) if job["shared"] else 0.0
        print(json.dumps({"seconds": timed.seconds * (1 - share), "images": timed.images}), flush=True)


def waiting_seconds() -> float:
    """Seconds that this process's main thread was ready to run but waited for a core; excludes waiting for the disk."""
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/schedstat").read_text().split()[1]) / 1e9
    return 0.0


if __name__ == "__main__":
    sys.exit(exit_code(lambda: main(sys.argv[1:]), "nothing was written"))
