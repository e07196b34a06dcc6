"""The chapter on theory: questions, each with its answer, its equation and what a small experiment measured.

Each question is a folder of theory/:
    experiment.py  computes the result: run(seed)
    result.py      the result's schema in theory.json, and its figure: draw(figure, found, runs)
    answer.md.j2   the answer and the captions, in Markdown (answers.py)
Every number comes from theory.json (`python _theory.py`) or from the records.  If that file is missing or invalid, the
answers appear without numbers and say so.  To add a question, add its folder and a line in results.py.  Nothing here
imports torch.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from report import show
from report.drawing import STYLE, Drawing, save
from report.elements import figure, table
from report.load import LONGEST_REASON, THEORY, Loaded
from report.summary import Results, dataset_name, mean_of, method_name, task_name
from theory.answers import answer
from theory.results import QUESTIONS, TheoryResults, read_theory
from utils.console import in_words
from utils.records.schema import RecordError

COMMAND = "python _theory.py"


def theory_chapter(results_dir: Path, _loaded: list[Loaded], summary: Results,
                   ) -> tuple[list[dict[str, Any]], dict[str, Drawing]]:
    """The chapter's sections, and its drawings by file name."""
    results, notes = read_results(results_dir)
    runs = own_runs(summary)
    sections: list[dict[str, Any]] = []
    drawings: dict[str, Drawing] = {}
    for name in QUESTIONS:
        found = getattr(results.experiments, name) if results else None
        section = answer(name, found, runs)
        section["figures"] = [figure(f"theory-{section['id']}", Drawing(draw(name, found, runs), alt, caption),
                                     drawings) for alt, caption in section["figures"]]
        section["paragraphs"] += notes
        sections.append(section)
    if results:
        sections[-1]["tables"].append(provenance(results))
    return sections, drawings


def own_runs(summary: Results) -> list[dict[str, Any]]:
    """The rows of the headline table as two of the answers show them; a score that a run lacks is None."""
    runs = []
    for row in summary.headline:
        run: dict[str, Any] = {"dataset": dataset_name(row.dataset), "task": task_name(row.task), "linear": row.linear,
                               "method": method_name(row.task, row.method), "seeds": len(row.runs)}
        run |= {score: mean_of(row.runs, f"test/{score}") for score in ("alignment", "uniformity")}
        after = run["after_head"] = mean_of(row.runs, "test/projection_linear_top1")
        run["head_loss"] = None if after is None else row.linear - after
        runs.append(run | {"name": f"{row.task} {run['method']} on {run['dataset']}"})
    return runs


def draw(name: str, found: Any, runs: list[dict[str, Any]]) -> bytes:
    """The figure of a question as an SVG file."""
    with matplotlib.rc_context(STYLE):
        drawn = Figure(figsize=(7.2, 2.3))
        import_module(f"theory.{name}.result").draw(drawn, found, runs)
        return save(drawn)


def read_results(results_dir: Path) -> tuple[TheoryResults | None, list[str]]:
    """theory.json, or None and a sentence that says why not and which command writes it."""
    try:
        results = read_theory(results_dir / THEORY)
    except RecordError as error:
        reason = show.shorten(show.plain(str(error)), LONGEST_REASON)
        return None, [f"The experiment's numbers are left out, because they cannot be trusted: {reason}. {COMMAND} "
                      "writes them again."]
    return results, [] if results else [f"The experiment behind this answer has not been run here: {COMMAND} runs it."]


def provenance(results: TheoryResults) -> dict[str, Any]:
    """Where the chapter's numbers come from."""
    machine = results.environment
    tree = {True: ", with changes that are not in the commit", False: "", None: ", no git"}[machine.dirty]
    versions = {"Python": machine.python, "torch": machine.torch, "numpy": machine.numpy, **results.libraries}
    facts = {"command": COMMAND, "seed": str(results.seed), "started": show.timestamp(results.started),
             "processor time": in_words(sum(results.seconds.values())), "commit": machine.commit + tree,
             "processor": f"{machine.cpu}, {show.plural(machine.threads, 'thread')}",
             "versions": ", ".join(f"{name} {version}" for name, version in versions.items())}
    return table("Provenance of this chapter's experiments.", ["What", "Value"],
                 [[what, show.plain(value)] for what, value in facts.items()], code=[1])
