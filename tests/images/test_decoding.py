"""From an image file to pixels: kinds of images, scaling, and broken files."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.images.samples import load_folder, truncate, unreadable
from utils.images.decoding import decode_image


def test_every_suffix_and_mode_becomes_rgb(tmp_path: Path) -> None:
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
        said = capfd.readouterr().err
        assert "3 unreadable" in said and "'cat/03.png', 'cat/broken.png', 'dog/float.tif'" in said


def png_header(width: int, height: int) -> bytes:
    """The start of a PNG file of that size, with next to none of its pixels."""
    chunks = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0), b"IDAT" + zlib.compress(bytes(99))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in chunks)


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
    os.mkfifo(cat / "pipe.png")  # opening it would block for ever
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
                "cat/dead.png": "No such file", "cat/loop.png": "symbolic links", "cat/pipe.png": "not a regular file",
                "dog/bomb.png": "decompression bomb", "dog/large.png": "decompression bomb", "dog/cut.jpg": "truncated",
                "dog/deep.tif": "32-bit", "dog/\\udcfe.png": "cannot identify"}
    listed = unreadable(tmp_path / "data")
    assert listed.keys() == expected.keys()
    for name, words in expected.items():
        assert words in listed[name] and str(pets) not in listed[name], listed[name]
    said = capfd.readouterr().err
    assert "11 unreadable" in said and "unreadable.txt" in said and len(said.splitlines()) == 1
