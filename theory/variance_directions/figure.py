"""The figure, from the numbers in theory.json."""

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from report import show
from report.drawing import BLUE, MUTED, ORANGE, STYLE, Drawing, save
from theory.variance_directions.form import VarianceDirections

DASHED = (0, (4, 1.5))


def draw(found: VarianceDirections) -> Drawing:
    """Accuracy against what the reconstruction misses, for both halves of every split."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(7.2, 2.4))
        panels = figure.subplots(1, 2, sharey=True)
        for axes, part, title in zip(panels, (found.digits, found.backgrounds),
                                     ("digits", "digits on random backgrounds"), strict=True):
            for side, colour, style, label in (("top", BLUE, "-", "first j directions"),
                                               ("bottom", ORANGE, DASHED, "all but the first j")):
                axes.plot(100 * np.array(getattr(part, f"{side}_missed")),
                          100 * np.array(getattr(part, f"{side}_accuracy")), "o", color=colour, linestyle=style,
                          label=label)
            axes.axhline(100 * found.chance, color=MUTED, linestyle=":", linewidth=1)
            axes.set(xlabel="variance missed (%)", title=title, xlim=(-2, 102), ylim=(0, 102))
            axes.grid(axis="y")
        panels[0].set_ylabel("linear probe (%)")
        panels[1].legend(loc="center")
        data = save(figure)
    at = found.splits.index(found.patterns)
    busy = found.backgrounds
    alt = (f"With backgrounds the first {found.patterns} directions miss {show.percent(busy.top_missed[at])} % of the "
           f"variance and give {show.percent(busy.top_accuracy[at])} % accuracy; the others miss "
           f"{show.percent(busy.bottom_missed[at])} % and give {show.percent(busy.bottom_accuracy[at])} %. Without "
           f"backgrounds the first {found.patterns} give {show.percent(found.digits.top_accuracy[at])} %, the others "
           f"{show.percent(found.digits.bottom_accuracy[at])} %.")
    return Drawing("svg", data, alt, "Accuracy of a linear probe against the share of the variance that a "
                                     "reconstruction from the same directions misses; the dotted line is the "
                                     "largest class.")
