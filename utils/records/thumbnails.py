"""Thumbnails of the test images on the maps: one sheet per data set, shared by all records next to it.

Otherwise every record's .npz would hold the same 1500 images.
"""

import functools
import hashlib
import io
from pathlib import Path

import numpy as np

from utils.files import sha256_file, write_atomically
from utils.records.schema import Artifact, RecordError

COLUMNS = 40  # tiles per row of the sheet


def write_thumbnails(folder: Path, dataset: str, images: np.ndarray, owner: str = "") -> Artifact:
    """Write (M, H, W, C) uint8 images, C 1 or 3, as one WebP sheet; the same images give the same file.

    Grey images are lossless; colour images have quality 80, which is invisible at this size.  owner: see
    write_atomically.
    """
    from PIL import Image

    pixels, grey = arrange(images), images.shape[3] == 1
    buffer = io.BytesIO()
    Image.fromarray(pixels.squeeze(2) if grey else pixels).save(buffer, "WEBP", lossless=grey, quality=80)
    path = folder / f"thumbnails_{dataset}_{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.webp"
    write_atomically(path, lambda file: file.write(buffer.getvalue()), owner)
    return Artifact(name=path.name, sha256=sha256_file(path))


def arrange(images: np.ndarray) -> np.ndarray:
    """(M, H, W, C) -> one (rows H, COLUMNS W, C) with COLUMNS images per row, the last row padded with black."""
    count, height, width, channels = images.shape
    rows = -(-count // COLUMNS)
    tiles = np.zeros((rows * COLUMNS, height, width, channels), np.uint8)
    tiles[:count] = images
    return tiles.reshape(rows, COLUMNS, height, width, channels).swapaxes(1, 2).reshape(
        rows * height, COLUMNS * width, channels)


def read_thumbnails(path: Path, sha256: str, count: int, image_shape: list[int]) -> np.ndarray:
    """(count, H, W, C) uint8 images of a sheet.  image_shape: C, H, W.  RecordError where the file does not match."""
    if not path.is_file() or sha256_file(path) != sha256:
        raise RecordError(f"{path.name}: does not exist, or its SHA-256 is not the one in the record")
    return _decode(path, sha256, count, *image_shape)


@functools.lru_cache(maxsize=16)  # all records of a data set share one sheet
def _decode(path: Path, sha256: str, count: int, channels: int, height: int, width: int) -> np.ndarray:
    """The images of a sheet, read-only.  sha256: part of the cache's key, as a path may get another file."""
    from PIL import Image

    rows = -(-count // COLUMNS)
    try:
        with Image.open(path, formats=("WEBP",)) as image:
            # before anything is unpacked
            if image.size != (COLUMNS * width, rows * height) or channels not in (1, 3):
                raise RecordError(f"{path.name}: not a sheet of {count} images of {channels} x {height} x {width}")
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    except OSError as error:
        raise RecordError(f"{path.name}: {error.strerror or 'no WebP image'}") from None
    tiles = pixels.reshape(rows, height, COLUMNS, width, channels).swapaxes(1, 2)
    images = tiles.reshape(rows * COLUMNS, height, width, channels)[:count]
    images.flags.writeable = False
    return images
