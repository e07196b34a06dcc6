"""The interactive explorer in the HTML report: each data set's test images as points, to look at one by one.

    explorer([("1.2.3 simclr, seed 0", loaded)])      # one fragment of HTML for all data sets
    scripts()                                         # what it needs at the page's end: its code, and Bokeh's

Bokeh draws the map; templates/explorer.js defines what the controls do, and templates/explorer.css how they look.
Nothing is fetched.  Text of records enters the page escaped or as packed JSON, and is shown as text only.  The same
runs give the same bytes.
"""

import base64
import gzip
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from bokeh.core.types import ID
from bokeh.embed import json_item
from bokeh.models.ranges import Range1d
from bokeh.models.sources import ColumnDataSource
from bokeh.models.tools import HoverTool, PanTool, ResetTool, TapTool, WheelZoomTool
from bokeh.plotting import figure
from bokeh.resources import Resources
from markupsafe import Markup
from PIL import Image

from report import show
from report.drawing import MUTED, ORANGE
from report.load import Loaded
from report.pictures import MAPS, MOST_POINTS, class_colour, class_names
from report.summary import dataset_name
from report.tables import MOST_NAMED
from utils.records.thumbnails import COLUMNS, arrange

Titled = tuple[str, Loaded]  # the title shown, and the run

TEMPLATES = Path(__file__).parent / "templates"
MOST_RUNS = 40  # per data set: each adds some 40 kB to the page
MOST_NEIGHBOURS = 8  # shown per point
MOST_PIXELS = 64  # height or width of an image; larger ones are not thumbnails
GREYS = 16  # shades of a grey thumbnail: a third of the bytes, without a visible difference
QUALITY = 70  # of a colour thumbnail, on WebP's scale; 80 looks the same and takes 60 kB more
ASPECT = 0.94  # width over height, including the toolbar above the map: the map itself is about square
STEPS = 4095  # a coordinate is a whole number of 12 bits

TOOLTIP = """<div style="display:flex;gap:.5rem;align-items:center;margin:-5px;padding:.4rem .5rem;line-height:1.35;
background:var(--paper);color:var(--ink)">{image}<div><b>@truth</b><br>predicted @guess<br>image @number</div></div>"""
THUMBNAIL = """<div style="width:3.5rem;height:3.5rem;image-rendering:pixelated;background-image:var(--{name});
background-size:var(--{name}-size);background-position:@left% @top%"></div>"""


def scripts() -> Markup:
    """The explorer's code, and Bokeh's, compressed, which runs when an explorer comes into view."""
    resources = Resources(mode="inline", components=["bokeh"], minified=True, log_level="warn")
    own = (TEMPLATES / "explorer.js").read_text(encoding="utf-8")
    bokeh = packed("\n".join(resources.js_raw))
    return Markup(f'<script type="text/plain" id="bokeh-code">{bokeh}</script>\n<script>\n{own}\n</script>')


def packed(text: str) -> str:
    """Text as base64 of gzip, which explorer.js unpacks and nothing can break out of."""
    return base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def explorer(runs: list[Titled]) -> Markup:
    """One explorer per data set, in the order of the runs; empty where no run has a map.

    Runs of one data set that show different test images get explorers of their own.
    """
    groups: dict[tuple, list[Titled]] = {}
    for title, run in runs:
        index = run.arrays["map_index"]
        if 2 <= len(index) <= MOST_POINTS:
            images = index.tobytes(), run.arrays["test_labels"][index].tobytes()
            key = (run.record.run.dataset, *run.record.data.classes, *images)
            groups.setdefault(key, []).append((title, run))
    names = [show.shorten(dataset_name(dataset), 60) for dataset, *_ in groups]
    headings = show.distinct([f"{name}{': runs that show other test images' if name in names[:i] else ''}"
                              for i, name in enumerate(names)], 100)
    return Markup("\n").join(_fragment(f"explorer-{i}", heading, group)
                             for i, (heading, group) in enumerate(zip(headings, groups.values(), strict=True), start=1))


def _fragment(name: str, heading: str, group: list[Titled]) -> Markup:
    """The HTML of one explorer.  name: the section's id, unique on the page."""
    shown = group[:MOST_RUNS]
    record = shown[0][1].record
    small = max(record.data.image_shape[1:]) <= MOST_PIXELS
    images = next((run.arrays["map_images"] for _, run in shown if small and "map_images" in run.arrays), None)
    index, names = shown[0][1].arrays["map_index"], class_names(record, 40)
    facts: dict[str, Any] = {  # what templates/explorer.js needs along with the models of Bokeh
        "count": len(index), "images": images is not None, "columns": COLUMNS, "lines": -(-len(index) // COLUMNS),
        "classes": names, "colours": [class_colour(i, len(names)) for i in range(len(names))],
        "legend": len(names) <= MOST_NAMED, "right": MUTED, "wrong": ORANGE,
        "item": _with_own_ids(json_item(_map(name, shown, images is not None), target=ID(f"{name}-map")), name)}
    # a custom property of the whole page, so that the tooltips at its end inherit it
    sheet = Markup("") if images is None else Markup(
        "<style>:root {{ --{0}: url({1}); --{0}-size: {2}% {3}%; }}\n"
        "#{0} {{ --sheet: var(--{0}); --sheet-size: var(--{0}-size); }}</style>\n").format(
            name, sheet_of(images), 100 * facts["columns"], 100 * facts["lines"])
    left_out = f" It has the first {MOST_RUNS} of {show.count(len(group))} runs." if len(group) > MOST_RUNS else ""
    return sheet + Markup(
        '<section class="explorer" id="{name}" aria-labelledby="{name}-title">\n'
        '<h3 id="{name}-title">{heading}</h3>\n'
        "<p>{about}</p>\n"
        "<noscript><p>This part needs JavaScript. The static maps of each run show the same points.</p></noscript>\n"
        '<div class="explorer-body" hidden>\n'
        '<div class="explorer-map" role="group" aria-label="{heading}: map and controls">\n'
        '{controls}<div id="{name}-map"></div></div>\n'
        '<ul class="explorer-legend" aria-label="Colours"></ul>\n'
        '<div class="explorer-side"><div class="explorer-image" aria-hidden="true"></div>\n'
        '<p class="explorer-said" role="status" aria-live="polite"></p>\n'
        '<p class="explorer-near-title"></p><ol class="explorer-near"></ol></div>\n'
        "</div>\n"
        '<script type="text/plain" class="explorer-facts">{facts}</script>\n'
        "</section>").format(
            name=name, heading=heading, controls=_controls(shown, facts),
            facts=packed(json.dumps(facts, separators=(",", ":"), allow_nan=False)),
            about=f"{show.count(facts['count'])} of {show.count(record.data.size('test'))} test images, each a point. "
                  f"Point at one to see it. Click it, or enter its number, to see its nearest neighbours in the "
                  f"latent. Click a point to zoom with the wheel.{left_out}")


def _columns(group: list[Titled]) -> Iterator[tuple[str, np.ndarray]]:
    """What is shown, as columns of (M,) or (M, k) small whole numbers, which Bokeh writes in binary."""
    first = group[0][1]
    index, label_type = first.arrays["map_index"], np.min_scalar_type(len(first.record.data.classes) - 1)
    yield "index", index
    yield "label", first.arrays["test_labels"][index].astype(label_type)
    for place, (_, run) in enumerate(group):
        yield f"{place} guess", run.arrays["test_predictions"][index].astype(label_type)
        yield f"{place} near", np.ascontiguousarray(run.arrays["map_neighbours"][:, :MOST_NEIGHBOURS])
        for key in ("map_points", "map_pca"):
            yield from _axes(f"{place} {key}", run.arrays[key])
    for key in ("pixel_tsne", "pixel_pca"):  # those of the first run: all runs show the same images
        yield from _axes(key, first.arrays[key])


def _axes(name: str, points: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Two columns of (M, 2) points scaled to a square of STEPS, sides kept in proportion."""
    low, high = points.min(axis=0).astype(np.float64), points.max(axis=0).astype(np.float64)
    scaled = 0.5 + (points - (low + high) / 2) / max(*(high - low), 1e-30)
    yield f"{name} x", np.round(STEPS * scaled[:, 0]).astype(np.uint16)
    yield f"{name} y", np.round(STEPS * scaled[:, 1]).astype(np.uint16)


def sheet_of(images: np.ndarray) -> str:
    """All images (M, H, W, C) on one sheet with COLUMNS images per line, as a data URI."""
    sheet = arrange(images)
    buffer = io.BytesIO()
    if images.shape[3] == 1:
        coarse = np.round(sheet[:, :, 0] / 255 * (GREYS - 1)) * (255 / (GREYS - 1))
        Image.fromarray(coarse.astype(np.uint8)).save(buffer, "WEBP", lossless=True, method=2)
    else:
        Image.fromarray(sheet).save(buffer, "WEBP", quality=QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _controls(group: list[Titled], facts: dict[str, Any]) -> Markup:
    """Two lines of inputs with their labels.  Their values are numbers and fixed words, never a record's text."""
    present = np.unique(group[0][1].arrays["test_labels"][group[0][1].arrays["map_index"]]).tolist()
    selects = {
        ("run", "Run"): enumerate(show.distinct([show.plain(title) for title, _ in group], 80)),
        ("map", "Map"): [(key, title) for key, (title, _) in MAPS.items()],
        ("colour", "Colour"): [("truth", "true class"), ("guess", "predicted class"), ("wrong", "right or wrong")],
        ("only", "Show"): [("all", "all classes"), *((label, facts["classes"][label]) for label in present)]}
    option = Markup('<option value="{}">{}</option>')
    select = Markup('<label>{}<select name="{}">{}</select></label>\n')
    return Markup(
        '<div class="explorer-controls">\n{}</div>\n<div class="explorer-controls">\n'
        '<label>Image number<input name="number" type="number" min="1" max="{}" value="1"></label>\n'
        '<button type="button" name="before">Previous wrong</button>\n'
        '<button type="button" name="next">Next wrong</button>\n</div>\n').format(Markup("").join(
            select.format(label, name, Markup("").join(option.format(*one) for one in options))
            for (name, label), options in selects.items()), facts["count"])


def _map(name: str, group: list[Titled], images: bool) -> figure:
    """The map, empty; its tags have what explorer.js fills it from, and the parts of it that explorer.js sets."""
    drawn = ColumnDataSource({key: [] for key in ("x", "y", "colour", "alpha", "size", "truth", "guess", "number",
                                                  "left", "top")})
    rings = ColumnDataSource({key: [] for key in ("x", "y", "size")})
    wheel, pan, tap = WheelZoomTool(), PanTool(), TapTool(visible=False)
    tooltip = TOOLTIP.format(image=THUMBNAIL.format(name=name) if images else "")
    hover = HoverTool(tooltips=tooltip, limit=1, attachment="horizontal", visible=False)
    plot = figure(tools=[pan, wheel, ResetTool(), hover, tap], active_drag=pan, active_scroll=None,
                  x_range=Range1d(start=-0.03 * STEPS, end=1.03 * STEPS),
                  y_range=Range1d(start=-0.03 * STEPS, end=1.03 * STEPS),
                  sizing_mode="scale_width", aspect_ratio=ASPECT, toolbar_location="above", lod_threshold=None,
                  background_fill_alpha=0, border_fill_alpha=0, outline_line_alpha=0, min_border=4)
    plot.toolbar.logo = None
    plot.axis.visible = plot.grid.visible = False  # the units of these maps are meaningless
    dots = plot.scatter("x", "y", source=drawn, size="size", fill_color="colour", fill_alpha="alpha", line_color=None)
    dots.selection_glyph = dots.nonselection_glyph = None  # rings show what is chosen
    hover.renderers = tap.renderers = [dots]
    ring = plot.scatter("x", "y", source=rings, size="size", fill_color=None, line_color=MUTED, line_width=2)
    plot.tags = [{"wheel": wheel, "pan": pan, "ring": ring.glyph, "drawn": drawn, "rings": rings,
                  "store": ColumnDataSource(dict(_columns(group)))}]
    return plot


def _with_own_ids(item: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Number Bokeh's models within this explorer, not over the whole process: the same runs give the same bytes."""
    numbers: dict[str, str] = {}

    def renamed(part: dict[str, Any]) -> dict[str, Any]:
        return part | {"id": numbers.setdefault(part["id"], f"{name}-{len(numbers)}")} if "id" in part else part

    return json.loads(json.dumps(item), object_hook=renamed) | {"root_id": numbers[item["root_id"]]}
