"""What the report shows, as one dictionary of strings: the HTML and the PDF are both filled from it and so agree.

It holds strings, lists and dictionaries only and is written to JSON for the PDF.  Tables and figures: report.elements.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from report import charts, comparison_tables, figures_comparison, findings, paper, pictures, prose, show, stats, summary
from report.drawing import Drawing
from report.elements import collect, table
from report.load import Loaded, Rejected
from report.run_section import run_section
from report.summary import Missing, Results, Row, by_dataset, dataset_name, method_name, row_name, task_name
from report.verification import Verdict, verification_sentence, verification_table

HEADLINE_HEAD = ["Task", "Method", "Labels", "Learned dim.", "Test accuracy %", "SD (n)", "95 % interval, images",
                 "95 % interval, seeds", "Over the best control", "Reference %", "Difference (points)", "Linear %",
                 "kNN %", "Minutes (n)", "Seeds"]
LABEL_COMMANDS = ["python _main.py --task 1.2.2 --dataset mnist --labels 0.01",
                  "python _main.py --task 1.2.3 --dataset mnist --init RECORD --labels 0.01 --finetune"]

Chapter = tuple[list[dict[str, Any]], dict[str, Drawing]]  # sections, and their drawings by file name


def make_page(results: Results, rejected: list[Rejected], theory: Chapter | None = None,
              verdicts: list[tuple[Loaded, Verdict]] | None = None, author: str = "", date: str = "",
              ) -> tuple[dict[str, Any], dict[str, Drawing]]:
    """The report's content, and its drawings by file name.

    theory: the chapter on theory, if there is one; verdicts: what scoring the checkpoints again gave, if it was done;
    date: YYYY-MM-DD, by default that of the newest run.
    """
    sections, drawings = theory or ([], {})
    drawings = dict(drawings)
    pairs = {dataset: stats.mcnemar_pairs(rows) for dataset, rows in by_dataset(results.headline)}
    curves = {dataset: found for dataset, rows in by_dataset(results.rows) if (found := stats.label_curves(rows))}
    page: dict[str, Any] = {
        "title": prose.TITLE, "author": show.plain(author), "date": paper.written(results, date),
        "verdict": [*findings.abstract(results, curves, rejected),
                    *([] if verdicts is None else [verification_sentence(verdicts)])],
        "aim": findings.aim(results) if results.rows else "",
        "discussion": findings.discussion(results, pairs, curves),
        "asked": findings.result_table("The results that the coursework asks for, by each task's default method.",
                                       findings.asked_rows(results)),
        "headline": headline_table(results),
        "overview": [charts.overview(*one) for one in results.headline_and_missing],
        **{name: [draw(*one) for one in by_dataset(results.headline)]
           for name, draw in (("minutes", figures_comparison.minutes), ("by_class", figures_comparison.classes),
                              ("geometry", figures_comparison.geometry))},
        "warnings": summary.warnings_of(results),
        "variations": variations_table(results.variations),
        "verification": verification_table(verdicts) if verdicts else None,
        "reading": prose.READING,
        "methods": [method._asdict() for method in prose.METHODS.values()],
        "labels": {"figures": [charts.label_fractions(*one) for one in curves.items()],
                   "tables": [comparison_tables.label_table(*one) for one in curves.items()],
                   "commands": LABEL_COMMANDS},
        "matrices": [figures_comparison.mcnemar_matrix(dataset, rows, pairs[dataset])
                     for dataset, rows in by_dataset(results.headline) if pairs[dataset]],
        "alike": [alike_section(*one) for one in by_dataset(results.headline)],
        "mcnemar": [comparison_tables.mcnemar_table(*one) for one in pairs.items() if one[1]],
        "balance": comparison_tables.balance_tables(results),
        "tasks": task_sections(results),
        "theory": sections,
        "runs": comparison_tables.all_runs(results) if results.rows else [],
        "others": [other for other in other_tables(results, rejected) if other["rows"]],
        "limits": limits(results),
    }
    page = collect(page, drawings)
    page |= collect(paper.paper(results, page), drawings, paper.PREFIX)
    return page, drawings


def headline_table(results: Results) -> dict[str, Any]:
    """Rows in groups by data set.  A missing result has its command in place of the numbers."""
    lines: list[tuple[str, list[str]]] = []  # anchor, cells
    for dataset, rows in results.headline_and_missing:
        lines.append(("", [dataset_name(dataset) + (" (embedded toy set, 8x8 pixels)" if dataset == "digits" else "")]))
        lines += [(row.anchor, headline_row(row)) for row in rows]
    return table("Test accuracy of the classifier on the 128-d latent, mean over seeds: every method with its default "
                 "recipe, and the controls.", HEADLINE_HEAD, [cells for _, cells in lines],
                 right=range(2, len(HEADLINE_HEAD)), heads=2, anchors=[anchor for anchor, _ in lines])


def headline_row(line: Row | Missing) -> list[str]:
    """The cells below HEADLINE_HEAD; of a missing result the task and the command."""
    if isinstance(line, Missing):
        return [task_name(line.task), f"missing: {line.command} (reference {show.percent(line.reference)} %)"]
    scores, others = cells(line)
    seeds = show.NOTHING if line.seeds_interval is None else show.interval(*line.seeds_interval)
    return [task_name(line.task), line.method_and_recipe, line.labels, show.count(line.learned), *scores, seeds,
            show.points(line.over_control), show.percent(line.reference), show.points(line.difference), *others]


def cells(row: Row) -> tuple[list[str], list[str]]:
    """A row's accuracy with SD and interval, and its other scores, minutes and seeds."""
    return ([show.percent(row.accuracy), comparison_tables.spread(row), show.interval(row.low, row.high)],
            [show.percent(row.linear), show.percent(row.knn), comparison_tables.minutes(row),
             ", ".join(str(run.record.run.seed) for run in row.runs)])


def variations_table(rows: list[Row]) -> dict[str, Any] | None:
    """The rows that the headline table leaves out, with what was changed; None where there are none."""
    head = ["Data set", "Task", "Method", "Changes", *HEADLINE_HEAD[4:7], *HEADLINE_HEAD[11:]]
    lines = [[dataset_name(row.dataset), task_name(row.task), method_name(row.task, row.method), row.recipe,
              *(cell for part in cells(row) for cell in part)] for row in rows]
    return table("Variations: other encoders, fewer labels or images, an encoder from another run, any changed recipe. "
                 "They are not counted in the table above.", head, lines, right=range(4, 11), heads=4,
                 anchors=[row.anchor for row in rows]) if rows else None


def alike_section(dataset: str, rows: list[Row]) -> dict[str, Any]:
    """The maps and the neighbours of the same images under every method on one data set."""
    named = [(row_name(row), row.runs[0].record, row.runs[0].arrays) for row in rows]
    names, maps = pictures.map_grid(named)
    return {"title": dataset_name(dataset), "names": names, "maps": maps,
            "map_settings": pictures.map_settings(named[0][2]), "legend": pictures.legend(named[0][1]),
            "neighbours": pictures.neighbour_grid([(row.method_and_recipe, row.runs[0].arrays) for row in rows])}


def task_sections(results: Results) -> list[dict[str, Any]]:
    """One section per task: its methods side by side, then one part per row, in the order of the tables."""
    tasks = sorted({row.task for row in results.rows}, key=lambda task: summary.rank(task, prose.TASKS))
    sections = []
    for position, task in enumerate(tasks, start=1):
        text = prose.TASKS.get(task, prose.Task(""))
        runs = [run_section(row) for row in results.rows if row.task == task]
        sections.append({"id": f"task-{position}", "title": text.heading or f"Task {task_name(task)}",
                         "about": text.about, "runs": runs,
                         "comparison": comparison_tables.task_comparison(task, results),
                         "before": list(autoencoders(results, runs)) if task == "1.2.1" else []})
    return sections


def autoencoders(results: Results, runs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The plain autoencoder against the others: a table per data set, and reconstructions of the same images."""
    for dataset, rows in by_dataset(row for row in results.headline if row.task == "1.2.1"):
        if compared := comparison_tables.autoencoder_table(dataset, rows):
            together = pictures.side_by_side([(show.plain(row.method), row.runs[0].arrays) for row in rows])
            anchors = {row.anchor for row in rows}
            single = [replace(run["reconstructions"], caption=f"{run['title']}: {run['reconstructions'].caption}")
                      for run in runs if run["id"] in anchors and run["reconstructions"]]
            yield {"table": compared, "together": together, "single": [] if together else single}


def other_tables(results: Results, rejected: list[Rejected]) -> list[dict[str, Any]]:
    """The records that do not count, each with its reason."""
    failed = [(run, run.record.failure) for run in results.failed if run.record.failure]
    return [
        table("Quick runs: they only check that the code runs, and their accuracy is meaningless.",
              ["File", "Run", "Epochs"], [[*identity(run), str(len(run.record.history))] for run in results.quick],
              code=[0]),
        table("Failed runs.", ["File", "Run", "Epoch", "Step", "Reason"],
              [[*identity(run), str(failure.epoch), show.count(failure.step), show.plain(failure.reason)]
               for run, failure in failed], code=[0]),
        table("Repeats: same task, data set, method, recipe and seed as a newer run, which counts in their place.",
              ["File", "Run", "Started", "Counted instead"],
              [[*identity(run), show.timestamp(run.record.run.started), show.plain(newer)]
               for run, newer in results.repeats], code=[0, 3]),
        table("Rejected files: they are not valid records.", ["File", "Reason"],
              [[item.name, item.reason] for item in rejected], code=[0]),
    ]


def identity(run: Loaded) -> list[str]:
    """File name, and task, data set, method and seed in words."""
    about = run.record.run
    words = [task_name(about.task), dataset_name(about.dataset), show.plain(about.method), f"seed {about.seed}"]
    return [show.plain(run.name), ", ".join(words)]


def limits(results: Results) -> list[str]:
    """What the numbers do not say."""
    if not results.rows:
        return prose.LIMITS
    seeds = sorted({len(row.runs) for row in results.rows})
    spread = str(seeds[0]) if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    machines = sorted({f"{show.plain(run.record.environment.device)}, {show.plain(run.record.environment.cpu)}"
                       for run in results.counted})
    return [f"Each row is the mean of {spread} {'seed' if seeds[-1] == 1 else 'seeds'}. A standard deviation of so few "
            "values is itself imprecise.",
            f"The counted runs come from {show.plural(len(machines), 'machine type')} ({'; '.join(machines)}). "
            "On other machines minutes will differ, and last digits may.", *prose.LIMITS]


def readme_table(results: Results) -> str:
    """The headline table in Markdown, from the same strings as the HTML and the PDF."""
    headline, dataset = headline_table(results), ""
    wide = len(headline["head"])
    lines = [["Data set", *headline["head"]], ["---"] * 4 + ["---:"] * (wide - 3)]
    for row in headline["rows"]:
        if len(row) == 1:
            dataset = row[0]
        else:
            lines.append([markdown_text(cell) for cell in (dataset, *row, *[show.NOTHING] * (wide - len(row)))])
    note = f"\n{headline['note']}\n" if headline["note"] else ""
    return "".join(f"| {' | '.join(line)} |\n" for line in lines) + note


def markdown_text(text: str) -> str:
    """A record's text without the meanings that Markdown, its tables and HTML give to characters."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join("\\" + c if c in "\\`*_[]|~#$!@" else c for c in text)
