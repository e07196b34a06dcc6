"""What the report shows, as one dictionary of strings: the HTML and the PDF are both filled from it and so agree.

It holds strings, lists and dictionaries only and is written to JSON for the PDF.
The second half is what only the PDF shows: introduction, main table and maps, one run per data set and task, recipes.
"""

import datetime
from collections.abc import Iterable
from typing import Any, TypeVar

from report import charts, findings, pictures, prose, show, stats, summary, tables
from report.discussion import discussion
from report.drawing import Drawing
from report.load import Loaded, Rejected
from report.run_section import recipe_table, run_section
from report.summary import Results, Row, by_dataset, dataset_name, row_name, task_name
from report.verification import Verdict, verification_sentence, verification_table
from utils.images.datasets import DATASETS

T = TypeVar("T")
PREFIX = "paper-"  # of the names of drawings that only the PDF shows
MOST_DATASETS = 4  # in the PDF's figure of maps


def make_page(results: Results, rejected: list[Rejected], theory: list[dict[str, Any]] | None = None,
              verdicts: list[tuple[Loaded, Verdict]] | None = None, author: str = "", date: str = "",
              ) -> tuple[dict[str, Any], dict[str, Drawing]]:
    """The report's content, and its drawings by file name.

    theory: the sections of that chapter, if there is one; verdicts: what scoring the checkpoints again gave, if it was
    done; date: YYYY-MM-DD, by default that of the newest run.
    """
    pairs = {dataset: stats.mcnemar_pairs(rows) for dataset, rows in by_dataset(results.headline)}
    curves = {dataset: found for dataset, rows in by_dataset(results.rows) if (found := stats.label_curves(rows))}
    known = sorted({name for found in curves.values() for name in stats.short_names(found)})
    page: dict[str, Any] = {
        "title": prose.TITLE, "author": show.plain(author), "date": written(results, date),
        "verdict": [*findings.abstract(results, pairs, curves, rejected),
                    *([] if verdicts is None else [verification_sentence(verdicts)])],
        "aim": findings.aim(results) if results.rows else "",
        "discussion": discussion(results, pairs, curves),
        "asked": tables.result_table("The results that the coursework asks for, by each task's default method, or "
                                     "else by its best row.", findings.asked_rows(results)),
        "headline": tables.headline_table(results),
        "overview": [charts.overview(*one) for one in results.headline_and_missing],
        "minutes": [charts.minutes(*one) for one in by_dataset(results.headline)],
        "by_class": [charts.classes(*one) for one in by_dataset(results.headline)],
        "geometry": [charts.geometry(*one) for one in by_dataset(results.headline)],
        "warnings": summary.warnings_of(results),
        "variations": tables.variations_table([row for row in results.rows if not row.default]),
        "verification": verification_table(verdicts) if verdicts else None,
        "reading": prose.READING,
        "methods": [method._asdict() for method in prose.METHODS.values()],
        "labels": {"figures": [charts.label_fractions(*one, known) for one in curves.items()],
                   "tables": [tables.label_table(*one) for one in curves.items()]},
        "matrices": [charts.mcnemar_matrix(dataset, rows, pairs[dataset])
                     for dataset, rows in by_dataset(results.headline) if pairs[dataset]],
        "alike": [small_maps(dataset, rows) | {  # the maps and the neighbours of the same images under every method
            "neighbours": pictures.neighbour_grid([(row.method_and_recipe, row.runs[0].arrays) for row in rows])}
            for dataset, rows in by_dataset(results.headline)],
        "mcnemar": [tables.mcnemar_table(*one) for one in pairs.items() if one[1]],
        "balance": tables.balance_tables(results),
        "tasks": task_sections(results),
        "theory": theory or [],
        "runs": tables.all_runs(results) if results.rows else [],
        "others": tables.others_table(results, rejected),
        "limits": limits(results),
    }
    drawings: dict[str, Drawing] = {}
    page = collect(page, drawings)
    tested = [name for name, found in pairs.items() if found]
    page |= collect(paper_content(results, page, tested, list(curves)), drawings, PREFIX)
    return page, drawings


def collect(part: Any, drawings: dict[str, Drawing], prefix: str = "figure-") -> Any:
    """A part of the page with what the templates need of each drawing in its place; what is None leaves its list.

    drawings: by file name, to which the found ones are added; prefix: of their names.
    """
    if isinstance(part, Drawing):
        file = f"{prefix}{len(drawings)}.svg"
        drawings[file] = part
        return {"file": file, "alt": part.alt, "caption": part.caption}
    if isinstance(part, dict):
        return {key: collect(value, drawings, prefix) for key, value in part.items()}
    return [collect(one, drawings, prefix) for one in part if one is not None] if isinstance(part, list) else part


def small_maps(dataset: str, rows: list[Row]) -> dict[str, Any]:
    """t-SNE maps of the same images of a data set: of the pixels, and of each row's latents."""
    first = rows[0].runs[0]
    return {"title": dataset_name(dataset),
            "maps": pictures.map_grid([(row_name(row), row.runs[0].record, row.runs[0].arrays) for row in rows]),
            "map_settings": pictures.map_settings(first.arrays), "legend": pictures.legend(first.record)}


def task_sections(results: Results) -> list[dict[str, Any]]:
    """One section per task: its methods side by side, then one part per row, in the order of the tables."""
    tasks = sorted({row.task for row in results.rows}, key=lambda task: summary.rank(task, prose.TASKS))
    sections = []
    for position, task in enumerate(tasks, start=1):
        text = prose.TASKS.get(task, prose.Task(""))
        runs = [run_section(row) for row in results.rows if row.task == task]
        sections.append({"id": f"task-{position}", "title": text.heading or f"Task {task_name(task)}",
                         "about": text.about, "runs": runs,
                         "comparison": task_comparison(task, results)})
    return sections


def task_comparison(task: str, results: Results) -> dict[str, Any]:
    """A task's methods and the controls side by side: figures and tables, one per data set with at least two rows."""
    found = [(dataset, [row for row in rows if row.task in (task, "control")])  # with the controls
             for dataset, rows in by_dataset(results.headline) if any(row.task == task for row in rows)]
    groups = [(dataset, rows) for dataset, rows in found if len(rows) > 1]
    own = by_dataset(row for row in results.headline if row.task == task)
    return {"tables": [tables.comparison_table(task, dataset, rows) for dataset, rows in groups],
            "figures": [charts.methods(*group) for group in groups],
            "training": [charts.training(*group) for group in own],
            "reconstructions": [pictures.side_by_side([(row.method_and_recipe, row.runs[0].arrays) for row in rows])
                                for _, rows in own]}


def limits(results: Results) -> list[str]:
    """What the numbers do not say."""
    if not results.rows:
        return prose.LIMITS
    seeds = sorted({len(row.runs) for row in results.rows})
    spread = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    machines = sorted({show.plain(one.cpu if one.device == "cpu" else f"{one.device} with {one.cpu}")
                       for one in (run.record.environment for run in results.counted)})
    return ["Each row is one run, so the spread over seeds is unknown." if seeds == [1] else
            f"Rows have {spread} seeds. A standard deviation of so few values is itself imprecise.",
            f"The counted runs come from {show.plural(len(machines), 'kind')} of machine ({show.listing(machines)}). "
            "On another machine the same command takes other minutes and is another run: expect its accuracy within "
            "the spread over seeds, not the same digits.", *prose.LIMITS]


def written(results: Results, date: str) -> str:
    """The date of the report in words: the one given (YYYY-MM-DD), else that of the newest run; "" without runs."""
    day = date or max((run.record.run.started for run in results.counted), default="")[:10]
    return f"{int(day[8:])} {datetime.date.fromisoformat(day):%B} {day[:4]}" if day else ""


def paper_content(results: Results, page: dict[str, Any], tested: list[str], labelled: list[str]) -> dict[str, Any]:
    """What the PDF adds to the page: its own content, and in each task's section the runs that it shows.

    tested, labelled: the data sets with McNemar's tests and with label curves, in the page's order.
    """
    shown = findings.shown_rows(results)
    tasks = [section | {"shown": [shown_run(row, run) for row in shown for run in section["runs"]
                                  if run["id"] == row.anchor]} for section in page["tasks"]]
    best = [row for _, rows in by_dataset(results.headline) for row in findings.best_without_labels(rows)[0]]
    main = [row for row in results.rows if any(row is one for one in [*shown, *best])]
    drawn = [(name, one) for (name, _), one in zip(results.headline_and_missing, page["overview"], strict=True)]
    curves = list(zip(labelled, page["labels"]["figures"], strict=True))

    def body(found: Iterable[tuple[str, T]]) -> list[T]:
        return [one for name, one in found if name not in results.aside]
    used = {row.method for row in results.rows}
    return {"tasks": tasks, "paper": {
        "introduction": introduction(results),
        "methods": [method._asdict() for name, method in prose.METHODS.items() if name in used or not used],
        "table": tables.result_table("The main results: each task's default method or else its best row, the best "
                                     "latent learned without labels, and the best control.",
                                     body((row.dataset, row) for row in main)),
        "maps": main_maps(body((row.dataset, row) for row in shown)),
        "overview": body(drawn), "labels": body(curves), "mcnemar": body(zip(tested, page["mcnemar"], strict=True)),
        "toy": [one for name, one in [*drawn, *curves] if name in results.aside],
        "recipes": [{"title": f"{dataset_name(row.dataset)}, {row_name(row)}, seed {row.runs[0].record.run.seed}",
                     "fields": ", ".join("=".join(line[:2]) for line in recipe_table(row.runs[0].record)["rows"]),
                     "hash": row.runs[0].record.recipe.hash}
                    for row in results.rows if row.default or any(row is one for one in shown)],
        "renamed": [],
    }}


def introduction(results: Results) -> list[str]:
    """Paragraphs: the problem, the questions that the records can answer, and the images."""
    if not results.rows:
        return [prose.PROBLEM]
    questions = ["How well do the classes separate in such latents?"]
    if any(row.task == "control" for row in results.rows) and findings.ways(results):
        questions.append("How well do they separate in latents that were not learned?")
    if any(row.labels != "none" for row in results.rows) and any(row.labels == "none" for row in results.rows):
        questions.append("What are labels worth?")
    return [prose.PROBLEM, f"This report asks: {' '.join(questions)}", " ".join(images(results))]


def images(results: Results) -> list[str]:
    """One sentence on each data set: its source, classes, sizes and splits."""
    found = []
    for dataset, rows in by_dataset(row for row in results.rows if row.dataset not in results.aside):
        data = max((run.record.data for row in rows for run in row.runs), key=lambda data: data.size("train"))
        cited = DATASETS[dataset].cited if dataset in DATASETS else ""
        source = f" ({cited})" if cited else ""
        channels, height, width = data.image_shape
        kind = {1: "grey", 3: "colour"}.get(channels, f"{channels}-channel")
        found.append(f"{dataset_name(dataset)}{source} has {show.count(len(data.classes))} classes of {kind} images of "
                     f"{height} × {width} pixels: {show.count(data.size('train'))} for training, "
                     f"{show.count(data.size('val'))} for validation and {show.count(data.size('test'))} for testing.")
    return found


def main_maps(rows: list[Row]) -> list[dict[str, Any]]:
    """For each data set one line of t-SNE maps: of the pixels, and of the latents of up to three rows."""
    groups = by_dataset(row for row in rows if row.task != "control")[:MOST_DATASETS]
    return [line for dataset, found in groups if (line := small_maps(dataset, found[:3]))["maps"]]


def shown_run(row: Row, page: dict[str, Any]) -> dict[str, Any]:
    """One page of the appendix: the run of the row's lowest seed.  page: what the HTML shows of it."""
    run, record = row.runs[0], row.runs[0].record
    return page | {
        "id": f"{PREFIX}{row.anchor}",
        "columns": [*filter(None, [page["curves"]]), *page["columns"]],
        "maps": [drawing for _, drawing in pictures.maps(record, run.arrays, named_on_map=False)],
        "classes": show.count(len(record.data.classes))}
