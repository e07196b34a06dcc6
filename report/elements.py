"""What both templates read: a table of strings, and a figure kept under a file name."""

from collections.abc import Iterable, Sequence
from typing import Any

from report.drawing import Drawing

MOST_NAMED = 30  # classes; above it the names on a map, a table of classes and a confusion matrix cannot be read


def table(caption: str, head: list[str], rows: list[list[str]], right: Sequence[int] = (),
          code: Sequence[int] = (), heads: int = 1, anchors: Sequence[str] = ()) -> dict[str, Any]:
    """One table.  right: columns of numbers; code: columns in a typewriter face.

    heads: how many of the first columns name a row; anchors: for each row, where the last of them leads on the page.
    """
    return {"caption": caption, "head": head, "rows": rows, "right": list(right), "code": list(code), "heads": heads,
            "anchors": list(anchors)}


def figure(name: str, drawing: Drawing | None, drawings: dict[str, Drawing]) -> dict[str, str] | None:
    """Add a drawing to `drawings` under a file name and return what the templates need of it; None stays None."""
    if drawing is None:
        return None
    file = f"{name}.svg"
    drawings[file] = drawing
    return {"file": file, "alt": drawing.alt, "caption": drawing.caption}


def figures(name: str, drawn: Iterable[Drawing | None], drawings: dict[str, Drawing]) -> list[dict[str, str]]:
    """The same for several drawings, numbered; those that are None are left out."""
    found = (figure(f"{name}-{i}", drawing, drawings) for i, drawing in enumerate(drawn, start=1))
    return [one for one in found if one]
