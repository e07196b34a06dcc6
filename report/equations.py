"""Equations: Typst's mathematics is their one source.  The PDF sets it natively, the HTML shows it as inline SVG.

The strings come from this repository's own code, never from a record.
"""

from collections.abc import Sequence

import typst
from markupsafe import Markup

from report.charts import INK, inline_svg

SIZE = 11  # points
PAGE = f"""#set page(width: auto, height: auto, margin: (x: 1pt, y: 2pt), fill: none)
#set text(size: {SIZE}pt, fill: rgb("{INK}"))
"""


def render(equations: Sequence[dict[str, str]]) -> dict[str, Markup]:
    """Every equation as an element of the page, by its Typst source.

    equations: {"typst": source without dollars, "alt": what it says in words}.  One call sets them all, a page each.
    """
    unique = {one["typst"]: one["alt"] for one in equations}
    if not unique:
        return {}
    source = PAGE + "\n#pagebreak()\n".join(f"$ {formula} $" for formula in unique)
    pages = typst.compile(source.encode(), format="svg", ignore_system_fonts=True)
    pages = pages if isinstance(pages, list) else [pages]
    return {formula: Markup(inline_svg(data, f"equation-{i}-", alt, keep_size=SIZE))
            for i, (data, (formula, alt)) in enumerate(zip(pages, unique.items(), strict=True), start=1)}
