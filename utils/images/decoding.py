"""From an image file to pixels.  Imports nothing heavy, so that a process that decodes starts quickly."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

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
