"""What only the PDF shows: introduction, main table and maps, one run for each data set and task, recipes.

Its drawings have names that begin with PREFIX; the HTML leaves them out.
"""

import datetime
import functools
import re
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.ft2font import FT2Font

from report import findings, pictures, prose, show
from report.elements import MOST_NAMED
from report.load import Loaded
from report.run_section import confusion, recipe_table
from report.summary import Results, Row, by_dataset, dataset_name, row_name

PREFIX = "paper-"
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"  # with DejaVu Sans, which draws what Typst's own fonts lack
REFERENCES = Path(__file__).parent / "templates" / "references.bib"
MOST_DATASETS = 4  # in the figure of maps


def written(results: Results, date: str) -> str:
    """The date of the report in words: the one given (YYYY-MM-DD), else that of the newest run; "" without runs."""
    day = date or max((run.record.run.started for run in results.counted), default="")[:10]
    return f"{int(day[8:])} {datetime.date.fromisoformat(day):%B} {day[:4]}" if day else ""


def paper(results: Results, page: dict[str, Any]) -> dict[str, Any]:
    """What the PDF adds to the page: its own content, and in each task's section the runs that it shows."""
    shown = findings.shown_rows(results)
    tasks = [section | {"shown": [shown_run(row, run) for row in shown for run in section["runs"]
                                  if run["id"] == row.anchor]} for section in page["tasks"]]
    best = [row for _, rows in by_dataset(results.headline) for row in findings.best_without_labels(rows)[0]]
    main = [row for row in results.rows if any(row is one for one in [*shown, *best])]
    used = {row.method for row in results.rows}
    return {"tasks": tasks, "paper": {
        "introduction": introduction(results),
        "methods": [method._asdict() for name, method in prose.METHODS.items() if name in used or not used],
        "table": findings.result_table("The main results: each task's default method or else its best row, the best "
                                       "latent learned without labels, and the best control.", main),
        "maps": main_maps(shown),
        "recipes": [{"title": title(row), "fields": ", ".join("=".join(line[:2]) for line in recipe_table(
            row.runs[0].record)["rows"]), "hash": row.runs[0].record.recipe.hash}
            for row in results.rows if row.default or any(row is one for one in shown)],
        "references": re.findall(r"^@\w+\{(\w+),", REFERENCES.read_text(encoding="utf-8"), re.MULTILINE),
        "renamed": [],
    }}


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


def main_maps(rows: list[Row]) -> list[dict[str, Any]]:
    """For each data set one line of t-SNE maps: of the pixels, and of the latents of up to three rows."""
    lines = []
    for dataset, found in by_dataset(row for row in rows if row.task != "control")[:MOST_DATASETS]:
        named = [(row_name(row), row.runs[0].record, row.runs[0].arrays) for row in found[:3]]
        lines.append({"title": dataset_name(dataset), "maps": pictures.map_grid(named)[1],
                      "legend": pictures.legend(named[0][1])})
    return [line for line in lines if line["maps"]]


def shown_run(row: Row, page: dict[str, Any]) -> dict[str, Any]:
    """One page of the appendix: the run of the row's lowest seed.  page: what the HTML shows of it."""
    run, record = row.runs[0], row.runs[0].record
    readable = len(record.data.classes) <= MOST_NAMED
    return page | {
        "id": f"{PREFIX}{row.anchor}", "title": title(row),
        "columns": [*filter(None, [page["curves"]]), *page["columns"]],
        "maps": [drawing for _, drawing in pictures.maps(record, run.arrays, named_on_map=False)],
        "confusion": confusion(record) | {"names": show.distinct(
            [show.plain(one) for one in record.data.classes], 16)} if readable else None,
        "classes": show.count(len(record.data.classes))}


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
