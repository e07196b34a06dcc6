"""Render the template of an answer, theory/<question>/answer.md.j2, as a section of the report.

A template is Markdown with blank lines between blocks, of these kinds only; the first paragraph is the answer itself:
    # title
    $ equation in Typst $ followed by the same in words
    ![alternative text](result.py) followed by the caption
    caption of a table, followed by lines of | cells |
Numbers go through the filters of report/show.py.  Text from a file is never interpreted as Markdown or as several lines
(`shown`).  The result is plain text, which the report's own templates escape.
"""

import re
from pathlib import Path
from typing import Any

import jinja2

from report import show
from report.elements import table
from utils.records.schema import Strict

BAR = "\ue000"  # a | in a value; show.plain escapes this character, so that no value contains it


def shown(value: object) -> object:
    """What a template prints for a value.  TypeError for a number that is not rounded."""
    if value is None or isinstance(value, float):
        raise TypeError(f"{value} must be printed through a filter")
    return show.plain(value).replace("|", BAR) if isinstance(value, str) else value


TEMPLATES = jinja2.Environment(loader=jinja2.FileSystemLoader(Path(__file__).parent), undefined=jinja2.StrictUndefined,
                               trim_blocks=True, lstrip_blocks=True, finalize=shown)
for function in (show.count, show.percent, show.points, show.significant):
    TEMPLATES.filters[function.__name__] = function


def answer(name: str, found: Strict | None, runs: list[dict[str, Any]]) -> dict[str, Any]:
    """The section on a question as a dictionary for the report; figures are (alternative text, caption).

    found: the experiment's result, or None; runs: chapter.own_runs.
    """
    section: dict[str, Any] = {"id": name.replace("_", "-"), "title": "", "paragraphs": [], "equations": [],
                               "figures": [], "tables": []}
    text = TEMPLATES.get_template(f"{name}/answer.md.j2").render(found=found, runs=runs)
    for block in re.split(r"\n\s*\n", text.strip()):
        words = " ".join(block.split()).replace(BAR, "|")
        if words.startswith("# "):
            section["title"] = words[2:]
        elif match := re.fullmatch(r"\$ (.*) \$ (.*)", words):
            section["equations"].append({"typst": match[1], "alt": match[2]})
        elif match := re.fullmatch(r"!\[(.*?) *\]\(result\.py\) (.*)", words):
            section["figures"].append(match.groups())
        elif "\n|" in block:
            section["tables"].append(read_table(block.splitlines()))
        else:
            section["paragraphs"].append(words)
    return section


def read_table(lines: list[str]) -> dict[str, Any]:
    """A table from the lines of its caption, head, alignment (---: means right) and rows."""
    caption = " ".join(line for line in lines if not line.startswith("|"))
    head, alignment, *rows = [[cell.strip().replace(BAR, "|") for cell in line[1:].removesuffix("|").split("|")]
                              for line in lines if line.startswith("|")]
    return table(caption, head, rows, right=[i for i, cell in enumerate(alignment) if cell.endswith(":")])
