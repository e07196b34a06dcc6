"""Decoding in parallel: interrupted, with damaged chunks, with images that kill or hang their process."""

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.context import SpawnProcess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.utils.images import faulty_decoding
from tests.utils.images.samples import ROOT, in_one_process, leftovers, load_folder, sha256_of, unreadable
from utils.errors import RunError
from utils.images import chunks, image_folder
from utils.images.splits import PARTS


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_IMAGES", 4)
    monkeypatch.setattr(chunks, "workers", lambda: 2)


def test_parallel_decoding_gives_the_bytes_of_serial_decoding(pets: Path, tmp_path: Path, small_chunks: None) -> None:
    random = np.random.default_rng(0)
    for file in pets.glob("*/*.png"):
        Image.fromarray(random.integers(0, 256, (50, 40, 3), np.uint8)).save(file)
    expected = in_one_process(pets)
    dataset = load_folder(pets, tmp_path / "data")
    assert all(np.array_equal(getattr(dataset, part), expected[part]) for part in PARTS)
    assert dataset.sha256 == sha256_of(expected)


def running(processes: set[int]) -> bool:
    """Whether one of these processes exists and has not ended."""
    for process in processes:
        with contextlib.suppress(OSError):
            if "\nState:\tZ" not in Path(f"/proc/{process}/status").read_text():
                return True
    return False


def logged(log: Path) -> tuple[set[int], int]:
    """Which processes faulty_decoding logged, and for how many images."""
    lines = log.read_text().splitlines() if log.exists() else []
    return {int(line.split()[0]) for line in lines}, len(lines)


def start_decoding(pets: Path, data_dir: Path, set_up: str, log: Path) -> subprocess.Popen:
    """A process that decodes a folder, with a function of faulty_decoding, and no `if __name__ == "__main__"`."""
    script = log.with_suffix(".py")
    script.write_text(f"""
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # which a test run behind & or nohup ignores
from functools import partial
from pathlib import Path
from tests.utils.images import faulty_decoding
from utils.images import chunks, datasets
chunks.CHUNK_IMAGES, chunks.workers = 4, lambda: 3
chunks.set_up_worker = partial(faulty_decoding.{set_up}, Path({str(log)!r}))
datasets.load_dataset({f"folder:{pets}"!r}, Path({str(data_dir)!r}))
""")
    with log.with_suffix(".err").open("w") as errors:
        return subprocess.Popen([sys.executable, script], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
                                stderr=errors, start_new_session=True)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def finished_chunks(data_dir: Path) -> int:
    return sum(path.read_text().count("\n") for path in data_dir.glob(f".*.chunks/{chunks.JOURNAL}"))


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="looks at processes in /proc")


@needs_proc
def test_decoding_killed_half_way_resumes_and_leaves_no_process(
        pets: Path, tmp_path: Path, small_chunks: None, monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str]) -> None:
    log, data_dir = tmp_path / "log", tmp_path / "data"
    builder = start_decoding(pets, data_dir, "slow_and_logged", log)
    wait_for(lambda: finished_chunks(data_dir) >= 3)
    builder.kill()
    assert builder.wait() == -9
    wait_for(lambda: not running(logged(log)[0]))
    finished = finished_chunks(data_dir)
    assert 3 <= finished < 8
    log.unlink()
    monkeypatch.setattr(chunks, "set_up_worker", partial(faulty_decoding.slow_and_logged, log))
    dataset = load_folder(pets, data_dir)
    assert f"{4 * finished} of 30 images are decoded" in capfd.readouterr().err
    assert logged(log)[1] == 30 - 4 * finished
    expected = in_one_process(pets)
    assert all(np.array_equal(getattr(dataset, part), expected[part]) for part in PARTS)
    assert len(list(data_dir.iterdir())) == 2  # the cache and the lock


@needs_proc
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_processes_that_hang_in_an_image_end_with_their_parent(blow: int, pets: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    builder = start_decoding(pets, tmp_path / "data", "hanging", log)
    wait_for(lambda: logged(log)[1] == 3)
    os.killpg(builder.pid, blow) if blow == signal.SIGINT else builder.send_signal(blow)
    assert builder.wait(timeout=20) == -blow
    wait_for(lambda: not running(logged(log)[0]))


@needs_proc
def test_an_interrupt_while_processes_start_is_the_parents_alone(pets: Path, tmp_path: Path) -> None:
    """A terminal sends Ctrl-C to all of them, and each would print a traceback."""
    log = tmp_path / "log"
    builder = start_decoding(pets, tmp_path / "data", "slow_to_start", log)
    wait_for(lambda: logged(log)[1] == 3)
    os.killpg(builder.pid, signal.SIGINT)
    assert builder.wait(timeout=20) == -signal.SIGINT
    assert log.with_suffix(".err").read_text().count("Traceback") == 1
    assert {line.split()[1] for line in log.read_text().splitlines()} == {"True"}
    wait_for(lambda: not running(logged(log)[0]))


@pytest.fixture
def interrupted(pets: Path, tmp_path: Path, small_chunks: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pets, of which all chunks are decoded and nothing more was done."""
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(image_folder, "_write_splits", interrupt)
        with pytest.raises(KeyboardInterrupt):
            load_folder(pets, tmp_path / "data")
    assert finished_chunks(tmp_path / "data") == 8
    return pets


def cut_a_line(folder: Path) -> None:
    """As a kill may leave the last one; here it is the fourth."""
    lines = (folder / chunks.JOURNAL).read_text().split("\n")
    (folder / chunks.JOURNAL).write_text("\n".join([*lines[:4], lines[4][:-5], *lines[5:]]))


def change_a_note(folder: Path) -> None:
    text = (folder / chunks.JOURNAL).read_text()
    (folder / chunks.JOURNAL).write_text(text.replace("[]", '["a"]', 1))


def turn_a_bit(folder: Path) -> None:
    pixels = bytearray((folder / chunks.PIXELS).read_bytes())
    pixels[5 * 32 * 32 * 3] ^= 1
    (folder / chunks.PIXELS).write_bytes(pixels)


@pytest.mark.parametrize("damage", [cut_a_line, change_a_note, turn_a_bit])
def test_damaged_chunk_is_decoded_again(damage: Callable[[Path], None], interrupted: Path, tmp_path: Path,
                                        capfd: pytest.CaptureFixture[str]) -> None:
    [folder] = (tmp_path / "data").glob(".*.chunks")
    damage(folder)
    dataset = load_folder(interrupted, tmp_path / "data")
    said = capfd.readouterr().err
    assert "26 of 30 images are decoded" in said and "1 chunks are damaged" in said
    expected = in_one_process(interrupted)
    assert all(np.array_equal(getattr(dataset, part), expected[part]) for part in PARTS)


def test_chunks_left_next_to_a_finished_cache_are_deleted(pets: Path, tmp_path: Path) -> None:
    load_folder(pets, tmp_path / "data")
    [cache] = leftovers(tmp_path / "data")
    (tmp_path / "data" / f".{cache}.0123456789abcdef.chunks").mkdir()
    load_folder(pets, tmp_path / "data")
    assert leftovers(tmp_path / "data") == [cache]


def test_chunks_of_a_folder_that_has_changed_are_deleted(interrupted: Path, tmp_path: Path,
                                                         capfd: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (32, 32), (7, 7, 7)).save(interrupted / "cat" / "00.png")
    dataset = load_folder(interrupted, tmp_path / "data")
    said = capfd.readouterr().err
    assert "have changed" in said and "resuming" not in said
    expected = in_one_process(interrupted)
    assert all(np.array_equal(getattr(dataset, part), expected[part]) for part in PARTS)
    assert len(list((tmp_path / "data").iterdir())) == 2


def test_an_image_that_kills_or_hangs_its_process_is_left_out(
        pets: Path, tmp_path: Path, small_chunks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("killer", "sleeper", "unlucky"):
        (pets / "cat" / f"{name}.png").write_bytes((pets / "cat" / "00.png").read_bytes())
    once = tmp_path / "once"
    monkeypatch.setattr(chunks, "IMAGE_SECONDS", 1)
    monkeypatch.setattr(chunks, "set_up_worker", partial(faulty_decoding.deadly, once))
    dataset = load_folder(pets, tmp_path / "data")
    assert sum(map(sum, dataset.class_counts().values())) == 31 and once.exists()
    assert unreadable(tmp_path / "data") == {
        "cat/killer.png": "the process that decodes it was killed twice, perhaps for want of memory",
        "cat/sleeper.png": "decoding it took longer than 1 s"}


@pytest.mark.parametrize("error, passing", [(errno.EIO, True), (errno.ESTALE, True), (errno.ETIMEDOUT, True),
                                            (errno.EDEADLK, True), (errno.ENOENT, True), (errno.EACCES, False),
                                            (None, False)])
def test_a_fault_that_may_pass_ends_the_decoding_and_is_not_remembered(
        error: int | None, passing: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(error, "Input/output error") if error else OSError("image file is truncated")

    monkeypatch.setattr(chunks, "fitted_image", fail)
    if passing:
        with pytest.raises(RunError, match="a.png: Input/output error; give the same command again"):
            chunks.decode(tmp_path / "a.png", 8)
    else:
        assert isinstance(chunks.decode(tmp_path / "a.png", 8), str)


def test_a_slow_chunk_keeps_what_it_has_and_the_rest_follows(
        pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    """On a slow network no image is to blame, so none may be decoded twice."""
    files, decoded = sorted(pets.glob("*/*.png")), []
    monkeypatch.setattr(chunks, "IMAGE_SECONDS", 0.0)
    monkeypatch.setattr(chunks, "fitted_image", lambda file, *_: decoded.append(file) or (Image.new("RGB", (8, 8)), ()))
    (tmp_path / chunks.PIXELS).touch()
    done = 0
    while done < len(files):
        first, notes, _ = json.loads(chunks.decode_chunk(done, files[done:], 8, tmp_path))
        assert (first, notes) == (done, [[]])
        done += len(notes)
    assert decoded == files
    assert chunks._missing([None, [], None, None, "bad", None], alone=[3]) == [range(1), range(2, 3), range(5, 6)]
    assert chunks._missing([None] * 100, []) == [range(64), range(64, 100)]


def test_chunks_that_stop_half_way_give_the_bytes_of_serial_decoding(
        pets: Path, tmp_path: Path, small_chunks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    for file in pets.glob("*/*.png"):
        Image.fromarray(random.integers(0, 256, (50, 40, 3), np.uint8)).save(file)
    log = tmp_path / "log"
    monkeypatch.setattr(chunks, "set_up_worker", partial(faulty_decoding.impatient, log))
    dataset = load_folder(pets, tmp_path / "data")
    assert dataset.sha256 == sha256_of(in_one_process(pets))
    assert sorted(log.read_text().split()) == sorted(file.name for file in pets.glob("*/*.png"))  # each of them once


def test_a_disk_that_does_not_answer_is_no_fault_of_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: object) -> str:
        raise OSError(errno.ETIMEDOUT, "Connection timed out")

    monkeypatch.setattr(chunks, "write_chunk", write)
    with pytest.raises(RunError, match="Connection timed out; give the same command again"):
        chunks.decode_chunk(0, [], 8, tmp_path)
    (tmp_path / "listed.png").symlink_to("nowhere")  # is left out, as long as it is there
    assert "No such file" in chunks.decode(tmp_path / "listed.png", 8)


@pytest.mark.parametrize("set_up, words", [("cannot_start", "the processes that decode images failed"),
                                           ("full_disk", "No space left on device")])
def test_processes_that_cannot_work_end_the_run_with_one_line(
        set_up: str, words: str, pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "set_up_worker", getattr(faulty_decoding, set_up))
    with pytest.raises(RunError, match=words):
        load_folder(pets, tmp_path / "data")


def test_a_system_without_room_for_processes_is_no_fault_of_the_data_folder(
        pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with ulimit -u, where the second process cannot start."""
    started: list[SpawnProcess] = []

    def start(process: SpawnProcess, really: Callable[[SpawnProcess], None] = SpawnProcess.start) -> None:
        if started:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
        started.append(process)
        really(process)

    monkeypatch.setattr(SpawnProcess, "start", start)
    monkeypatch.setattr(chunks, "CHUNK_IMAGES", 4)
    monkeypatch.setattr(chunks, "workers", lambda: 2)
    with pytest.raises(RunError, match="the processes that decode images failed: .*Resource temporarily unavailable"):
        load_folder(pets, tmp_path / "data")
    started[0].join(20)
    assert started[0].exitcode is not None


def test_decoding_leaves_the_main_module_in_place(pets: Path, tmp_path: Path) -> None:
    main = sys.modules["__main__"]
    load_folder(pets, tmp_path / "data")
    assert sys.modules["__main__"] is main


def test_the_decoding_process_loads_nothing_heavy() -> None:
    heavy = ["torch", "numpy", "pydantic", "PIL", "tqdm"]
    code = f"import sys, utils.images.chunks; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
