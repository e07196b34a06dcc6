"""The chapter on theory: questions, each with its answer, its equation and what a small experiment measured.

Each question is a folder of theory/:
    experiment.py  computes the result: run(seed)
    result.py      the result's schema in theory.json, and its figure: draw(figure, found, runs)
    answer.md.j2   the answer and the captions, in Markdown
Every number comes from theory.json (`python _theory.py`) or from the records.  If that file is missing or invalid, the
answers appear without numbers and say so.  To add a question, add its folder and its name in results.py.  Nothing here
imports torch.

An answer is Markdown with blank lines between blocks, of these kinds only; the first paragraph is the answer itself:
    # title
    $ equation in Typst $ followed by the same in words
    ![alternative text](result.py) followed by the caption
    caption of a table, followed by lines of | cells |
A fraction has four significant digits unless it goes through another filter of report/show.py.  The only texts that a
template prints are names which the schema fixes, so none is read as Markdown; runs' names of data sets are for figures
alone.  The report's templates escape the sections.
"""

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
from matplotlib.figure import Figure

from report import show
from report.drawing import STYLE, Drawing, save
from report.load import LONGEST_REASON, THEORY
from report.summary import Results, dataset_name, mean_of
from report.tables import table
from theory.results import QUESTIONS, TheoryResults, read_theory
from utils.console import duration_in_words
from utils.records.schema import RecordError, Strict

COMMAND = "python _theory.py"


def theory_chapter(results_dir: Path, summary: Results) -> list[dict[str, Any]]:
    """The chapter's sections for the report; figures are drawings."""
    note = f"The experiment behind this answer has not been run here: {COMMAND} runs it."
    try:
        results = read_theory(results_dir / THEORY)
    except RecordError as error:
        results = None
        reason = show.shorten(show.plain(str(error)), LONGEST_REASON)
        note = (f"The experiment's numbers are left out, because they cannot be trusted: {reason}. {COMMAND} "
                "writes them again.")
    runs = own_runs(summary)
    sections = [answer(name, results and getattr(results.experiments, name), runs) for name in QUESTIONS]
    if results:
        sections[-1]["tables"].append(provenance(results))
    else:
        for section in sections:
            section["paragraphs"].append(note)
    return sections


def own_runs(summary: Results) -> list[dict[str, Any]]:
    """What two of the answers need of the rows of the headline table; a score that a run lacks is None.

    head_loss: how much more accurate the linear probe is before the projection head than after it.
    """
    runs = []
    for row in summary.headline:
        after = mean_of(row.runs, "test/projection_linear_top1")
        runs.append({"dataset": dataset_name(row.dataset), "alignment": mean_of(row.runs, "test/alignment"),
                     "uniformity": mean_of(row.runs, "test/uniformity"),
                     "head_loss": None if after is None else row.linear - after})
    return runs


TEMPLATES = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), undefined=jinja2.StrictUndefined,
                               trim_blocks=True, lstrip_blocks=True,
                               finalize=lambda value: show.significant(value) if isinstance(value, float) else value)
TEMPLATES.filters |= {"count": show.count, "percent": show.percent}


def answer(name: str, found: Strict | None, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """A question's section as a dictionary for the report.  found: the experiment's result, or None; runs: own_runs."""
    section: dict[str, Any] = {"id": name.replace("_", "-"), "title": "", "paragraphs": [], "equations": [],
                               "figures": [], "tables": []}
    text = TEMPLATES.get_template(f"{name}/answer.md.j2").render(found=found, runs=runs)
    for block in re.split(r"\n\s*\n", text.strip()):
        words = " ".join(block.split())
        if words.startswith("# "):
            section["title"] = words[2:]
        elif match := re.fullmatch(r"\$ (.*) \$ (.*)", words):
            section["equations"].append({"typst": match[1], "alt": match[2]})
        elif match := re.fullmatch(r"!\[(.*?) *\]\(result\.py\) (.*)", words):
            section["figures"].append(Drawing(draw(name, found, runs), *match.groups()))
        elif "\n|" in block:
            section["tables"].append(read_table(block.splitlines()))
        else:
            section["paragraphs"].append(words)
    return section


def read_table(lines: list[str]) -> dict[str, Any]:
    """A table from the lines of its caption, head, alignment (---: means right) and rows."""
    caption = " ".join(line for line in lines if not line.startswith("|"))
    head, alignment, *rows = [[cell.strip() for cell in line[1:].removesuffix("|").split("|")]
                              for line in lines if line.startswith("|")]
    return table(caption, head, rows, right=[i for i, cell in enumerate(alignment) if cell.endswith(":")])


def draw(name: str, found: Any, runs: list[dict[str, Any]]) -> bytes:
    """The figure of a question as an SVG file."""
    with matplotlib.rc_context(STYLE):
        drawn = Figure(figsize=(7.2, 2.3))
        import_module(f"theory.{name}.result").draw(drawn, found, runs)
        return save(drawn)


def provenance(results: TheoryResults) -> dict[str, Any]:
    """The table of how the results were computed: command, seed, time, commit, machine and versions."""
    machine = results.environment
    tree = {True: ", with changes that are not in the commit", False: "", None: ", no git"}[machine.dirty]
    versions = {"Python": machine.python, "torch": machine.torch, "numpy": machine.numpy, **results.libraries}
    facts = {"command": COMMAND, "seed": str(results.seed), "started": show.timestamp(results.started),
             "processor time": duration_in_words(sum(results.seconds.values())), "commit": machine.commit + tree,
             "processor": f"{machine.cpu}, {show.plural(machine.threads, 'thread')}",
             "versions": ", ".join(f"{name} {version}" for name, version in versions.items())}
    return table("Provenance of this chapter's experiments.", ["What", "Value"],
                 [[what, show.plain(value)] for what, value in facts.items()], code=[1])
