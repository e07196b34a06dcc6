"""Folders of images: scanning, decoding in parallel, interruption, caches larger than memory."""

import mmap
import os
import shutil
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from tests.images.helpers import empty, leftovers, sha256_of, truncate
from utils.errors import RunError, UsageError
from utils.images import chunks, datasets, image_folder
from utils.images.datasets import check_dataset, load_dataset
from utils.images.decoding import decode_image
from utils.images.splits import PARTS, Arrays, read_ahead, stratified_split

ROOT = Path(__file__).parents[2]


# Folders of images


def write_images(folder: Path, count: int, value: int, mode: str = "RGB", suffix: str = ".png") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        Image.new(mode, (40, 36), value + i if mode == "L" else (value, i, 0)).save(folder / f"{i:02}{suffix}")


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Twenty cats with red 200 and ten dogs with red 100; green is the image's number."""
    write_images(tmp_path / "my pets" / "dog", 10, 100)
    write_images(tmp_path / "my pets" / "cat", 20, 200)
    return tmp_path / "my pets"


def load_folder(path: Path, data_dir: Path) -> datasets.Dataset:
    return load_dataset(f"folder:{path}", data_dir)


def test_folder(pets: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (pets / ".ipynb_checkpoints").mkdir()
    dataset = load_folder(pets, tmp_path / "data")
    assert (dataset.name, dataset.classes, dataset.source) == ("folder-my-pets", ("cat", "dog"), "folder")
    assert (dataset.recipes, dataset.image_shape) == ("cifar10", (3, 32, 32))
    assert isinstance(dataset.train_images, np.memmap) and isinstance(dataset.test_images, np.memmap)
    assert dataset.train_images.shape == (24, 32, 32, 3) and dataset.train_images.dtype == np.uint8
    assert type(dataset.train_labels) is np.ndarray and dataset.train_labels.dtype == np.int64
    assert dataset.class_counts() == {"train": [14, 7], "val": [2, 1], "test": [4, 2]}
    for images, labels in ((dataset.train_images, dataset.train_labels), (dataset.test_images, dataset.test_labels)):
        assert np.array_equal(images[:, 5, 5, 0], np.where(labels == 0, 200, 100))
    greens = [*dataset.train_images[:, 0, 0, 1], *dataset.test_images[:, 0, 0, 1]]
    assert sorted(greens) == sorted([*range(20), *range(10)])
    arrays = {part: np.asarray(getattr(dataset, part)).astype(np.uint8) for part in PARTS}
    assert dataset.sha256 == sha256_of(arrays)
    assert capfd.readouterr().err == ""


def test_folder_is_decoded_once(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_folder(pets, tmp_path / "data")
    monkeypatch.setattr(image_folder, "decode_all", None)  # decoding anything now would fail
    second = load_folder(pets, tmp_path / "data")
    assert first.sha256 == second.sha256 and np.array_equal(first.train_images, second.train_images)
    assert len(leftovers(tmp_path / "data")) == 1


def test_folder_that_changed_is_decoded_anew(pets: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first = load_folder(pets, tmp_path / "data")
    Image.new("RGB", (32, 32), (7, 7, 7)).save(pets / "cat" / "00.png")
    second = load_folder(pets, tmp_path / "data")
    assert first.sha256["train_images"] != second.sha256["train_images"] or (
        first.sha256["test_images"] != second.sha256["test_images"])
    assert 7 in [*second.train_images[:, 0, 0, 0], *second.test_images[:, 0, 0, 0]]
    assert "changed" in capfd.readouterr().err
    write_images(pets / "dog", 12, 100)
    assert sum(map(sum, load_folder(pets, tmp_path / "data").class_counts().values())) == 32
    assert len(leftovers(tmp_path / "data")) == 1


@pytest.mark.parametrize("damage", [truncate, empty, lambda path: path.write_text("{}"), os.remove])
@pytest.mark.parametrize("name", ["train_images.npy", "test_labels.npy", "cache.json"])
def test_folder_cache_that_is_damaged(
        name: str, damage: Callable[[Path], None], pets: Path, tmp_path: Path,
        capfd: pytest.CaptureFixture[str]) -> None:
    first = load_folder(pets, tmp_path / "data")
    [cache] = [path for path in (tmp_path / "data").iterdir() if path.is_dir()]
    kept = np.array(first.train_images)
    damage(cache / name)
    second = load_folder(pets, tmp_path / "data")
    assert "is damaged" in capfd.readouterr().err
    assert first.sha256 == second.sha256 and np.array_equal(kept, second.train_images)


def test_folders_of_the_same_name_do_not_share_a_cache(pets: Path, tmp_path: Path) -> None:
    write_images(tmp_path / "other" / "my pets" / "cat", 10, 50)
    write_images(tmp_path / "other" / "my pets" / "dog", 10, 60)
    load_folder(pets, tmp_path / "data")
    other = load_folder(tmp_path / "other" / "my pets", tmp_path / "data")
    assert set(other.train_images[:, 0, 0, 0].tolist()) == {50, 60}
    assert len(load_folder(pets, tmp_path / "data").train_images) == 24
    assert len(leftovers(tmp_path / "data")) == 2


def test_unreadable_images_are_left_out_and_named(
        pets: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (pets / "cat" / "broken.png").write_bytes(b"no image")
    truncate(pets / "cat" / "03.png")
    Image.fromarray(np.zeros((40, 40), np.float32)).save(pets / "dog" / "float.tif")
    (pets / "dog" / "notes.txt").write_text("not an image by its name")
    (pets / "dog" / "._00.png").write_bytes(b"hidden")
    for _ in range(2):  # decoded, then from the cache
        dataset = load_folder(pets, tmp_path / "data")
        assert sum(map(sum, dataset.class_counts().values())) == 29
        corners = [*dataset.train_images[:, 0, 0].tolist(), *dataset.test_images[:, 0, 0].tolist()]
        labels = [*dataset.train_labels, *dataset.test_labels]
        found = sorted((label, *corner) for label, corner in zip(labels, corners, strict=True))
        assert found == [*((0, 200, i, 0) for i in range(20) if i != 3), *((1, 100, i, 0) for i in range(10))]
        told = capfd.readouterr().err
        assert "3 unreadable" in told and "'cat/03.png', 'cat/broken.png', 'dog/float.tif'" in told


def png_header(width: int, height: int) -> bytes:
    """The start of a PNG file of that size, with next to none of its pixels."""
    chunks = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(bytes(99))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks)


def unreadable(data_dir: Path) -> dict[str, str]:
    """The list beside the cache: name -> reason."""
    [file] = data_dir.glob("*/unreadable.txt")
    return dict(line.split(": ", 1) for line in file.read_text().splitlines())


def test_every_kind_of_broken_file_is_listed_with_its_reason(
        pets: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    cat, dog = pets / "cat", pets / "dog"
    (cat / "text.png").write_text("no image")
    (cat / "empty.jpg").touch()
    (cat / "folder.png").mkdir()
    (cat / "folder.png" / "inside.png").write_bytes((cat / "00.png").read_bytes())  # is one
    (cat / "dead.png").symlink_to("nowhere")
    (cat / "loop.png").symlink_to("loop.png")
    (cat / "link.png").symlink_to(dog / "00.png")  # is one
    os.mkfifo(cat / "pipe.png")  # whoever opened it would wait for ever
    (dog / "bomb.png").write_bytes(png_header(60_000, 60_000))
    (dog / "large.png").write_bytes(png_header(10_000, 10_000))  # of which Pillow only warns
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)).save(dog / "cut.jpg")
    truncate(dog / "cut.jpg")
    Image.fromarray(np.zeros((40, 40), np.int32)).save(dog / "deep.tif")
    (dog / os.fsdecode(b"\xff.png")).write_bytes((dog / "00.png").read_bytes())  # is one
    (dog / os.fsdecode(b"\xfe.png")).write_text("no image")
    dataset = load_folder(pets, tmp_path / "data")
    assert sum(map(sum, dataset.class_counts().values())) == 33
    expected = {"cat/text.png": "cannot identify", "cat/empty.jpg": "cannot identify", "cat/folder.png": "directory",
                "cat/dead.png": "No such file", "cat/loop.png": "symbolic links", "cat/pipe.png": "no regular file",
                "dog/bomb.png": "decompression bomb", "dog/large.png": "decompression bomb", "dog/cut.jpg": "truncated",
                "dog/deep.tif": "32-bit", "dog/\\udcfe.png": "cannot identify"}
    listed = unreadable(tmp_path / "data")
    assert listed.keys() == expected.keys()
    for name, words in expected.items():
        assert words in listed[name] and str(pets) not in listed[name], listed[name]
    told = capfd.readouterr().err
    assert "11 unreadable" in told and "unreadable.txt" in told and len(told.splitlines()) == 1


# Decoding in parallel, interrupted, with processes that die


def child(body: str) -> str:
    """What runs in place of chunks.CHILD: the same, with `body` done before an image at `path` is decoded."""
    return f"""
import os, signal, time
from pathlib import Path
from utils.images import decoding
fitted_image = decoding.fitted_image
def replaced(path, *size):
    {body}
    return fitted_image(path, *size)
decoding.fitted_image, decoding.IMAGE_SECONDS = replaced, 1
decoding.serve()
"""


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_IMAGES", 4)
    monkeypatch.setattr(chunks, "processes", lambda: 3)


def in_one_process(path: Path) -> Arrays:
    """PARTS of a folder, decoded one after the other, without chunks."""
    files = sorted(path.glob("*/*.png"))
    labels = np.array([sorted({file.parent for file in files}).index(file.parent) for file in files])
    pixels = np.stack([decode_image(file, 32, 32) for file in files])
    train, test = stratified_split(labels, 0.2, seed=0)
    return {"train_images": pixels[train], "train_labels": labels[train].astype(np.uint8),
            "test_images": pixels[test], "test_labels": labels[test].astype(np.uint8)}


def test_parallel_decoding_gives_the_bytes_of_serial_decoding(pets: Path, tmp_path: Path, small_chunks: None) -> None:
    random = np.random.default_rng(0)
    for file in pets.glob("*/*.png"):
        Image.fromarray(random.integers(0, 256, (50, 40, 3), np.uint8)).save(file)
    expected = in_one_process(pets)
    dataset = load_folder(pets, tmp_path / "data")
    assert all(np.array_equal(getattr(dataset, part), expected[part]) for part in PARTS)
    assert dataset.sha256 == sha256_of(expected)


def still_running(marker: str) -> bool:
    """Whether a process has these words in its command line."""
    return any(marker.encode() in path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if path.exists())


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks at processes in /proc")
def test_killed_half_way_it_goes_on_where_it_was(
        pets: Path, tmp_path: Path, small_chunks: None, monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str]) -> None:
    log, data_dir = tmp_path / "log", tmp_path / "data"
    slow = child(f"open({str(log)!r}, 'a').write(f'{{path}}\\n'); time.sleep(0.05)")
    code = (f"from pathlib import Path; from utils.images import chunks, datasets\nchunks.CHUNK_IMAGES = 4\n"
            f"chunks.CHILD = {slow!r}\ndatasets.load_dataset({f'folder:{pets}'!r}, Path({str(data_dir)!r}))")
    builder = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    deadline = time.monotonic() + 30
    while len(list(data_dir.glob(".*.chunks/[0-9]*"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    builder.kill()
    assert builder.wait() == -9
    while still_running(str(log)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not still_running(str(log))  # what it had started ended by itself
    finished = len(list(data_dir.glob(".*.chunks/[0-9]*")))
    assert 3 <= finished < 8
    log.unlink()
    monkeypatch.setattr(chunks, "CHILD", slow)
    dataset = load_folder(pets, data_dir)
    assert f"{4 * finished} of 30 images are decoded" in capfd.readouterr().err
    assert len(log.read_text().splitlines()) == 30 - 4 * finished
    expected = in_one_process(pets)
    assert all(np.array_equal(getattr(dataset, part), expected[part]) for part in PARTS)
    assert len(list(data_dir.iterdir())) == 2  # the cache and the lock


@pytest.fixture
def interrupted(pets: Path, tmp_path: Path, small_chunks: None, monkeypatch: pytest.MonkeyPatch) -> Path:
    """pets, of which all chunks are decoded and nothing more was done."""
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(image_folder, "_write_splits", interrupt)
        with pytest.raises(KeyboardInterrupt):
            load_folder(pets, tmp_path / "data")
    assert len(list((tmp_path / "data").glob(".*.chunks/*"))) == 8
    return pets


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def turn_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [cut, empty, turn_a_bit])
def test_damaged_chunk_is_decoded_again(damage: Callable[[Path], None], interrupted: Path, tmp_path: Path,
                                        capfd: pytest.CaptureFixture[str]) -> None:
    chunks = sorted((tmp_path / "data").glob(".*.chunks/*"))
    damage(chunks[3])
    (chunks[0].parent / ".000001.99.tmp").write_bytes(b"half")
    dataset = load_folder(interrupted, tmp_path / "data")
    told = capfd.readouterr().err
    assert "26 of 30 images are decoded" in told and "1 chunks are damaged" in told
    expected = in_one_process(interrupted)
    assert all(np.array_equal(getattr(dataset, part), expected[part]) for part in PARTS)


def test_chunks_that_a_kill_left_beside_a_finished_cache_are_deleted(pets: Path, tmp_path: Path) -> None:
    load_folder(pets, tmp_path / "data")
    [cache] = leftovers(tmp_path / "data")
    (tmp_path / "data" / f".{cache}.0123456789abcdef.chunks").mkdir()
    load_folder(pets, tmp_path / "data")
    assert leftovers(tmp_path / "data") == [cache]


def test_chunks_of_a_folder_that_has_changed_are_deleted(interrupted: Path, tmp_path: Path,
                                                         capfd: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (32, 32), (7, 7, 7)).save(interrupted / "cat" / "00.png")
    dataset = load_folder(interrupted, tmp_path / "data")
    told = capfd.readouterr().err
    assert "have changed" in told and "going on" not in told
    expected = in_one_process(interrupted)
    assert all(np.array_equal(getattr(dataset, part), expected[part]) for part in PARTS)
    assert len(list((tmp_path / "data").iterdir())) == 2


def test_image_that_kills_or_holds_up_its_process_is_left_out(
        pets: Path, tmp_path: Path, small_chunks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("killer", "sleeper", "unlucky"):
        (pets / "cat" / f"{name}.png").write_bytes((pets / "cat" / "00.png").read_bytes())
    once = tmp_path / "once"
    monkeypatch.setattr(chunks, "CHILD", child(
        "if path.stem == 'killer': os.kill(os.getpid(), signal.SIGKILL)\n"
        "    if path.stem == 'sleeper': time.sleep(20)\n"
        f"    if path.stem == 'unlucky' and not os.path.exists({str(once)!r}):\n"
        f"        open({str(once)!r}, 'w').close(); os.kill(os.getpid(), signal.SIGKILL)"))
    dataset = load_folder(pets, tmp_path / "data")
    assert sum(map(sum, dataset.class_counts().values())) == 31 and once.exists()
    assert unreadable(tmp_path / "data") == {
        "cat/killer.png": "the decoding process ends with code -9",
        "cat/sleeper.png": "decoding it took longer than 60 s"}


@pytest.mark.parametrize("code, words", [
    ("raise SystemExit", "could not be started"),
    ("print('ready', flush=True); input(); print('failed No space left', flush=True)", "No space left"),
    ("print('ready', flush=True)", "ended with code 0")])
def test_processes_that_cannot_work_end_the_run(code: str, words: str, pets: Path, tmp_path: Path,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHILD", code)
    with pytest.raises(RunError, match=words):
        load_folder(pets, tmp_path / "data")


def test_the_decoding_process_loads_nothing_heavy() -> None:
    code = "import sys, utils.images.decoding; print([n for n in ('torch', 'numpy', 'pydantic') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Other sizes


def test_image_size_has_a_cache_and_a_name_of_its_own(pets: Path, tmp_path: Path) -> None:
    small, large = (load_dataset(f"folder:{pets}", tmp_path / "data", size) for size in (None, 48))
    assert (small.name, large.name) == ("folder-my-pets", "folder-my-pets-48px")
    assert (small.image_shape, large.image_shape) == ((3, 32, 32), (3, 48, 48))
    assert large.train_images.shape == (24, 48, 48, 3) and len(leftovers(tmp_path / "data")) == 2
    assert np.array_equal(small.train_labels, large.train_labels)
    again = load_dataset(f"folder:{pets}", tmp_path / "data", 32)
    assert (again.name, again.sha256) == (small.name, small.sha256)


@pytest.mark.parametrize("name, size, words", [
    ("folder:x", 30, "--image-size 30: must be a multiple of 4, 8 to 256"), ("folder:x", 4, "8 to 256"),
    ("folder:x", 260, "8 to 256"), ("folder:x", 0, "8 to 256"), ("folder:x", -32, "8 to 256"),
    ("cifar10", 32, "belongs to folder:PATH")])
def test_image_size_that_does_not_fit(name: str, size: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check_dataset(name, size)


# Larger than memory


@pytest.mark.parametrize("side", [4, 37])
def test_reading_ahead_takes_any_row_of_a_map_and_changes_nothing(side: int, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (50, side, side, 3), np.uint8)
    np.save(tmp_path / "x.npy", pixels)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    read_ahead(mapped, np.arange(50))
    assert np.array_equal(mapped, pixels)
    read_ahead(pixels, np.arange(50))  # nothing to do


def test_reading_ahead_asks_for_every_byte_of_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[range] = []

    class Map(mmap.mmap):
        def madvise(self, option: int, start: int, length: int) -> None:
            assert option == mmap.MADV_WILLNEED and start % mmap.PAGESIZE == 0
            asked.append(range(start, start + length))

    np.save(tmp_path / "x.npy", np.zeros((50, 37, 37, 3), np.uint8))
    with (tmp_path / "x.npy").open("rb") as file:
        mapped = SimpleNamespace(base=Map(file.fileno(), 0, access=mmap.ACCESS_READ), strides=(4107, 111, 3, 1),
                                 offset=128)
    monkeypatch.setattr(np, "memmap", SimpleNamespace)
    read_ahead(mapped, np.array([49, 0, 7]))
    for row, found in zip([49, 0, 7], asked, strict=True):
        first = 128 + row * 4107
        assert first in found and first + 4106 in found and found.stop == first + 4107


def test_folder_with_train_and_test(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for split, count, value in (("train", 10, 10), ("test", 3, 200)):
        for name in ("a", "b"):
            write_images(tmp_path / "set" / split / name, count, value)
    dataset = load_folder(tmp_path / "set", tmp_path / "data")
    assert dataset.classes == ("a", "b")
    assert dataset.class_counts() == {"train": [9, 9], "val": [1, 1], "test": [3, 3]}
    assert set(dataset.train_images[:, 0, 0, 0].tolist()) == {10}
    assert set(dataset.test_images[:, 0, 0, 0].tolist()) == {200}


def test_image_kinds(tmp_path: Path) -> None:
    """Suffixes in any case, and nested folders, count; grey, palette and alpha images become RGB."""
    kinds = [("RGB", ".JPG"), ("L", ".jpeg"), ("P", ".gif"), ("RGBA", ".png"), ("LA", ".PNG"), ("RGB", ".bmp"),
             ("RGB", ".webp"), ("CMYK", ".tif"), ("L", ".TIFF"), ("1", ".png")]
    for folder in (tmp_path / "set" / "a" / "nested", tmp_path / "set" / "b"):
        folder.mkdir(parents=True)
        for i, (mode, suffix) in enumerate(kinds):
            Image.new(mode, (50, 40)).save(folder / f"{i}{suffix}")
        colours = Image.new("P", (50, 40))
        colours.putpalette(list(range(256)) * 3)
        colours.save(folder / "see-through.png", transparency=bytes(range(256)))  # Pillow warns of such files
    assert load_folder(tmp_path / "set", tmp_path / "data").class_counts() == {
        "train": [8, 8], "val": [1, 1], "test": [2, 2]}


def test_decode_image_crops_the_centre(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 96, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert np.array_equal(decode_image(tmp_path / "wide.png", 32, 32), pixels[:, 32:64])
    Image.fromarray(pixels.transpose(1, 0, 2)).save(tmp_path / "high.png")
    assert np.array_equal(decode_image(tmp_path / "high.png", 32, 32), pixels.transpose(1, 0, 2)[32:64])


def test_decode_image_scales_the_shorter_side(tmp_path: Path) -> None:
    pixels = np.zeros((64, 128, 3), np.uint8)
    pixels[:, 32:64, 0], pixels[:, 64:96, 1] = 255, 255  # the centre: left half red, right half green
    for suffix in (".png", ".jpg"):
        large = Image.fromarray(pixels).resize((1280, 640), Image.Resampling.NEAREST)
        large.save(tmp_path / f"large{suffix}", **({"quality": 95} if suffix == ".jpg" else {}))
        decoded = decode_image(tmp_path / f"large{suffix}", 32, 32).astype(int)
        assert np.abs(decoded[:, 2:14] - [255, 0, 0]).max() < 8
        assert np.abs(decoded[:, 18:30] - [0, 255, 0]).max() < 8


def test_decode_image_of_16_bits(tmp_path: Path) -> None:
    pixels = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32) * 64
    Image.fromarray(pixels).save(tmp_path / "deep.png")
    decoded = decode_image(tmp_path / "deep.png", 32, 32)
    assert np.array_equal(decoded, np.repeat((pixels // 256)[..., None], 3, axis=2))


def refused(path: Path, tmp_path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        load_folder(path, tmp_path / "data")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "data").exists() or leftovers(tmp_path / "data") == []
    return str(caught.value)


def test_folder_that_is_missing_or_a_file(tmp_path: Path) -> None:
    assert "no folder" in refused(tmp_path / "missing", tmp_path)
    (tmp_path / "file").touch()
    assert "not a folder" in refused(tmp_path / "file", tmp_path)


def test_folder_without_classes(tmp_path: Path) -> None:
    write_images(tmp_path / "flat", 30, 0)
    assert "has 0 class folders" in refused(tmp_path / "flat", tmp_path)
    write_images(tmp_path / "one" / "cat", 30, 0)
    text = refused(tmp_path / "one", tmp_path)
    assert "has 1 class folders" in text and "one per class" in text


def test_folder_with_too_few_images(pets: Path, tmp_path: Path) -> None:
    (pets / "dog" / "00.png").unlink()
    assert "class 'dog' has 9 readable images, but at least 10" in refused(pets, tmp_path)
    (pets / "dog" / "00.png").write_bytes(b"no image")
    text = refused(pets, tmp_path)
    assert "class 'dog' has 9 readable images" in text
    assert "1 unreadable and left out: 'dog/00.png'" in text
    (pets / "empty").mkdir()
    write_images(pets / "dog", 10, 0)
    assert "class 'empty' has 0 readable images" in refused(pets, tmp_path)


def test_folder_whose_splits_differ(tmp_path: Path) -> None:
    for place in ("train/a", "train/b", "test/a", "test/c"):
        write_images(tmp_path / "set" / place, 10, 0)
    assert "same classes, but only one has 'b', 'c'" in refused(tmp_path / "set", tmp_path)
    shutil.move(tmp_path / "set" / "test" / "c", tmp_path / "set" / "test" / "b")
    load_folder(tmp_path / "set", tmp_path / "data2")
    (tmp_path / "set" / "train" / "b" / "05.png").unlink()
    (tmp_path / "set" / "train" / "b" / "06.png").unlink()
    assert "class 'b' has 8 readable images in train" in refused(tmp_path / "set", tmp_path)


def test_folder_on_a_full_disk(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(RunError, match="GB free"):
        load_folder(pets, tmp_path / "data")


def test_folder_name_is_safe_for_a_file_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_images(tmp_path / "my: ü (2)" / name, 10, 0)
    assert load_folder(tmp_path / "my: ü (2)", tmp_path / "data").name == "folder-my-2-"
