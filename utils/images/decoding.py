"""From an image file to pixels, and what a process that decodes images runs (see chunks.py).

Imports neither NumPy nor torch, so that such a process starts quickly and stays small.
"""

import hashlib
import json
import multiprocessing
import os
import signal
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from utils.errors import reason
from utils.files import write_atomically

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


def decode_image(path: Path, height: int, width: int, channels: int = 3) -> "np.ndarray":
    """The pixels of fitted_image(), (height, width, channels) uint8.  Raises what fitted_image() raises."""
    import numpy as np

    return np.asarray(fitted_image(path, height, width, channels)).reshape(height, width, channels)


def fitted_image(path: Path, height: int, width: int, channels: int) -> "Image.Image":
    """The image as RGB or grey, scaled to fill height x width, then cropped to its centre.

    Raises whatever Pillow raises for an image that cannot be read or has more pixels than Pillow accepts (89 million),
    and ValueError for 32-bit pixels, whose range is unknown, and for a pipe or device, which could block for ever.
    """
    from PIL import Image, ImageOps

    mode = "RGB" if channels == 3 else "L"
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ValueError("not a regular file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on metadata and transparency
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(path) as opened:
            image: Image.Image = opened
            if image.mode in ("I", "F"):
                raise ValueError("32-bit pixels")
            if image.mode.startswith("I;16"):  # Pillow would clip these to 255, which is white; the upper 8 bits stay
                import numpy as np

                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
            image.draft(None, (2 * width, 2 * height))  # a large JPEG is decoded at a fraction of its size
            image = image if image.mode == mode else image.convert(mode)  # convert() would copy an RGB image
            return ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)


# In a process that decodes


def set_up_worker() -> None:
    """Prepare a process of the pool: silent, ended at once by SIGTERM, and ended when its parent ends, however."""
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff and others print their complaints
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # pebble's handler would wait for the image to be decoded
    parent = multiprocessing.parent_process()
    assert parent is not None, "only a process that multiprocessing started calls this"

    def end_with_parent() -> None:  # pebble notices a killed parent only between two tasks
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def decode_chunk(number: int, files: list[Path], side: int, folder: Path) -> Path:
    """Decode a chunk's images and write its file; see write_chunk()."""
    return write_chunk(number, [pixels_or_reason(file, side) for file in files], folder)


def pixels_or_reason(file: Path, side: int) -> bytes | str:
    """The bytes of (side, side, 3) uint8 pixels, or why the image cannot be read."""
    try:
        return fitted_image(file, side, side, 3).tobytes()
    except Exception as error:  # a damaged image raises anything
        text = str(error).replace(repr(str(file)), "").rstrip(" :")  # the list names the file already
        return reason(ValueError(text or type(error).__name__))


def write_chunk(number: int, decoded: list[bytes | str], folder: Path) -> Path:
    """Write the file of a chunk (its format: chunks.py) from pixels or reasons.  Raises OSError on a full disk."""
    unreadable = {place: why for place, why in enumerate(decoded) if isinstance(why, str)}
    content = json.dumps(unreadable).encode() + b"\n" + b"".join(one for one in decoded if isinstance(one, bytes))
    path = folder / f"{number:06}-{hashlib.sha256(content).hexdigest()}"
    write_atomically(path, lambda file: file.write(content))
    return path
