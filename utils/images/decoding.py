"""From an image file to pixels, as a viewer shows them.  Imports nothing heavy, so that a decoding process starts fast.

fitted_image() is the one function that decodes: for training, for scoring and for --embed.  docs/own-images.md states
its rules for users.
"""

import re
import warnings
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from utils.console import plural

if TYPE_CHECKING:
    from PIL import Image

DECODING = 5  # number of the rules below; raise it with every change of pixels, so that caches are decoded again
SUFFIXES = {".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff",
            ".avif", ".jp2", ".ppm", ".pgm", ".pbm", ".pnm", ".tga"}
# Pillow's formats of these suffixes.  Others are not tried: PostScript, for example, would start another program.
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "PPM", "WEBP", "TIFF", "AVIF", "JPEG2000", "TGA")
CROPPED = "cropped to less than half, the centre, since one side is more than twice the other"


def fitted_image(path: Path, height: int, width: int, channels: int) -> "tuple[Image.Image, tuple[str, ...]]":
    """The image as RGB or grey, upright, on white, scaled to fill height x width, then cropped to its centre.

    With remarks on what the user may not expect, for remarks_in_words().  Raises whatever Pillow raises for an image
    that cannot be read or has more pixels than Pillow accepts (89 million), and ValueError for pixels whose range is
    unknown, and for a pipe or device, which could block for ever.
    """
    from PIL import Image, ImageOps

    mode = "RGB" if channels == 3 else "L"
    if path.exists() and not path.is_file() and not path.is_dir():
        raise ValueError("not a regular file")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on metadata and transparency
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        Image.preinit()  # the common formats; otherwise Pillow would import all of them
        with Image.open(path, formats=FORMATS) as opened:
            opened.draft(None, (2 * max(height, width),) * 2)  # a large JPEG is decoded at a fraction of its size
            image, remarks = _with_8_bits(opened)
            image = _on_white(image)
            image = image.convert("RGB") if image.mode == "LAB" else image  # which Pillow cannot make grey
            image = image if image.mode == mode else image.convert(mode)  # convert() would copy an RGB image
            shape = image.width * height, image.height * width
            if 2 * min(shape) < max(shape):
                remarks += (CROPPED,)
            return ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC), remarks


def remarks_in_words(remarks: Iterable[tuple[str, str]]) -> list[str]:
    """One line for each kind of remark, from (name of the image, remark) in order."""
    names: dict[str, list[str]] = {}
    for name, remark in remarks:
        names.setdefault(remark, []).append(name)
    lines = [f"{remark}: {plural(len(found), 'image')}, the first {found[0]!a}"
             for remark, found in sorted(names.items())]
    if sum(remark.startswith("16-bit") for remark in names) > 1:
        lines.append("16-bit images are scaled differently, so that equal values differ in brightness; save them with "
                     "8 bits to scale them alike")
    return lines


def _with_8_bits(image: "Image.Image") -> "tuple[Image.Image, tuple[str, ...]]":
    """The loaded image, upright, with 8 bits per channel, and remarks.

    16-bit grey is taken as 8, 12 or 16 bits, the fewest that hold its largest value.  Pillow keeps the upper 8 of
    16-bit colours and of grey with transparency (of PPM rounded), so that those with 12 bits or fewer are refused.
    """
    import numpy as np
    from PIL import Image, ImageOps

    # what the file holds, which load() forgets; BGR;16 is BMP's 5 or 6 bits per colour, the second is PPM's 16
    tile = str(getattr(image, "tile", "")).replace("BGR;16", "")
    deep = ";16" in tile or "('RGB', 65535)" in tile
    image.load()
    with suppress(Exception):  # damaged EXIF data raises half a dozen kinds; viewers ignore it
        ImageOps.exif_transpose(image, in_place=True)
    if (shallow := re.search(r"'L;([24])'", tile)) and "transparency" in image.info:
        image.info["transparency"] *= 255 // (2 ** int(shallow[1]) - 1)  # as Pillow scales the pixels, but not this
    tags = getattr(image, "tag_v2", {})  # of a TIFF file
    if max(tags.get(258, [8])) > 8 and image.mode in ("RGB", "RGBA") and not deep:  # BitsPerSample; Pillow reads noise
        raise ValueError("16-bit colours in separate planes; save it with 8 bits per colour")
    if deep and image.mode in ("RGB", "RGBA", "LA", "CMYK"):
        largest = max(high for _, high in image.getextrema()[:len(image.mode.rstrip("A"))])  # type: ignore
        if largest < 16 + (image.format == "PPM") or isinstance(image.info.get("transparency"), tuple):
            raise ValueError("16-bit colours, or grey with transparency, that do not use the whole range; save it with "
                             "8 bits per colour")
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        if tags.get(262) == 0:  # PhotometricInterpretation, which Pillow passes over here
            raise ValueError("16-bit grey in which 0 is white; save it with 8 bits")
        values = np.asarray(image)
        bits = next(bits for bits in (8, 12, 16) if values.max() < 1 << bits)
        grey = Image.fromarray((values >> (bits - 8)).astype(np.uint8))
        if "transparency" in image.info:
            grey.putalpha(Image.fromarray(np.where(values == image.info["transparency"], 0, 255).astype(np.uint8)))
        return grey, (f"16-bit grey read as {bits} bits, so that {(1 << bits) - 1} is white",) * bool(values.any())
    if image.mode in ("I", "F") or 2 in tags.get(339, ()):  # SampleFormat: signed
        raise ValueError("pixels of 32 bits, or signed ones; save it with 8 bits")
    return image, ()


def _on_white(image: "Image.Image") -> "Image.Image":
    """The image, with white behind whatever is transparent.  ValueError if it is transparent everywhere."""
    from PIL import Image

    if not image.has_transparency_data:
        return image
    layer = image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA")
    if not layer.getextrema()[3][1]:  # type: ignore
        raise ValueError("transparent everywhere; save it without transparency")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
