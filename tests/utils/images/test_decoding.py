"""From an image file to pixels: kinds of images, scaling, and broken files."""

import os
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from tests.utils.images.samples import ROOT, decode_image, load_folder, truncate, unreadable
from utils.images.decoding import CROPPED, SUFFIXES, remarks_in_words


def test_every_suffix_and_mode_becomes_rgb(tmp_path: Path) -> None:
    """Suffixes in any case, and nested folders, count; grey, palette and alpha images become RGB."""
    kinds = [("RGB", ".JPG"), ("L", ".jpeg"), ("P", ".gif"), ("RGBA", ".png"), ("LA", ".PNG"), ("RGB", ".bmp"),
             ("RGB", ".webp"), ("CMYK", ".tif"), ("L", ".TIFF"), ("1", ".png")]
    for folder in (tmp_path / "set" / "a" / "nested", tmp_path / "set" / "b"):
        folder.mkdir(parents=True)
        for i, (mode, suffix) in enumerate(kinds):
            Image.new("RGB", (50, 40)).convert(mode).save(folder / f"{i}{suffix}")
        colours = Image.new("P", (50, 40), 1)
        colours.putpalette(list(range(256)) * 3)
        colours.save(folder / "see-through.png", transparency=bytes(range(256)))  # Pillow warns of such files
    assert load_folder(tmp_path / "set", tmp_path / "data").class_counts() == {
        "train": [8, 8], "val": [1, 1], "test": [2, 2]}


def test_the_documented_suffixes_are_those_that_are_read() -> None:
    documented = re.search(r"recognised by their suffix, in upper or lower case: (.*?)\.", " ".join(
        (ROOT / "docs" / "own-images.md").read_text(encoding="utf-8").split()))
    assert documented and {f".{name}" for name in documented[1].split(", ")} == SUFFIXES


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_every_suffix_is_decoded(suffix: str, tmp_path: Path) -> None:
    kind = {".jfif": "jpeg", ".jpe": "jpeg", ".apng": "png", ".mpo": "jpeg"}.get(suffix)
    Image.new("1" if suffix == ".pbm" else "L" if suffix == ".pgm" else "RGB", (40, 40), "white").save(
        tmp_path / f"x{suffix}", kind)
    assert decode_image(tmp_path / f"x{suffix}", 32, 32)[0].min() > 250


def test_decode_image_crops_the_centre(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (32, 96, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "wide.png")
    assert np.array_equal(decode_image(tmp_path / "wide.png", 32, 32)[0], pixels[:, 32:64])
    Image.fromarray(pixels.transpose(1, 0, 2)).save(tmp_path / "high.png")
    assert np.array_equal(decode_image(tmp_path / "high.png", 32, 32)[0], pixels.transpose(1, 0, 2)[32:64])


def test_lab_colours_become_grey(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (200, 100, 50)).convert("LAB").save(tmp_path / "lab.tif")
    grey, _ = decode_image(tmp_path / "lab.tif", 8, 8, channels=1)
    assert abs(int(grey[0, 0, 0]) - 124) < 5  # the luma of that orange, after rounding


def test_decode_image_scales_the_shorter_side(tmp_path: Path) -> None:
    pixels = np.zeros((64, 128, 3), np.uint8)
    pixels[:, 32:64, 0], pixels[:, 64:96, 1] = 255, 255  # the centre: left half red, right half green
    for suffix in (".png", ".jpg"):
        large = Image.fromarray(pixels).resize((1280, 640), Image.Resampling.NEAREST)
        large.save(tmp_path / f"large{suffix}", **({"quality": 95} if suffix == ".jpg" else {}))
        decoded = decode_image(tmp_path / f"large{suffix}", 32, 32)[0].astype(int)
        assert np.abs(decoded[:, 2:14] - [255, 0, 0]).max() < 8
        assert np.abs(decoded[:, 18:30] - [0, 255, 0]).max() < 8


# 16 bits


@pytest.mark.parametrize("suffix", [".png", ".tif", ".pgm"])
@pytest.mark.parametrize("largest, white", [(65535, 65535), (4096, 65535), (4095, 4095), (256, 4095), (255, 255),
                                            (16, 255)])
def test_16_bit_grey_is_scaled_by_the_range_it_uses(largest: int, white: int, suffix: str, tmp_path: Path) -> None:
    pixels = np.linspace(0, largest, 32 * 32).astype(np.uint16).reshape(32, 32)
    Image.fromarray(pixels).save(tmp_path / f"deep{suffix}")
    for channels in (1, 3):
        decoded, [remark] = decode_image(tmp_path / f"deep{suffix}", 32, 32, channels)
        assert np.array_equal(decoded, np.repeat(pixels[..., None] // ((white + 1) // 256), channels, axis=2))
        assert f"{white} is white" in remark


def test_big_endian_16_bit_grey_is_read(tmp_path: Path) -> None:
    pixels = np.arange(32 * 32).reshape(32, 32) * 4  # 12 bits
    Image.frombytes("I;16B", (32, 32), pixels.astype(">u2").tobytes()).save(tmp_path / "deep.tif")
    assert np.array_equal(decode_image(tmp_path / "deep.tif", 32, 32, 1)[0][..., 0], pixels // 16)


def test_16_bit_grey_in_which_0_is_white_is_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((32, 32), 60000, np.uint16)).save(tmp_path / "x.tif", tiffinfo={262: 0})
    with pytest.raises(ValueError, match="0 is white"):
        decode_image(tmp_path / "x.tif", 32, 32)


def tiff(values: np.ndarray, photometric: int, sample_format: int) -> bytes:
    """An uncompressed TIFF file of (H, W, C) values, written without Pillow, which writes neither kind below."""
    height, width, channels = values.shape
    tags = {256: width, 257: height, 258: 8 * values.itemsize, 259: 1, 262: photometric, 273: 4096, 277: channels,
            278: height, 279: values.nbytes, 339: sample_format}
    more = b"".join(struct.pack("<4H", *4 * [value]) for value in (tags[258], sample_format))
    entries, at = b"", 10 + 12 * len(tags)
    for tag, value in tags.items():
        several = tag in (258, 339) and channels > 1
        entries += struct.pack("<HHII", tag, 3 if tag in (258, 339) else 4, channels if several else 1,
                               at + 4 + 8 * (tag == 339) if several else value)
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + more
    return head.ljust(4096, b"\0") + values.tobytes()


def test_colours_that_do_not_use_their_16_bits_and_signed_pixels_are_refused(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (32, 32, 4), np.uint16)
    for name, write in (("x.ppm", lambda v: b"P6 32 32 65535\n" + v[..., :3].astype(">u2").tobytes()),
                        ("x.tif", lambda v: tiff(v, 5, 1))):
        (tmp_path / name).write_bytes(write(values))
        decode_image(tmp_path / name, 32, 32)
        (tmp_path / name).write_bytes(write(values >> 4))
        with pytest.raises(ValueError, match="whole range"):
            decode_image(tmp_path / name, 32, 32)
    signed = np.arange(-512, 512).reshape(32, 32, 1) // 8
    (tmp_path / "y.tif").write_bytes(tiff(signed.astype(np.int8), 1, 2))
    with pytest.raises(ValueError, match="signed"):
        decode_image(tmp_path / "y.tif", 32, 32)
    (tmp_path / "y.tif").write_bytes(tiff((signed + 64).astype(np.uint8), 1, 1))
    assert np.array_equal(decode_image(tmp_path / "y.tif", 32, 32, 1)[0], signed + 64)


def png(values: np.ndarray, transparent: list[int] | None = None, bits: int = 16) -> bytes:
    """A PNG file of (H, W, C) whole numbers, written without Pillow, which writes no 16-bit colours."""
    height, width, channels = values.shape
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    digits = ["".join(f"{value:0{bits}b}" for value in row) for row in values.reshape(height, -1)]
    rows = b"".join(b"\0" + int(row, 2).to_bytes(len(row) // 8, "big") for row in digits)
    key = [b"tRNS" + struct.pack(f">{channels}H", *transparent)] if transparent else []
    parts = [b"IHDR" + struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0), *key,
             b"IDAT" + zlib.compress(rows), b"IEND"]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part) - 4) + part + struct.pack(">I", zlib.crc32(part)) for part in parts)


def test_16_bit_colours_are_read_if_they_use_the_range_and_refused_otherwise(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (32, 32, 4), np.uint16)
    values[..., 3] = 65535
    for channels in (3, 4):
        (tmp_path / "full.png").write_bytes(png(values[..., :channels]))
        assert np.array_equal(decode_image(tmp_path / "full.png", 32, 32)[0], values[..., :3] // 256)
        (tmp_path / "dark.png").write_bytes(png(values[..., :channels] // 256))
        with pytest.raises(ValueError, match="whole range"):
            decode_image(tmp_path / "dark.png", 32, 32)
    for bits in (8, 12):
        opaque = np.dstack([values[..., :3] >> (16 - bits), values[..., 3]])
        for channels in ([0, 1, 2, 3], [0, 3]):  # colours, grey
            (tmp_path / "opaque.png").write_bytes(png(opaque[..., channels]))
            with pytest.raises(ValueError, match="whole range"):
                decode_image(tmp_path / "opaque.png", 32, 32)
    (tmp_path / "key.png").write_bytes(png(values[..., :3], [1000, 1000, 1000]))
    with pytest.raises(ValueError, match="whole range"):  # Pillow would not find the transparent pixels
        decode_image(tmp_path / "key.png", 32, 32)
    grey = np.full((32, 32, 1), 1000)
    grey[:16] = 0
    (tmp_path / "grey.png").write_bytes(png(grey, [1000]))
    assert (decode_image(tmp_path / "grey.png", 32, 32)[0] == np.where(grey, 255, 0)).all()


def test_16_bit_colours_in_separate_planes_are_refused(tmp_path: Path) -> None:
    """Pillow would read their bytes as pixels, which gives noise."""
    planes = np.full((3, 32, 32), 60000, np.uint16)
    tags = [(256, 4, [32]), (257, 4, [32]), (258, 3, [16, 16, 16]), (259, 3, [1]), (262, 3, [2]),
            (273, 4, [200, 2248, 4296]), (277, 3, [3]), (278, 4, [32]), (279, 4, [2048] * 3), (284, 3, [2])]
    entries, values = b"", b""
    for tag, kind, numbers in tags:
        packed = struct.pack(f"<{len(numbers)}{'H' if kind == 3 else 'I'}", *numbers)
        where = packed.ljust(4, b"\0") if len(packed) <= 4 else struct.pack("<I", 134 + len(values))
        values += packed if len(packed) > 4 else b""
        entries += struct.pack("<HHI", tag, kind, len(numbers)) + where
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4) + values
    (tmp_path / "x.tif").write_bytes(head.ljust(200, b"\0") + planes.astype("<u2").tobytes())
    with pytest.raises(ValueError, match="separate planes"):
        decode_image(tmp_path / "x.tif", 32, 32)


def test_folders_that_mix_16_bit_ranges_are_warned_of() -> None:
    deep = [(name, f"16-bit grey read as {bits} bits") for name, bits in (("a", 8), ("b", 12), ("c", 8))]
    assert remarks_in_words(deep) == [
        "16-bit grey read as 12 bits: 1 image, the first 'b'", "16-bit grey read as 8 bits: 2 images, the first 'a'",
        "16-bit images are scaled differently, so that equal values differ in brightness; save them with 8 bits to "
        "scale them alike"]
    assert len(remarks_in_words(deep[:1])) == 1


# As a viewer shows it

STORED = {  # EXIF orientation -> how the standard has (H, W) pixels stored: what the first row and column are
    1: lambda upright: upright,  # top, left
    2: lambda upright: upright[:, ::-1],  # top, right
    3: lambda upright: upright[::-1, ::-1],  # bottom, right
    4: lambda upright: upright[::-1],  # bottom, left
    5: lambda upright: upright.T,  # left, top
    6: lambda upright: upright[:, ::-1].T,  # right, top
    7: lambda upright: upright[::-1, ::-1].T,  # right, bottom
    8: lambda upright: upright[::-1].T,  # left, bottom
}


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
def test_exif_orientation_is_applied(suffix: str, orientation: int, tmp_path: Path) -> None:
    upright = np.random.default_rng(0).integers(0, 256, (32, 50), np.uint8)
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation](upright))).convert("RGB")
    exact = {"lossless": True} if suffix == ".webp" else {}
    stored.save(tmp_path / f"x{suffix}", exif=oriented(orientation), **exact)
    decoded = decode_image(tmp_path / f"x{suffix}", 32, 32)[0]
    assert np.array_equal(decoded, np.repeat(upright[:, 9:41, None], 3, axis=2))


@pytest.mark.parametrize("orientation", STORED)
@pytest.mark.parametrize("side", [32, 640])  # of the larger one, a fraction is decoded
def test_a_turned_photo_is_upright(side: int, orientation: int, tmp_path: Path) -> None:
    upright = np.zeros((side, side), np.uint8)
    upright[:side // 2], upright[side // 2:, :side // 2] = 240, 120  # the top, and the left of the bottom
    stored = np.ascontiguousarray(STORED[orientation](upright))
    for name in ("x.jpg", "x.JFIF", "x.jpe"):
        Image.fromarray(stored).save(tmp_path / name, "jpeg", quality=95, exif=oriented(orientation))
        decoded = decode_image(tmp_path / name, 32, 32, 1)[0][..., 0].astype(int)
        for corner, value in ((decoded[2:14, 2:30], 240), (decoded[18:30, 2:14], 120), (decoded[18:30, 18:30], 0)):
            assert np.abs(corner - value).max() < 10


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\0\x05\x01\x12\0\x03", oriented(0),
                                  oriented(9)])
def test_meaningless_exif_data_is_ignored(exif: bytes | Image.Exif, tmp_path: Path) -> None:
    Image.new("RGB", (32, 32), (10, 200, 30)).save(tmp_path / "x.jpg", exif=exif)
    Image.new("RGB", (32, 32), (10, 200, 30)).save(tmp_path / "y.jpg")
    assert np.array_equal(decode_image(tmp_path / "x.jpg", 32, 32)[0], decode_image(tmp_path / "y.jpg", 32, 32)[0])


@pytest.mark.parametrize("hidden", [(0, 0, 0), (255, 255, 255), (255, 0, 255)])
def test_what_is_transparent_is_white_whatever_its_colour(hidden: tuple[int, int, int], tmp_path: Path) -> None:
    """Left: visible and dark green.  Right: transparent."""
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[..., :3] = hidden
    pixels[:, :16] = 0, 100, 0, 255
    full = Image.fromarray(pixels)
    palette = Image.new("P", (32, 32), 1)
    palette.putpalette([0, 100, 0, *hidden])
    palette.paste(0, (0, 0, 16, 32))
    full.save(tmp_path / "a.png")
    full.save(tmp_path / "b.webp", lossless=True, exact=True)
    full.save(tmp_path / "c.tif")
    full.save(tmp_path / "d.tga")
    palette.save(tmp_path / "e.gif", transparency=1)
    palette.save(tmp_path / "f.png", transparency=1)
    palette.save(tmp_path / "g.png", transparency=b"\xff\x00")
    full.convert("RGB").save(tmp_path / "h.png", transparency=hidden)
    for file in sorted(tmp_path.iterdir()):
        decoded = decode_image(file, 32, 32)[0]
        assert (decoded[:, :16] == [0, 100, 0]).all() and (decoded[:, 16:] == 255).all(), file.name
        assert (decode_image(file, 32, 32, 1)[0][:, 16:] == 255).all(), file.name


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_grey_of_few_bits_is_transparent_where_the_file_says_so(bits: int, tmp_path: Path) -> None:
    """Pillow scales the pixels to 8 bits, but not the value that is transparent."""
    white = 2**bits - 1
    values = np.tile(np.arange(32) * white // 31, (32, 1))[..., None]
    for transparent in {1, white}:
        (tmp_path / "x.png").write_bytes(png(values, [transparent], bits))
        expected = np.where(values == transparent, 255, values * 255 // white)
        assert (decode_image(tmp_path / "x.png", 32, 32)[0] == expected).all()


def test_an_image_that_is_transparent_everywhere_is_refused(tmp_path: Path) -> None:
    """As some programs write TGA files, whose fourth byte they do not use."""
    for name in ("x.png", "x.tga", "x.webp"):
        Image.new("RGBA", (32, 32), (200, 50, 20, 0)).save(tmp_path / name)
        with pytest.raises(ValueError, match="transparent everywhere"):
            decode_image(tmp_path / name, 32, 32)


def test_a_bmp_file_with_16_bits_per_pixel_may_be_dark(tmp_path: Path) -> None:
    head = struct.pack("<2sIHHIIiiHHIIiiII", b"BM", 0, 0, 0, 66, 40, 32, 32, 1, 16, 3, 0, 0, 0, 0, 0)
    head += struct.pack("<III", 0xF800, 0x7E0, 0x1F)  # which bits are red, green, blue
    (tmp_path / "x.bmp").write_bytes(head + struct.pack("<H", 0x0801) * 32 * 32)
    assert decode_image(tmp_path / "x.bmp", 32, 32)[0][0, 0].tolist() == [8, 0, 8]


def test_half_transparent_pixels_are_mixed_with_white(tmp_path: Path) -> None:
    alpha = np.arange(256, dtype=np.uint8).repeat(4).reshape(32, 32)
    grey = np.full_like(alpha, 60)
    expected = np.round(60 * (alpha / 255) + 255 * (1 - alpha / 255))
    Image.fromarray(np.dstack([grey, grey, grey, alpha])).save(tmp_path / "rgba.png")
    Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]).save(tmp_path / "la.png")
    for name in ("rgba.png", "la.png"):
        assert np.abs(decode_image(tmp_path / name, 32, 32)[0] - expected[..., None]).max() <= 1


def test_a_drawing_in_the_alpha_channel_is_seen(tmp_path: Path) -> None:
    """Black everywhere, its shape in the alpha channel, as icons are."""
    shape = np.zeros((32, 32), np.uint8)
    shape[8:24, 4:12] = 255
    Image.fromarray(np.dstack([np.zeros((32, 32, 3), np.uint8), shape])).save(tmp_path / "icon.png")
    assert np.array_equal(decode_image(tmp_path / "icon.png", 32, 32, 1)[0][..., 0], 255 - shape)


@pytest.mark.parametrize("size, cropped", [((64, 32), False), ((33, 16), True), ((2, 4000), True), ((40, 36), False)])
def test_a_crop_to_less_than_half_is_remarked_on(size: tuple[int, int], cropped: bool, tmp_path: Path) -> None:
    Image.new("RGB", size).save(tmp_path / "x.png")
    assert decode_image(tmp_path / "x.png", 32, 32)[1] == ((CROPPED,) if cropped else ())


def test_remarks_are_counted_and_printed(pets: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("long", "wide"):
        Image.new("RGB", (300, 20) if name == "wide" else (20, 300)).save(pets / "dog" / f"{name}.png")
    Image.fromarray(np.full((32, 32), 4000, np.uint16)).save(pets / "cat" / "deep.png")
    for _ in range(2):  # decoded, then from the cache
        load_folder(pets, tmp_path / "data")
        said = capfd.readouterr().err
        assert "16-bit grey read as 12 bits, so that 4095 is white: 1 image, the first 'cat/deep.png'" in said
        assert "one side is more than twice the other: 2 images, the first 'dog/long.png'" in said


def test_formats_that_run_programs_are_not_tried(tmp_path: Path) -> None:
    Image.new("RGB", (32, 32)).save(tmp_path / "x.eps")
    (tmp_path / "x.eps").rename(tmp_path / "x.png")
    with pytest.raises(UnidentifiedImageError):
        decode_image(tmp_path / "x.png", 32, 32)


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
                "dog/deep.tif": "32 bits", "dog/\\udcfe.png": "cannot identify"}
    listed = unreadable(tmp_path / "data")
    assert listed.keys() == expected.keys()
    for name, words in expected.items():
        assert words in listed[name] and str(pets) not in listed[name], listed[name]
    said = capfd.readouterr().err
    assert sum("11 unreadable" in line and "unreadable.txt" in line for line in said.splitlines()) == 1
