"""Equations are written once, in Typst's mathematics: the PDF sets them natively, the HTML shows them as inline SVG.

The strings come from this repository's own code, never from a record.
"""

from collections.abc import Sequence
from typing import Any

import typst
from markupsafe import Markup

from report.drawing import INK, inline_svg

SIZE = 11  # points
PAGE = f"""#set page(width: auto, height: auto, margin: (x: 1pt, y: 2pt), fill: none)
#set text(size: {SIZE}pt, fill: rgb("{INK}"))
"""


def render(equations: Sequence[dict[str, Any]]) -> dict[str, Markup]:
    """Every equation as an element of the page, by its Typst source.

    equations: {"typst": source without dollar signs, "alt": the equation in words}.  One call sets all of them.
    """
    unique = {one["typst"]: one["alt"] for one in equations}
    if not unique:
        return {}
    source = PAGE + "\n#pagebreak()\n".join(f"$ {formula} $" for formula in unique)  # one page per equation
    compiled = typst.compile(source.encode(), format="svg", ignore_system_fonts=True)
    pages = compiled if isinstance(compiled, list) else [compiled]
    return {formula: Markup(inline_svg(data, f"equation-{i}-", alt, keep_size=SIZE))
            for i, (data, (formula, alt)) in enumerate(zip(pages, unique.items(), strict=True), start=1)}
