"""One section of the chapter: a question with its answer, equations, findings, figures and tables."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from report.drawing import Drawing
from report.summary import Row, dataset_name, method_name

Section = dict[str, Any]


class Start(NamedTuple):
    """What a section says without an experiment.  equations: (Typst source without dollars, the equation in words)."""

    id: str
    title: str
    answer: str
    equations: Sequence[tuple[str, str]]


def make(start: Start, measured: Sequence[str] = (), figures: Sequence[Drawing] = (),
         tables: Sequence[dict[str, Any]] = ()) -> Section:
    """The section as the report's templates take it."""
    return {"id": start.id, "title": start.title, "paragraphs": [start.answer, *measured],
            "equations": [{"typst": source, "alt": words} for source, words in start.equations],
            "figures": list(figures), "tables": list(tables)}


def run_name(row: Row) -> str:
    """'1.2.3 SimCLR on MNIST'."""
    return f"{row.task} {method_name(row.task, row.method)} on {dataset_name(row.dataset)}"
