"""Maps of the latent, reconstructions, interpolations, neighbours and misclassified images, each as one SVG.

The SVG holds the dots as paths or the images as one WebP, and the words as text, which follows the page's theme and can
be searched.  This takes milliseconds where matplotlib takes a tenth of a second.
"""

import base64
import functools
import io
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar
from xml.etree import ElementTree

import matplotlib
import numpy as np
from PIL import Image

from report import show
from report.drawing import INK, MUTED, ORANGE, PALETTE, PAPER, SVG, WIDTH, XLINK, Drawing, best_place
from report.summary import grouped
from report.tables import MOST_NAMED
from utils.records.schema import Record

Arrays = dict[str, np.ndarray]  # utils.records.arrays.ARRAYS
Named = TypeVar("Named", bound=tuple)

MOST_POINTS = 5000  # on a map
MOST_IMAGES = 12  # reconstructed
MOST_STRIPS = 8  # pairs interpolated
ERROR_COLUMNS, MOST_ERRORS = 5, 10  # misclassified images in a row, and of all
QUALITY = 90  # of colour images, on WebP's scale: a quarter of the bytes of a lossless file, and looks the same
COMPARED = 14.0  # size of words next to compared images: 7 points where the PDF fits them into its text
MOST_COMPARED, MOST_NEAREST = 3, 5  # images whose neighbours are compared over methods, and neighbours of each
MAP = 300  # side of a map, in the SVG's units
FINE = 5  # steps of a dot's place in one of these units
FONT = "DejaVu Sans, Verdana, sans-serif"
BOLD = {"font-weight": "bold"}
HALO = {"stroke": PAPER, "stroke-width": "4.5", "stroke-opacity": "0.8", "paint-order": "stroke",
        "stroke-linejoin": "round"}
FARTHEST = 36  # that a class's name may lie from the middle of its dots, in the units of a map
PERPLEXITY = 30  # of t-SNE (evaluation/figure_arrays.py), a third of the other images where these are fewer than 90
SETTINGS = "t-SNE with perplexity {:g}, initialised by PCA, otherwise with scikit-learn's defaults, of {} test images."
MAPS = {"map_points": ("t-SNE of the latents", "tsne_agreement"),  # array of a map -> (name, score)
        "map_pca": ("PCA of the latents", "pca_agreement"),
        "pixel_tsne": ("t-SNE of the pixels", "pixel_tsne_agreement"),
        "pixel_pca": ("PCA of the pixels", "pixel_pca_agreement")}
NOT_SAME = "\N{NOT EQUAL TO}\N{NO-BREAK SPACE}"  # before the predicted class of a misclassified image


class Grid(NamedTuple):
    """Images in rows, and their place in the SVG's units: steps from one to the next, and the whole size."""

    image: Image.Image
    right: float
    down: float
    width: float
    height: float


def same_images(named: list[Named], key: str) -> list[Named]:
    """Those runs, whose arrays come last, that have the same entries in an array: the most that do."""
    groups = grouped((one for one in named if key in one[-1]), lambda one: one[-1][key].tobytes())
    return max(groups.values(), key=len, default=[])


def document(width: float, height: float, parts: Iterable[ElementTree.Element]) -> bytes:
    """An SVG file of some elements."""
    root = ElementTree.Element(f"{SVG}svg", {"viewBox": f"0 0 {width:g} {height:g}", "width": f"{width:g}pt",
                                             "height": f"{height:g}pt", "font-family": FONT})
    root.extend(parts)
    return ElementTree.tostring(root)


def svg(width: float, height: float, drawn: Grid, words: Iterable[ElementTree.Element], left: float = 0,
        top: float = 0) -> bytes:
    """An SVG of a grid of images, without loss if they are grey, and some words.  left, top: the grid's place."""
    buffer = io.BytesIO()
    red, green, *_ = drawn.image.convert("RGB").split()
    how: dict[str, Any] = {"lossless": True} if red.tobytes() == green.tobytes() else {"quality": QUALITY}
    drawn.image.save(buffer, format="WEBP", method=2, **how)
    return document(width, height, [ElementTree.Element(f"{SVG}image", {
        "x": f"{left:g}", "y": f"{top:g}", "width": f"{drawn.width:g}", "height": f"{drawn.height:g}",
        "preserveAspectRatio": "none", "image-rendering": "optimizeSpeed",
        # Typst's reader of SVG needs the older name of href
        f"{XLINK}href": "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode()}), *words])


def word(text: str, x: float, y: float, size: float, colour: str = INK, anchor: str = "start",
         **more: str) -> ElementTree.Element:
    """A <text>: its place and its size in the SVG's units, and its colour."""
    element = ElementTree.Element(f"{SVG}text", {"x": f"{x:.2f}", "y": f"{y:.2f}", "font-size": f"{size:g}",
                                                 "fill": colour, "text-anchor": anchor, **more})
    element.text = text
    return element


def class_colour(label: int, classes: int) -> str:
    """Colour of a class: the palette's, or where it has too few a position on a perceptually even scale."""
    if classes <= len(PALETTE):
        return PALETTE[label]
    return matplotlib.colors.to_hex(matplotlib.colormaps["turbo"](0.1 + 0.82 * label / (classes - 1)))


def legend(record: Record) -> list[dict[str, str]]:
    """Name and colour of each class on the maps; none above the number of names that can be read."""
    classes = record.data.classes
    return [{"name": name, "colour": class_colour(label, len(classes))}
            for label, name in enumerate(class_names(record, 24))] if len(classes) <= MOST_NAMED else []


def maps(record: Record, arrays: Arrays, named_on_map: bool = True) -> list[tuple[str, Drawing]]:
    """The 2-D maps of a record, as (array's name, drawing), whose captions are their titles; none of a single image."""
    index = arrays["map_index"][:MOST_POINTS]
    labels = arrays["test_labels"][index]  # (M,)
    if len(index) < 2:
        return []
    names = tuple(class_names(record, 12))
    drawn = []
    for key, (name, score) in MAPS.items():
        points = np.ascontiguousarray(arrays[key][:MOST_POINTS])
        metric = record.metrics.get(f"test/{score}")
        title = name if metric is None else f"{name}: {show.percent(metric.value)} % agreement"
        alt = f"{title}, {show.count(len(points))} of {show.count(record.data.size('test'))} test images."
        data = map_svg(points.tobytes(), labels.tobytes(), names, named_on_map)
        drawn.append((key, Drawing(data, alt, title)))
    return drawn


def map_settings(arrays: Arrays) -> str:
    """How the t-SNE maps were computed, in one sentence."""
    count = len(arrays["map_index"])
    return SETTINGS.format(min(PERPLEXITY, (count - 1) / 3), show.count(min(count, MOST_POINTS)))


@functools.lru_cache(maxsize=256)  # runs on one data set share the maps of its pixels
def map_svg(points_bytes: bytes, labels_bytes: bytes, names: tuple[str, ...], named_on_map: bool = True) -> bytes:
    """A map's dots in the colours of their classes, and each class's name near the median of its dots.

    points_bytes: (M, 2) float32; labels_bytes: (M,) uint16; names: of all classes.
    """
    points = np.frombuffer(points_bytes, np.float32).reshape(-1, 2).astype(np.float64)
    labels = np.frombuffer(labels_bytes, np.uint16)
    low, high = points.min(0), points.max(0)
    scale = (MAP - 24) / max(*(high - low), 1e-6)
    places = (points - (low + high) / 2) * [scale, -scale] + MAP / 2  # y grows downwards
    present = sorted(set(labels.tolist()))
    words = ElementTree.Element(f"{SVG}g", {**BOLD, **HALO})
    if named_on_map and len(present) <= MOST_NAMED:
        middles = np.array([np.median(places[labels == label], axis=0) for label in present])
        words.extend(word(name, x, y + size / 3, size, anchor="middle")
                     for name, x, y, size in place_names([names[label] for label in present], middles))
    return document(MAP, MAP, [dots(places, labels, len(names)), words])


def place_names(names: list[str], middles: np.ndarray) -> list[tuple[str, float, float, float]]:
    """Names (text, x, y, font size) near their middles (K, 2), except those without a free place within FARTHEST."""
    distance, angle = np.repeat(np.arange(0, FARTHEST + 1, 3), 24), np.arange(24) * np.pi / 12  # (T,), (24,)
    around = distance[:, None] * np.tile(np.stack([np.cos(angle), np.sin(angle)], axis=1), (len(distance) // 24, 1))
    placed, taken = [], list[np.ndarray]()
    for name, middle in zip(names, middles, strict=True):
        size = 15.0 if len(name) < 3 else 12.0
        half = np.array([0.36 * size * len(name), 0.6 * size])
        best, box, covered = best_place(middle + around, half, distance, taken, np.array([0, 0, MAP, MAP]))
        if covered == 0:
            placed.append((name, *(middle + around[best]), size))
            taken.append(box)
    return placed


def dots(places: np.ndarray, labels: np.ndarray, classes: int) -> ElementTree.Element:
    """Dots with thin outlines at places (M, 2), 0 to MAP, in the colours of their classes.

    The dots of a class are one path, drawn twice: lines of no length have round ends.  Sorted dots make short numbers.
    """
    group = ElementTree.Element(f"{SVG}g", {"class": "dots", "transform": f"scale({1 / FINE:g})", "fill": "none",
                                            "stroke-linecap": "round"})
    paths = ElementTree.SubElement(group, f"{SVG}defs")
    size = 3.4 if len(places) > 800 else 4.4
    fine = np.round(FINE * places).astype(int)
    for label in np.unique(labels).tolist():
        own = fine[labels == label]
        steps = np.diff(own[np.lexsort(own.T[::-1])], axis=0, prepend=0).tolist()
        line = "".join(f"m{x} {y}h0" for x, y in steps).replace(" -", "-")
        ElementTree.SubElement(paths, f"{SVG}path", {"id": f"c{label}", "d": line})
        colour = class_colour(label, classes)
        red, green, blue = matplotlib.colors.to_rgb(colour)
        outline = matplotlib.colors.to_hex((0.6 * red, 0.6 * green, 0.6 * blue))
        for stroke, width in ((outline, size + 0.7), (colour, size)):
            ElementTree.SubElement(group, f"{SVG}use", {f"{XLINK}href": f"#c{label}", "stroke": stroke,
                                                        "stroke-width": f"{FINE * width:g}"})
    return group


def grid(rows: Sequence[Sequence[np.ndarray | None]], cell: float = 0, gaps: tuple[int, int] | None = None,
         across: float = 0) -> Grid:
    """Images (H, W, C) of one shape, side by side in rows with transparent gaps; None leaves a place empty.

    cell, across: width of an image, or of the whole grid, in the SVG's units; gaps: pixels between images of a row and
    between rows, by default a fourteenth of an image's height.
    """
    height, width, _ = next(image for row in rows for image in row if image is not None).shape
    gap_x, gap_y = gaps or (max(1, height // 14),) * 2
    right, down = width + gap_x, height + gap_y
    canvas = np.zeros((len(rows) * down - gap_y, max(map(len, rows)) * right - gap_x, 4), np.uint8)
    for i, row in enumerate(rows):
        for j, image in enumerate(row):
            if image is not None:
                top, left = i * down, j * right
                canvas[top:top + height, left:left + width, :3] = image  # one channel spreads over three
                canvas[top:top + height, left:left + width, 3] = 255
    unit = cell / width if cell else across / canvas.shape[1]  # of a pixel
    return Grid(Image.fromarray(canvas, "RGBA"), unit * right, unit * down, unit * canvas.shape[1],
                unit * canvas.shape[0])


def drawable(arrays: Arrays, key: str) -> bool:
    """Whether an array of images is present and can be drawn: at least one image, of one or three channels."""
    return key in arrays and arrays[key].size > 0 and arrays[key].shape[-1] in (1, 3)


def class_names(record: Record, length: int) -> list[str]:
    """Names of the classes as they are written in a picture."""
    return show.distinct([show.plain(name) for name in record.data.classes], length)


def reconstructions(arrays: Arrays) -> Drawing | None:
    """Test images with the decoder's output for each below it, and its error; None where the record has none."""
    if not drawable(arrays, "reconstruction_inputs"):
        return None
    inputs, outputs = arrays["reconstruction_inputs"], arrays["reconstruction_outputs"]  # (K, H, W, C)
    chosen = np.unique(np.linspace(0, len(inputs) - 1, min(MOST_IMAGES, len(inputs))).round().astype(int))
    errors = arrays["reconstruction_error"]  # (K,), rising
    parts = [part for part in np.array_split(chosen, 3) if len(part)]
    columns = [k for part in parts for k in [*part, None]][:-1]  # an empty column between the thirds
    drawn = grid([[None if k is None else images[k] for k in columns] for images in (inputs, outputs)], cell=40.0)
    top, below = 20.0, 20.0 + drawn.height + 11
    words = [word(f"{name}: {show.DASH.join(dict.fromkeys(f'{errors[k]:.4f}' for k in (part[0], part[-1])))}",
                  columns.index(part[0]) * drawn.right, 11, 10.5, **BOLD)
             for name, part in zip(("best", "median", "worst"), parts, strict=False)]
    words += [word(f"{errors[k]:.4f}", column * drawn.right + 20, below, 9.5, MUTED, "middle")
              for column, k in enumerate(columns) if k is not None]
    data = svg(max(drawn.width, 170), below + 4, drawn, words, top=top)
    shown = show.plural(len(chosen), "test image")
    caption = (f"{shown} (above) and their reconstructions from the latent (below), with the mean absolute error "
               "of each as a share of the pixel range. A third each has the lowest, median and highest errors.")
    return Drawing(data, f"{shown}, each above its reconstruction. Mean absolute error from "
                   f"{errors[chosen[0]]:.4f} to {errors[chosen[-1]]:.4f} of the pixel range.", caption)


def interpolations(record: Record, arrays: Arrays) -> Drawing | None:
    """Images decoded along straight lines in the latent, within a class and between classes; None without them."""
    if not drawable(arrays, "interpolation_images"):
        return None
    images, index = arrays["interpolation_images"], arrays["interpolation_index"]  # (P, S, H, W, C), (P, 2)
    pairs, steps = len(images), images.shape[1]
    ratios = {kind: f", step ratio {show.significant(metric.value)}" if metric else "" for kind in ("within", "between")
              for metric in [record.metrics.get(f"test/interpolation_step_{kind}")]}
    names, labels = class_names(record, 9), arrays["test_labels"]
    lines: list[tuple[str, list[np.ndarray]]] = []  # title and images of each row; that of a group has only a title
    for title, kind, strips in (("within a class", "within", range(pairs // 2)),
                                ("between classes", "between", range(pairs // 2, pairs))):
        shown = strips[:MOST_STRIPS // 2]
        lines += [(title + ratios[kind], [])] * bool(shown)
        lines += [(" \N{RIGHTWARDS ARROW} ".join(names[labels[i]] for i in index[pair]), list(images[pair]))
                  for pair in shown]
    drawn, left = grid([row for _, row in lines], cell=40.0), 92.0
    words = [word(title, 0, i * drawn.down + drawn.down / 2 + 2, 9) if row else
             word(title, 0, i * drawn.down + drawn.down * 0.75, 10.5, **BOLD)
             for i, (title, row) in enumerate(lines)]
    data = svg(max(left + drawn.width, 330), drawn.height, drawn, words, left)
    count = show.plural(sum(bool(row) for _, row in lines), "path")
    return Drawing(data, f"{count} in the latent, decoded in {steps} even steps. "
                   f"{'; '.join(kind + ratio for kind, ratio in ratios.items())}.",
                   f"Straight lines in the latent from one test image to another, decoded at {steps} even steps. "
                   "Step ratio: the largest change between successive images over the mean change. 1 is even.")


def misclassified(record: Record, arrays: Arrays) -> Drawing | None:
    """Images on the maps with true and predicted class, the most confident errors first; None without any."""
    if not drawable(arrays, "map_images"):
        return None
    true, predicted = (arrays[name][arrays["map_index"]] for name in ("test_labels", "test_predictions"))  # (M,)
    wrong = np.flatnonzero(true != predicted)
    if not len(wrong):
        return None
    confidence = arrays["test_confidence"][arrays["map_index"]] if "test_confidence" in arrays else None
    shown = (wrong if confidence is None else wrong[np.argsort(-confidence[wrong], kind="stable")])[:MOST_ERRORS]
    names, images, wide = class_names(record, 8), arrays["map_images"], ERROR_COLUMNS
    height, width = images.shape[1:3]
    cell, lines = WIDTH / wide - 8, 2 if confidence is None else 3  # lines of words below an image
    drawn = grid([[images[i] for i in shown[k:k + wide]] for k in range(0, len(shown), wide)], cell,
                 (round(8 / cell * width), round((4 + 9 * lines) / cell * width)))
    words = []
    for k, i in enumerate(shown):
        x, y = k % wide * drawn.right, k // wide * drawn.down + cell * height / width
        words += [word(names[true[i]], x, y + 9, 7.5), word(NOT_SAME + names[predicted[i]], x, y + 18, 7.5, ORANGE)]
        if confidence is not None:
            words.append(word(f"{confidence[i]:.2f}", x, y + 27, 7.5, MUTED))
    text = (f"{len(shown)} of {show.plural(len(wrong), 'misclassified image')} among the "
            f"{show.count(len(true))} test images on the maps")
    below = "Below each are its true class and the predicted one"
    if confidence is not None:
        below += " with its probability"
        text += (f", the most confident first: {names[true[shown[0]]]} taken for {names[predicted[shown[0]]]} with "
                 f"{confidence[shown[0]]:.2f}")
    return Drawing(svg(WIDTH, drawn.height + 2 + 9 * lines, drawn, words), f"{text}.", f"{text}. {below}.")


def principal_axes(arrays: Arrays) -> list[Drawing]:
    """Images decoded on the plane of the latents' first two principal axes, and along each axis; none without them."""
    if not drawable(arrays, "plane_images"):
        return []
    plane, lines = arrays["plane_images"], arrays["traversal_images"]
    steps, share = arrays["principal_steps"], arrays["principal_share"]
    ends = f"{show.signed(float(steps[0]), 1)} to {show.signed(float(steps[-1]), 1)} standard deviations"
    text = (f"The plane of the latent's first two principal axes ({100 * share[:2].sum():.1f} % of the variance), "
            f"decoded on a grid from {ends}")
    drawn = grid([list(row) for row in plane], across=WIDTH)
    found = [Drawing(svg(WIDTH, drawn.height, drawn, []), f"{text}: {len(steps)} by {len(steps)} images.",
                     f"{text}: the first axis rises from left to right, the second from bottom to top, and the mean "
                     "latent is in the middle.")]
    left, top = 62.0, 14.0
    drawn = grid([list(row) for row in lines], across=WIDTH - left)
    words = [word(f"{i}: {100 * part:.1f} %", 0, top + (i - 0.5) * drawn.down + 2, 8.5)
             for i, part in enumerate(share, start=1)]
    words += [word(show.signed(float(step), 1), left + (j + 0.45) * drawn.right, 8, 7.5, MUTED, "middle")
              for j, step in enumerate(steps)]
    text = (f"The first {len(lines)} principal axes hold {100 * share.sum():.1f} % of the latents' variance, the "
            f"first alone {100 * share[0]:.1f} %")
    return [*found, Drawing(svg(WIDTH, top + drawn.height, drawn, words, left, top),
                            f"{text}. Each is decoded at {len(steps)} distances from the mean latent.",
                            f"{text}. Each row is decoded along one of them, from the mean latent by the given number "
                            "of standard deviations.")]


def side_by_side(named: list[tuple[str, Arrays]]) -> Drawing | None:
    """The same test images as several decoders reconstruct them; None where fewer than two runs have them.

    named: (a row's title, the arrays of a run).  Runs with other images than most are left out.
    """
    named = same_images([one for one in named if drawable(one[1], "neighbour_outputs")], "neighbour_inputs")
    if len(named) < 2:
        return None
    inputs = named[0][1]["neighbour_inputs"][:MOST_IMAGES]
    outputs = [(name, arrays["neighbour_outputs"][:MOST_IMAGES]) for name, arrays in named]
    drawn, left = grid([list(images) for images in (inputs, *(images for _, images in outputs))], cell=48.0), 84.0
    words = [word(title, 0, i * drawn.down + drawn.down / 2 + 2, 10, **BOLD)
             for i, title in enumerate(["test image", *(show.shorten(name, 14) for name, _ in outputs)])]
    data = svg(left + drawn.width, drawn.height, drawn, words, left)
    errors = "; ".join(f"{name} {np.abs(images.astype(np.float64) - inputs).mean() / 255:.4f}"
                       for name, images in outputs)
    shown = show.plural(len(inputs), "test image")
    return Drawing(data, f"{shown} and their reconstructions by {len(outputs)} decoders. Mean absolute error on "
                   f"these: {errors}.",
                   f"The same {shown}, evenly spaced over the test set, as each autoencoder reconstructs them. Mean "
                   f"absolute error on these: {errors}.")


def neighbour_grid(named: list[tuple[str, Arrays]]) -> Drawing | None:
    """The nearest training images of the same test images, one line per run; None without such runs.

    named: (a row's title, the arrays of a run), of one data set.  Runs with other images than most are left out.
    """
    named = same_images([one for one in named if drawable(one[1], "neighbour_images")], "neighbour_inputs")
    if not named:
        return None
    queries, (_, first) = named[0][1]["neighbour_inputs"][:MOST_COMPARED], named[0]
    nearest = min(MOST_NEAREST, *(arrays["neighbour_images"].shape[1] for _, arrays in named))
    head = [image for query in queries for image in (query, *[None] * nearest)]
    rows = [[image for found in arrays["neighbour_images"][:len(queries)] for image in (*found[:nearest], None)]
            for _, arrays in named]
    drawn, left = grid([head[:-1], *(row[:-1] for row in rows)], cell=36.0), 180.0
    true = first["test_labels"][first["neighbour_index"]]
    words, counts = [word("test image", 0, drawn.down / 2 + 2, COMPARED)], []
    for i, (title, arrays) in enumerate(named, start=1):
        agrees = arrays["neighbour_labels"] == true[:, None]  # (Q, k)
        middle = (i + 0.5) * drawn.down + 2
        counts.append(f"{agrees.sum()} of {agrees.size}")
        lines = textwrap.wrap(show.shorten(title, 42), 21) or [""]
        words += [*(word(line, 0, middle + (k - (len(lines) - 1) / 2) * 1.1 * COMPARED, COMPARED)
                    for k, line in enumerate(lines)),
                  word(counts[-1], left + drawn.width + 6, middle, COMPARED)]
        words += [ElementTree.Element(f"{SVG}rect", {
            "x": f"{left + (query * (nearest + 1) + k) * drawn.right:.2f}", "y": f"{i * drawn.down:.2f}",
            "width": f"{0.93 * drawn.right:.2f}", "height": f"{0.93 * drawn.down:.2f}", "fill": "none",
            "stroke": ORANGE, "stroke-width": "2.5"}) for query, k in np.argwhere(~agrees[:len(queries), :nearest])]
    data = svg(left + drawn.width + 76, drawn.height, drawn, words, left)
    found = "; ".join(f"{title} {count}" for (title, _), count in zip(named, counts, strict=True))
    return Drawing(data, f"Nearest training images of the same class as their test image, by method: {found}.",
                   f"Test images (top) and the {nearest} training images nearest to each by cosine of "
                   "the latents, nearest first, one line per method. A frame marks another class. The number counts "
                   f"those of the same class among the {agrees.shape[1]} nearest images of all {len(true)} test images "
                   "that the records hold.")


def map_grid(named: list[tuple[str, Record, Arrays]]) -> list[Drawing]:
    """Small t-SNE maps, without names of classes, of the same images: of the pixels, then of each run."""
    found = [(title, drawn) for title, record, arrays in same_images(named, "map_index")
             if (drawn := dict(maps(record, arrays, named_on_map=False)))]
    cells = [("pixels", drawn["pixel_tsne"]) for _, drawn in found[:1]]
    cells += [(title, drawn["map_points"]) for title, drawn in found]
    return [replace(one, alt=f"{name}: {one.alt}", caption=name + "".join(one.caption.partition(":")[1:]))
            for name, one in cells]
