"""What only the PDF shows: introduction, main table and maps, one run for each data set and task, recipes.

Its drawings have names that begin with PREFIX; the HTML leaves them out.  Labels in them are large enough for a printed
page, so they show fewer images than those of the HTML.
"""

import datetime
import functools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.ft2font import FT2Font

from report import findings, pictures, prose, show, summary
from report.drawing import Drawing
from report.elements import MOST_NAMED, figure
from report.load import Loaded
from report.run_section import confusion, recipe_table
from report.summary import Results, Row, by_dataset, dataset_name, row_name

PREFIX = "paper-"
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"  # with DejaVu Sans, which draws what Typst's own fonts lack
REFERENCES = Path(__file__).parent / "templates" / "references.bib"
MOST_DATASETS = 4  # in the figure of maps
TEXT_WIDTH, SMALLEST = 493.2, 7.02  # points: report.typ's text width, and its smallest letters


def written(results: Results, date: str) -> str:
    """The date of the report in words: the one given (YYYY-MM-DD), else that of the newest run; "" without runs."""
    day = date or max((run.record.run.started for run in results.counted), default="")[:10]
    return f"{int(day[8:])} {datetime.date.fromisoformat(day):%B} {day[:4]}" if day else ""


def paper(results: Results, sections: list[dict[str, Any]], drawings: dict[str, Drawing]) -> dict[str, Any]:
    """The PDF's own content.  Each task's section gets its runs as "shown"; the drawings are added to `drawings`."""
    shown = findings.shown_rows(results)
    tasks = sorted({row.task for row in results.rows}, key=lambda task: summary.rank(task, prose.TASKS))
    for section, task in zip(sections, tasks, strict=True):
        runs = {run["id"]: run for run in section["runs"]}
        section["shown"] = [shown_run(row, runs[row.anchor], drawings) for row in shown if row.task == task]
    best = [row for _, rows in by_dataset(results.headline) for row in findings.best_without_labels(rows)[0]]
    main = [row for row in results.rows if any(row is one for one in [*shown, *best])]
    used = {row.method for row in results.rows}
    return {
        "introduction": introduction(results),
        "methods": [method._asdict() for name, method in prose.METHODS.items() if name in used or not used],
        "table": findings.result_table("The main results: each task's default method or else its best row, the best "
                                       "latent learned without labels, and the best control.", main) if main else None,
        "maps": main_maps(shown, drawings),
        "recipes": [{"title": title(row), "fields": ", ".join("=".join(line[:2]) for line in recipe_table(
            row.runs[0].record)["rows"]), "hash": row.runs[0].record.recipe.hash}
            for row in results.rows if row.default or any(row is one for one in shown)],
        "references": re.findall(r"^@\w+\{(\w+),", REFERENCES.read_text(encoding="utf-8"), re.MULTILINE),
        "renamed": [],
    }


def introduction(results: Results) -> list[str]:
    """Paragraphs: the problem, the questions that the records can answer, and the images."""
    if not results.rows:
        return [prose.PROBLEM]
    questions = ["How well do the classes separate in them?"]
    if any(row.task == "control" for row in results.rows) and findings.ways(results):
        questions.append("How much of that does a latent give that was not learned?")
    if any(row.labels != "none" for row in results.rows) and any(row.labels == "none" for row in results.rows):
        questions.append("What are labels worth?")
    return [prose.PROBLEM, f"{findings.aim(results)} It asks: {' '.join(questions)}", " ".join(images(results))]


def images(results: Results) -> list[str]:
    """One sentence on each data set: its source, classes, sizes and splits."""
    found = []
    for dataset, rows in by_dataset(results.rows):
        data = rows[0].runs[0].record.data
        source = f" ({prose.SOURCES[dataset]})" if dataset in prose.SOURCES else ""
        channels, height, width = data.image_shape
        kind = {1: "grey", 3: "colour"}.get(channels, f"{channels}-channel")
        found.append(f"{dataset_name(dataset)}{source} has {show.count(len(data.classes))} classes of {kind} images of "
                     f"{height} × {width} pixels: {show.count(data.size('train'))} for training, "
                     f"{show.count(data.size('val'))} for validation and {show.count(data.size('test'))} for testing.")
    return found


def title(row: Row) -> str:
    """'MNIST, 1.2.3 simclr, seed 0'."""
    return f"{dataset_name(row.dataset)}, {row_name(row)}, seed {row.runs[0].record.run.seed}"


def main_maps(rows: list[Row], drawings: dict[str, Drawing]) -> list[dict[str, Any]]:
    """For each data set one line of t-SNE maps: of the pixels, and of the latents of up to three rows."""
    lines = []
    for dataset, found in by_dataset(row for row in rows if row.task != "control")[:MOST_DATASETS]:
        maps = [(row, dict(pictures.maps(row.runs[0].record, row.runs[0].arrays, named_on_map=False)))
                for row in found[:3]]
        cells = [map_cell(row, "pixel_tsne", "pixels", one["pixel_tsne"], drawings) for row, one in maps
                 if "pixel_tsne" in one][:1]
        cells += [map_cell(row, "map_points", row_name(row), one["map_points"], drawings) for row, one in maps
                  if "map_points" in one]
        if cells:
            lines.append({"dataset": dataset_name(dataset), "maps": cells,
                          "legend": pictures.legend(found[0].runs[0].record)})
    return lines


def map_cell(row: Row, key: str, name: str, drawing: Drawing, drawings: dict[str, Drawing]) -> dict[str, str]:
    """A small map with its title and the agreement."""
    metric = row.runs[0].record.metrics.get(f"test/{pictures.MAPS[key][1]}")
    agreement = "" if metric is None else f", {show.percent(metric.value)} %"
    return figure(f"{PREFIX}map-{len(drawings)}", replace(drawing, caption=name + agreement), drawings) or {}


def shown_run(row: Row, page: dict[str, Any], drawings: dict[str, Drawing]) -> dict[str, Any]:
    """One page of the appendix: the run of the row's lowest seed.  page: what the HTML shows of it."""
    run, record, name = row.runs[0], row.runs[0].record, f"{PREFIX}{row.anchor}"
    drawn = {"reconstructions": pictures.reconstructions(run.arrays, most=9),
             "interpolations": pictures.interpolations(record, run.arrays, most=4),
             "neighbours": pictures.neighbours(record, run.arrays, most=2, columns=3)}
    names = {"map_points": "latents, t-SNE", "map_pca": "latents, PCA", "pixel_tsne": "pixels, t-SNE",
             "pixel_pca": "pixels, PCA"}
    readable = len(record.data.classes) <= MOST_NAMED
    return {"id": name, "title": title(row), "lead": page["lead"], "legend": page["legend"],
            "columns": [*filter(None, [page["curves"]]), *page["columns"]],
            **{kind: one and (figure(f"{name}-{kind}", one, drawings) or {}) | {"width": legible_width(one)}
               for kind, one in drawn.items()},
            "maps": [map_cell(row, key, names[key], one, drawings)
                     for key, one in pictures.maps(record, run.arrays, named_on_map=False)],
            "confusion": confusion(record) | {"names": show.distinct(
                [show.plain(one) for one in record.data.classes], 16)} if readable else None,
            "classes": show.count(len(record.data.classes))}


def legible_width(drawing: Drawing) -> str:
    """The share of TEXT_WIDTH at which the smallest words of an SVG have SMALLEST points; the whole of it at most.

    A chart, whose words are large enough, keeps its size.
    """
    sizes = [float(size) for size in re.findall(rb"font(?:-size=\"|: )([\d.]+)", drawing.data)]
    width = re.search(rb"width=\"([\d.]+)pt\"", drawing.data)
    share = SMALLEST / min(sizes, default=SMALLEST) * float(width[1]) / TEXT_WIDTH if width else 1.0
    return f"{min(share, 1.0):.3f}"


@functools.cache
def drawn_characters() -> frozenset[int]:
    """Code points of DejaVu Sans."""
    return frozenset(FT2Font(str(FONTS / "DejaVuSans.ttf")).get_charmap())


def drawable(text: str, backslash: str = "\\") -> str:
    """Text with each character that the PDF's fonts cannot draw as its escape, which begins with `backslash`."""
    return re.sub(r"[^\x00-\x7f]", lambda found: found[0] if ord(found[0]) in drawn_characters() else
                  backslash + found[0].encode("unicode_escape").decode()[1:], text)


def with_drawable_classes(run: Loaded) -> tuple[Loaded, str]:
    """The run with each class that the PDF's fonts cannot draw called by its position; and a sentence that says so."""
    record, classes = run.record, [show.plain(name) for name in run.record.data.classes]
    lacking = [i for i, name in enumerate(classes) if drawable(name) != name]
    if not lacking:
        return run, ""
    if {f"class {i}" for i in lacking} & set(classes):
        lacking = list(range(len(classes)))
    names = {record.data.classes[i]: f"class {i}" for i in lacking}
    data = record.data.model_copy(update={"classes": [names.get(name, name) for name in record.data.classes]})
    parts = {name: name.split("/", 2) for name in record.metrics}
    metrics = {"/".join([*part[:2], *(names.get(one, one) for one in part[2:])]): record.metrics[name]
               for name, part in parts.items()}
    note = (f"The fonts of this document lack characters of class names of {dataset_name(record.run.dataset)}. These "
            f"classes are called by their position in the record, from 0: "
            f"{', '.join(f'class {i} is {drawable(show.shorten(classes[i], 12))}' for i in lacking)}.")
    return Loaded(run.name, run.sha256, record.model_copy(update={"data": data, "metrics": metrics}), run.arrays), note
