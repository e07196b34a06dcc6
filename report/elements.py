"""What both templates read: a table of strings, and a figure kept under a file name."""

from collections.abc import Sequence
from typing import Any

from report import show
from report.drawing import Drawing

MOST_NAMED = 30  # classes; above it the names on a map, a table of classes and a confusion matrix cannot be read


def table(caption: str, head: list[str], rows: list[list[str]], right: Sequence[int] = (),
          code: Sequence[int] = (), heads: int = 1, anchors: Sequence[str] = ()) -> dict[str, Any]:
    """One table.  right: columns of numbers; code: columns in a typewriter face.

    heads: how many of the first columns name a row; anchors: for each row, where the last of them leads on the page.
    A row of one cell is the heading of those below it; the last cell of another short row takes the remaining columns.
    """
    numbers = "".join(row[i] for row in rows for i in right if i < len(row))
    note = "\n".join(f"{mark} {meaning}" for mark, meaning in show.MARKS.items() if mark in numbers)
    return {"caption": caption, "head": head, "rows": rows, "right": list(right), "code": list(code), "heads": heads,
            "anchors": list(anchors), "note": note}


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
