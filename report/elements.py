"""The two bricks of the page: a table of strings, and a figure kept under a file name."""

from collections.abc import Sequence
from typing import Any

from report.charts import Drawing


def table(caption: str, head: list[str], rows: list[list[str]], right: Sequence[int] = (),
          code: Sequence[int] = ()) -> dict[str, Any]:
    """One table as the templates read it.  right: columns that are numbers; code: those in a typewriter face."""
    return {"caption": caption, "head": head, "rows": rows, "right": list(right), "code": list(code)}


def figure(name: str, drawing: Drawing | None, drawings: dict[str, Drawing]) -> dict[str, str] | None:
    """Keep a drawing under a file name and return what the templates need of it; None stays None."""
    if drawing is None:
        return None
    file = f"{name}.{drawing.suffix}"
    drawings[file] = drawing
    return {"file": file, "alt": drawing.alt, "caption": drawing.caption}
