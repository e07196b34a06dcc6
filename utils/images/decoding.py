"""From an image file to pixels, and the process that decodes many of them (see chunks.py).

Imports nothing heavy, so that such a process starts quickly.
"""

import hashlib
import json
import os
import signal
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from utils.errors import reason

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

IMAGE_SECONDS = 60  # an image that takes longer counts as unreadable


def decode_image(path: Path, height: int, width: int, channels: int = 3) -> "np.ndarray":
    """fitted_image() as (height, width, channels) uint8, with the same errors."""
    import numpy as np

    return np.asarray(fitted_image(path, height, width, channels)).reshape(height, width, channels)


def fitted_image(path: Path, height: int, width: int, channels: int) -> "Image.Image":
    """The image as RGB or grey, scaled to fill height x width and cropped at the centre.

    Raises whatever Pillow raises for an unreadable image or one above its limit of 89 million pixels, and ValueError
    for 32-bit pixels, whose range is unknown, and for pipes and the like, which would block.
    """
    from PIL import Image, ImageOps

    mode = "RGB" if channels == 3 else "L"
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ValueError("not a regular file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about metadata and transparency
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path) as opened:
            image: Image.Image = opened
            if image.mode in ("I", "F"):
                raise ValueError("32-bit pixels")
            if image.mode.startswith("I;16"):  # Pillow would clip these to 255, which is white
                image = eight_bits(image)
            image.draft(None, (2 * width, 2 * height))  # a large JPEG is decoded at a fraction of its size
            image = image if image.mode == mode else image.convert(mode)  # convert() always copies
            return ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)


def eight_bits(image: "Image.Image") -> "Image.Image":
    """The upper 8 of the 16 bits of each pixel."""
    import numpy as np
    from PIL import Image

    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))


# The process


def serve() -> None:
    """Decode the jobs that arrive as lines of JSON on stdin; answer in lines on stdout.

    The place of each image is printed before it is decoded, so the reader knows which one killed this process.
    """
    print("ready", flush=True)
    for line in sys.stdin:
        job = json.loads(line)
        try:
            _decode_chunk(**job)
            print("done", flush=True)
        except OSError as error:
            print(f"failed {reason(error)}", flush=True)


def _decode_chunk(number: int, files: list[str], side: int, refused: dict[str, str], folder: str) -> None:
    """Decode the files except those refused (place -> why) and write the chunk.  Raises OSError."""
    unreadable, pixels = dict(refused), []
    for place, file in enumerate(files):
        if str(place) in refused:
            continue
        print(place, flush=True)
        _alarm(IMAGE_SECONDS)
        try:
            pixels.append(fitted_image(Path(file), side, side, 3).tobytes())
        except Exception as error:  # a damaged image may raise anything
            unreadable[str(place)] = _why(error, file)
    _alarm(0)
    print("writing", flush=True)
    content = json.dumps(unreadable).encode() + b"\n" + b"".join(pixels)
    temporary = Path(folder) / f".{number:06}.{os.getpid()}.tmp"
    with temporary.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    temporary.rename(Path(folder) / f"{number:06}-{hashlib.sha256(content).hexdigest()}")


def _why(error: Exception, file: str) -> str:
    """What is wrong with the file, without its path, which will precede it."""
    return reason(ValueError(str(error).replace(repr(file), "").rstrip(" :") or type(error).__name__))


def _alarm(seconds: int) -> None:
    """End this process after so many seconds, by a signal that is not handled; 0 cancels."""
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)
