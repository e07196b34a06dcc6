"""Pictures made of pixels: maps of the latent, reconstructions, interpolations and neighbours, each as one SVG.

The SVG holds one PNG (the dots or the images) and the words as text, which follows the page's theme and can be
searched.  Pillow draws in milliseconds what takes matplotlib a tenth of a second.
"""

import base64
import functools
import io
from collections.abc import Iterable
from xml.etree import ElementTree

import matplotlib
import numpy as np
from PIL import Image, ImageDraw

from report import show
from report.charts import INK, MOST_NAMED, MUTED, ORANGE, PALETTE, PAPER, SVG, Drawing
from utils.records.schema import Record

MOST_POINTS = 5000  # on a map
MOST_IMAGES = 24  # reconstructed
MOST_STRIPS = 8  # pairs interpolated, images with their neighbours
MAP = 300  # side of a map, in the SVG's units
FONT = "DejaVu Sans, Verdana, sans-serif"
HALO = {"stroke": PAPER, "stroke-width": "4.5", "stroke-opacity": "0.8", "paint-order": "stroke",
        "stroke-linejoin": "round"}
# array of a map -> (name, the score that judges it)
MAPS = {"map_points": ("t-SNE of the latents", "tsne_agreement"), "map_pca": ("PCA of the latents", "pca_agreement"),
        "pixel_tsne": ("t-SNE of the pixels", "pixel_tsne_agreement"),
        "pixel_pca": ("PCA of the pixels", "pixel_pca_agreement")}


def svg(width: float, height: float, image: Image.Image, box: tuple[float, float, float, float],
        words: Iterable[dict[str, str]], texts: Iterable[str], smooth: bool = False) -> bytes:
    """An SVG of one image and some words.

    box: x, y, width and height of the image; words and texts: attributes and content of each <text>.
    """
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=6)
    root = ElementTree.Element(f"{SVG}svg", {"viewBox": f"0 0 {width:g} {height:g}", "width": f"{width:g}pt",
                                             "height": f"{height:g}pt"})
    ElementTree.SubElement(root, f"{SVG}image", {
        **{key: f"{value:g}" for key, value in zip(("x", "y", "width", "height"), box, strict=True)},
        "preserveAspectRatio": "none", "image-rendering": "auto" if smooth else "optimizeSpeed",
        # the PDF's reader of SVG knows the older name only
        "{http://www.w3.org/1999/xlink}href": "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()})
    for attributes, text in zip(words, texts, strict=True):
        ElementTree.SubElement(root, f"{SVG}text", {"font-family": FONT, **attributes}).text = text
    ElementTree.register_namespace("", SVG[1:-1])
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    return ElementTree.tostring(root)


def word(x: float, y: float, size: float, colour: str = INK, anchor: str = "start", **more: str) -> dict[str, str]:
    """Attributes of a <text>: its place, its size in the SVG's units, its colour."""
    return {"x": f"{x:.2f}", "y": f"{y:.2f}", "font-size": f"{size:g}", "fill": colour, "text-anchor": anchor, **more}


def class_colour(label: int, classes: int) -> str:
    """Colour of a class: the palette's, or where it has too few a position on a perceptually even scale."""
    if classes <= len(PALETTE):
        return PALETTE[label]
    return matplotlib.colors.to_hex(matplotlib.colormaps["turbo"](0.1 + 0.82 * label / (classes - 1)))


def legend(record: Record) -> list[dict[str, str]]:
    """Name and colour of each class on the maps; none above the number of names that can be read."""
    classes = record.data.classes
    return [{"name": show.shorten(show.plain(name), 24), "colour": class_colour(label, len(classes))}
            for label, name in enumerate(classes)] if len(classes) <= MOST_NAMED else []


def maps(record: Record, arrays: dict[str, np.ndarray]) -> list[tuple[str, Drawing]]:
    """The 2-D maps that a record has, as (array's name, drawing); the drawing's caption is its title."""
    index = arrays["map_index"][:MOST_POINTS]
    labels = arrays["test_labels"][index]  # (M,)
    if len(index) < 2:
        return []
    names = tuple(show.shorten(show.plain(name), 12) for name in record.data.classes)
    drawn = []
    for key, (name, score) in MAPS.items():
        if key in arrays:
            points = np.ascontiguousarray(arrays[key][:MOST_POINTS])
            metric = record.metrics.get(f"test/{score}")
            title = name if metric is None else f"{name}: {show.percent(metric.value)} % agreement"
            alt = (f"{name}, {show.count(len(points))} of {show.count(record.data.size('test'))} test images, "
                   f"classes: {len(set(labels.tolist()))}. ")
            alt += ("Not judged by a number." if metric is None else
                    f"{show.percent(metric.value)} % of the 10 nearest points are of the same class.")
            data = map_svg(points.tobytes(), labels.tobytes(), names)
            drawn.append((key, Drawing("svg", data, alt, title)))
    return drawn


@functools.lru_cache(maxsize=64)  # runs on one data set share the maps of its pixels
def map_svg(points_bytes: bytes, labels_bytes: bytes, names: tuple[str, ...]) -> bytes:
    """A map's dots in the colours of their classes, and each class's name at the median of its dots.

    points_bytes: (M, 2) float32; labels_bytes: (M,) uint16; names: of all classes.
    """
    points = np.frombuffer(points_bytes, np.float32).reshape(-1, 2).astype(np.float64)
    labels = np.frombuffer(labels_bytes, np.uint16)
    low, high = points.min(0), points.max(0)
    scale = (MAP - 24) / max(*(high - low), 1e-6)
    places = (points - (low + high) / 2) * [scale, -scale] + MAP / 2  # y grows downwards
    present = sorted(set(labels.tolist()))
    words, texts = [], []
    for label in present if len(present) <= MOST_NAMED else []:
        x, y = np.median(places[labels == label], axis=0)
        size = 15 if len(names[label]) < 3 else 12
        words.append(word(x, y + size / 3, size, anchor="middle", **{"font-weight": "bold"}, **HALO))
        texts.append(names[label])
    return svg(MAP, MAP, dots(places, labels, len(names)), (0, 0, MAP, MAP), words, texts, smooth=True)


def dots(places: np.ndarray, labels: np.ndarray, classes: int, sharp: float = 1.5) -> Image.Image:
    """Dots at places (M, 2), 0 to MAP, on a transparent square; drawn at twice the size and averaged, so without steps.

    sharp: pixels of the image for a unit of the map.
    """
    side, radius = round(2 * sharp * MAP), 2 * sharp * (1.7 if len(places) > 800 else 2.2)
    image = Image.new("RGBA", (side, side))
    draw = ImageDraw.Draw(image)
    colours = [class_colour(label, classes) for label in range(classes)]
    for (x, y), label in zip((2 * sharp * places).tolist(), labels.tolist(), strict=True):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colours[label])
    return image.reduce(2).quantize(64, method=Image.Quantize.FASTOCTREE)


def sheet(rows: list[list[np.ndarray | None]], gap: int) -> Image.Image:
    """Images (H, W, C) of one shape, side by side in rows with transparent gaps; None leaves a place empty."""
    height, width, _ = next(image for row in rows for image in row if image is not None).shape
    columns = max(map(len, rows))
    canvas = np.zeros((len(rows) * (height + gap) - gap, columns * (width + gap) - gap, 4), np.uint8)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            if image is not None:
                top, left = i * (height + gap), j * (width + gap)
                canvas[top:top + height, left:left + width, :3] = image  # one channel spreads over three
                canvas[top:top + height, left:left + width, 3] = 255
    return Image.fromarray(canvas, "RGBA")


def drawable(arrays: dict[str, np.ndarray], key: str) -> bool:
    """Whether an array of images is there and can be shown: at least one image, of one or three channels."""
    return key in arrays and arrays[key].size > 0 and arrays[key].shape[-1] in (1, 3)


def reconstructions(record: Record, arrays: dict[str, np.ndarray]) -> Drawing | None:
    """Test images with what the decoder returns for each below it, and its error; None where the record has none."""
    if not drawable(arrays, "reconstruction_inputs"):
        return None
    inputs, outputs = arrays["reconstruction_inputs"], arrays["reconstruction_outputs"]  # (K, H, W, C)
    chosen = np.unique(np.linspace(0, len(inputs) - 1, min(MOST_IMAGES, len(inputs))).round().astype(int))
    errors = arrays.get("reconstruction_error")
    exact = np.abs(inputs.astype(np.float64) - outputs).mean((1, 2, 3)) / 255 if errors is None else errors
    parts = np.array_split(chosen, 3) if errors is not None and len(chosen) >= 3 else [chosen]
    columns = [k for part in parts for k in [*part, None]][:-1]  # an empty column between the thirds
    rows = [[None if k is None else images[k] for k in columns] for images in (inputs, outputs)]
    cell, top, gap = 40.0, 20.0, max(1, inputs.shape[1] // 14)
    step = cell * (1 + gap / inputs.shape[2])
    tall = cell * inputs.shape[1] / inputs.shape[2]
    height = top + 2 * tall + cell * gap / inputs.shape[2]
    words = [word(0, 11, 10.5, **{"font-weight": "bold"})] if len(parts) == 1 else []
    texts = ["test images at even steps"] if len(parts) == 1 else []
    for name, part, start in zip(("best", "median", "worst"), parts, np.cumsum([0, *[len(p) + 1 for p in parts]]),
                                 strict=False) if len(parts) == 3 else ():
        words.append(word(start * step, 11, 10.5, **{"font-weight": "bold"}))
        texts.append(f"{name}: {exact[part[0]]:.4f}{show.DASH}{exact[part[-1]]:.4f}")
    for column, k in enumerate(columns):
        if k is not None:
            words.append(word(column * step + cell / 2, height + 11, 8.5, MUTED, "middle"))
            texts.append(f"{exact[k]:.4f}")
    width = len(columns) * step - (step - cell)
    data = svg(max(width, 170), height + 15, sheet(rows, gap), (0, top, width, height - top), words, texts)
    shown = show.plural(len(chosen), "test image")
    return Drawing("svg", data, f"{shown}, each above its reconstruction. Mean absolute error from "
                   f"{exact[chosen].min():.4f} to {exact[chosen].max():.4f} of the pixel range.",
                   f"{shown} (above) and what the decoder returns from the 128-d latent (below), with the mean "
                   "absolute error of each as a share of the pixel range."
                   + (" Chosen by error: a third from the best, the middle and the worst." if len(parts) == 3 else ""))


def interpolations(record: Record, arrays: dict[str, np.ndarray]) -> Drawing | None:
    """Images decoded along straight lines in the latent, within a class and between classes; None without them."""
    if not drawable(arrays, "interpolation_images"):
        return None
    images, index = arrays["interpolation_images"], arrays["interpolation_index"]  # (P, S, H, W, C), (P, 2)
    half = len(images) // 2
    within, between = list(range(half))[:MOST_STRIPS // 2], list(range(half, len(images)))[:MOST_STRIPS // 2]
    rows: list[list[np.ndarray | None]] = []
    words, texts = [], []
    cell, left, gap = 40.0, 92.0, max(1, images.shape[2] // 14)
    step_x = cell * (1 + gap / images.shape[3])
    step_y = cell * images.shape[2] / images.shape[3] + step_x - cell
    for name, strips in (("within a class", within), ("between classes", between)):
        if strips:
            words.append(word(0, len(rows) * step_y + step_y * 0.75, 10.5, **{"font-weight": "bold"}))
            texts.append(name + step_words(record, name.split()[0]))
            rows.append([])
        for pair in strips:
            ends = [show.shorten(show.plain(record.data.classes[arrays["test_labels"][i]]), 9) for i in index[pair]]
            words.append(word(0, len(rows) * step_y + step_y / 2 + 2, 9))
            texts.append(f"{ends[0]} \N{RIGHTWARDS ARROW} {ends[1]}")
            rows.append(list(images[pair]))
    wide, tall = images.shape[1] * step_x - (step_x - cell), len(rows) * step_y - (step_x - cell)
    data = svg(max(left + wide, 330), tall, sheet(rows, gap), (left, 0, wide, tall), words, texts)
    count = show.plural(len(within) + len(between), "path")
    numbers = [f"{name.split()[0]}{step_words(record, name.split()[0])}" for name in ("within", "between")]
    steps = images.shape[1]
    return Drawing("svg", data, f"{count} in the latent, decoded in {steps} even steps. {'; '.join(numbers)}.",
                   f"Straight lines in the latent from one test image to another, decoded at {steps} even steps. "
                   "Step ratio: the largest change between successive images over the mean change; 1 is even.")


def step_words(record: Record, kind: str) -> str:
    """', step ratio 1.214', or nothing in a record without that score."""
    metric = record.metrics.get(f"test/interpolation_step_{kind}")
    return "" if metric is None else f", step ratio {show.significant(metric.value)}"


def neighbours(record: Record, arrays: dict[str, np.ndarray]) -> Drawing | None:
    """Some test images, each with its nearest training images, their classes and cosines; None without them."""
    if not drawable(arrays, "neighbour_images"):
        return None
    asked, nearest = arrays["neighbour_inputs"][:MOST_STRIPS], arrays["neighbour_images"][:MOST_STRIPS]
    names = [show.shorten(show.plain(name), 9) for name in record.data.classes]
    true = arrays["test_labels"][arrays["neighbour_index"]]
    columns = min(nearest.shape[1], 10)
    shape = asked.shape[1:]
    cell, line, spread = 52.0, 84.0, 60.0
    tall = cell * shape[0] / shape[1]
    gap_x, gap_y = round((spread - cell) / cell * shape[1]), round((line - cell) / cell * shape[0])
    step_x, step_y = cell * (1 + gap_x / shape[1]), tall * (1 + gap_y / shape[0])
    # the gaps of a sheet are alike both ways: the rows are put below each other one by one
    strips = [sheet([[image, None, *others[:columns]]], gap_x) for image, others in zip(asked, nearest, strict=True)]
    canvas = Image.new("RGBA", (strips[0].width, len(strips) * (shape[0] + gap_y) - gap_y))
    words, texts, same = [], [], 0
    for i, strip in enumerate(strips):
        canvas.paste(strip, (0, i * (shape[0] + gap_y)))
        below = i * step_y + tall
        words.append(word(0, below + 10, 8.5, **{"font-weight": "bold"}))
        texts.append(names[true[i]])
        for j in range(columns):
            label = arrays["neighbour_labels"][i, j]
            agrees = label == true[i]
            same += int(agrees)
            centre = (j + 2) * step_x + cell / 2
            words += [word(centre, below + 10, 8, INK if agrees else ORANGE, "middle"),
                      word(centre, below + 19, 7.5, MUTED, "middle")]
            texts += [f"{'' if agrees else NOT_SAME}{names[label]}", f"{arrays['neighbour_cosine'][i, j]:.3f}"]
    width, height = (columns + 2) * step_x - (step_x - cell), len(strips) * step_y - (step_y - tall)
    data = svg(width, height + 22, canvas, (0, 0, width, height), words, texts)
    total = len(strips) * columns
    return Drawing("svg", data, f"{show.plural(len(strips), 'test image')}, {columns} nearest training images each: "
                   f"{same} of {total} are of the same class.",
                   "Test images (left) and their nearest training images by cosine of the latents, with class and "
                   f"cosine; {NOT_SAME}marks another class. {same} of {total} are of the same class.")


def side_by_side(named: list[tuple[str, dict[str, np.ndarray]]]) -> Drawing | None:
    """The same test images as several decoders return them, below each other; None where fewer than two have them.

    named: (what to write beside a row, the arrays of a run).  Runs that show other images than the first are left out.
    """
    named = [(name, arrays) for name, arrays in named if drawable(arrays, "neighbour_outputs")]
    named = [one for one in named if np.array_equal(one[1]["neighbour_inputs"], named[0][1]["neighbour_inputs"])]
    if len(named) < 2:
        return None
    inputs = named[0][1]["neighbour_inputs"][:MOST_IMAGES]
    rows = [list(inputs), *(list(arrays["neighbour_outputs"][:MOST_IMAGES]) for _, arrays in named)]
    cell, left, gap = 48.0, 84.0, max(1, inputs.shape[1] // 14)
    step_x = cell * (1 + gap / inputs.shape[2])
    step_y = cell * inputs.shape[1] / inputs.shape[2] + step_x - cell
    texts = ["test image", *(show.shorten(name, 14) for name, _ in named)]
    words = [word(0, i * step_y + step_y / 2 + 2, 10, **{"font-weight": "bold"}) for i in range(len(rows))]
    wide, tall = len(inputs) * step_x - (step_x - cell), len(rows) * step_y - (step_x - cell)
    data = svg(left + wide, tall, sheet(rows, gap), (left, 0, wide, tall), words, texts)
    errors = [(name, np.abs(arrays["neighbour_outputs"][:MOST_IMAGES].astype(np.float64) - inputs).mean() / 255)
              for name, arrays in named]
    told = "; ".join(f"{name} {error:.4f}" for name, error in errors)
    return Drawing("svg", data, f"{show.plural(len(inputs), 'test image')} and what {len(named)} decoders return for "
                   f"them. Mean absolute error on these: {told}.",
                   f"The same {show.plural(len(inputs), 'test image')}, evenly spaced over the test set, as each "
                   f"autoencoder returns them. Mean absolute error on these: {told}.")


NOT_SAME = "\N{NOT EQUAL TO}\N{NO-BREAK SPACE}"
