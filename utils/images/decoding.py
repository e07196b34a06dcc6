"""From an image file to pixels, and the process that does so for others (see image_chunks.py).

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
    """(height, width, channels) uint8 of fitted_image(), with its errors."""
    import numpy as np

    return np.asarray(fitted_image(path, height, width, channels)).reshape(height, width, channels)


def fitted_image(path: Path, height: int, width: int, channels: int) -> "Image.Image":
    """The image as RGB or grey, scaled to fill height x width, its centre cropped.

    Raises whatever Pillow raises where it cannot be read or has more pixels than Pillow trusts (89 million), ValueError
    for 32-bit pixels, whose range nobody knows, and for a pipe and the like, on which one would wait.
    """
    from PIL import Image, ImageOps

    mode = "RGB" if channels == 3 else "L"
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ValueError("no regular file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on metadata and transparency
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path) as image:
            if image.mode in ("I", "F"):
                raise ValueError("32-bit pixels")
            if image.mode.startswith("I;16"):  # which Pillow would clip to 255, that is to white
                image = eight_bits(image)
            image.draft(None, (2 * width, 2 * height))  # a large JPEG is decoded at a fraction of its size
            image = image if image.mode == mode else image.convert(mode)  # which would copy it
            return ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)


def eight_bits(image: "Image.Image") -> "Image.Image":
    """The upper 8 of the 16 bits of each pixel."""
    import numpy as np
    from PIL import Image

    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))


# The process


def serve() -> None:
    """Decode what is asked for in lines of JSON on stdin, until it ends.  Answers in lines on stdout.

    Before each image its place is said: whoever reads along knows over which one this process died.
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
    """Decode the files, but not those refused (place -> why), and write the chunk's file.  OSError where it cannot."""
    unreadable, pixels = dict(refused), []
    for place, file in enumerate(files):
        if str(place) in refused:
            continue
        print(place, flush=True)
        _alarm(IMAGE_SECONDS)
        try:
            pixels.append(fitted_image(Path(file), side, side, 3).tobytes())
        except Exception as error:  # a damaged image raises anything
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
    """What is wrong with the file, without its path, beside which it will stand."""
    return reason(ValueError(str(error).replace(repr(file), "").rstrip(" :") or type(error).__name__))


def _alarm(seconds: int) -> None:
    """The signal that nobody here handles ends this process after so many seconds; 0 calls it off."""
    if hasattr(signal, "alarm"):
        signal.alarm(seconds)
