"""The chapter on theory: eight questions, each with its answer, its equation and what a small experiment measured.

A question is a folder of theory/: experiment.py computes, form.py checks the result, figure.py draws it, answer.py says
what it means.  Every number comes from theory.json (`python _theory.py`) or from the records; without that file, or
with an invalid one, the answers appear without numbers and say so.  To add a question: its folder, and its line in
experiments.py, in results.py and in theory_chapter().  No torch here.
"""

from pathlib import Path
from typing import Any

from report import show
from report.drawing import Drawing
from report.elements import figure, table
from report.load import LONGEST_REASON, THEORY, Loaded
from report.summary import Results
from theory.alignment_uniformity.answer import answer as alignment_uniformity
from theory.collapse.answer import answer as collapse
from theory.linear_autoencoder.answer import answer as linear_autoencoder
from theory.mutual_information.answer import answer as mutual_information
from theory.projection_head.answer import answer as projection_head
from theory.reconstruction_loss.answer import answer as reconstruction_loss
from theory.results import TheoryResults, read_theory
from theory.section import Section
from theory.temperature.answer import answer as temperature
from theory.variance_directions.answer import answer as variance_directions
from utils.records.schema import RecordError

COMMAND = "python _theory.py"


def theory_chapter(results_dir: Path, _loaded: list[Loaded], summary: Results,
                   ) -> tuple[list[Section], dict[str, Drawing]]:
    """The chapter's sections, and its drawings by file name."""
    results, note = read_results(results_dir)
    found = results.experiments if results else None
    rows = summary.headline
    sections = [
        linear_autoencoder(found.linear_autoencoder if found else None),
        reconstruction_loss(found.reconstruction_loss if found else None),
        variance_directions(found.variance_directions if found else None),
        mutual_information(found.mutual_information if found else None),
        temperature(found.temperature if found else None),
        alignment_uniformity(found.alignment_uniformity if found else None, rows),
        projection_head(found.projection_head if found else None, rows),
        collapse(found.collapse if found else None),
    ]
    drawings: dict[str, Drawing] = {}
    for section in sections:
        section["figures"] = [figure(f"theory-{section['id']}", drawing, drawings) for drawing in section["figures"]]
        section["paragraphs"] += [note] if note else []
    if results:
        sections[-1]["tables"].append(provenance(results))
    return sections, drawings


def read_results(results_dir: Path) -> tuple[TheoryResults | None, str]:
    """theory.json, or None and the sentence that says why not and which command makes it."""
    try:
        results = read_theory(results_dir / THEORY)
    except RecordError as error:
        reason = show.shorten(show.plain(str(error)), LONGEST_REASON)
        return None, f"The experiment's numbers are left out, as they cannot be trusted: {reason}. {COMMAND} writes " \
                     "them again."
    return results, "" if results else f"The experiment behind this answer has not been run here: {COMMAND} runs it."


def provenance(results: TheoryResults) -> dict[str, Any]:
    """Where the chapter's numbers come from."""
    machine = results.environment
    tree = {True: ", with changes that are not in the commit", False: "", None: ", no git"}[machine.dirty]
    versions = {"Python": machine.python, "torch": machine.torch, "numpy": machine.numpy, **results.libraries}
    facts = [("command", COMMAND), ("seed", str(results.seed)), ("started", show.timestamp(results.started)),
             ("processor time", show.duration(sum(results.seconds.values()))), ("commit", machine.commit + tree),
             ("processor", f"{machine.cpu}, {show.plural(machine.threads, 'thread')}"),
             ("versions", ", ".join(f"{name} {version}" for name, version in versions.items()))]
    return table("Provenance of this chapter's experiments.", ["What", "Value"],
                 [[what, show.plain(value)] for what, value in facts], code=[1])
