"""The result in theory.json, and its figure: accuracy against missed variance.  No torch here."""

from typing import Annotated, Literal

from matplotlib.figure import Figure
from pydantic import Field

from report.drawing import BLUE, MUTED, ORANGE
from theory.fields import named
from utils.records.schema import Fraction, Positive, Strict

SPLITS = (1, 2, 4, 6, 8, 16, 32)


class Part(Strict):
    missed: Fraction  # share of the test images' squared deviation that a projection on these directions loses
    accuracy: Fraction


class Split(Strict):
    first: Positive  # j, one of SPLITS
    leading: Part  # the first j principal directions
    others: Part


class Directions(Strict):
    directions: Annotated[int, Field(gt=SPLITS[-1], lt=2**63)]
    splits: Annotated[list[Split], named(SPLITS, "first")]

    def at(self, first: int) -> Split:
        """The split after so many directions, one of SPLITS."""
        return self.splits[SPLITS.index(first)]

    @property
    def most_even(self) -> Split:
        """The split whose parts miss the most similar shares."""
        return min(self.splits, key=lambda split: abs(split.leading.missed - split.others.missed))


class Result(Strict):
    patterns: Literal[6]  # background patterns, one of SPLITS
    chance: Fraction  # share of the largest class
    digits: Directions
    backgrounds: Directions


def draw(figure: Figure, found: Result, _: object) -> None:
    """Draw probe accuracy against the variance missed, for the first directions and for the others."""
    panels = figure.subplots(1, 2, sharey=True)
    for axes, part, title in zip(panels, (found.digits, found.backgrounds),
                                 ("digits", "digits on random backgrounds"), strict=True):
        for side, colour, style, label in (("leading", BLUE, "-", "first j directions"),
                                           ("others", ORANGE, "--", "all but the first j")):
            kept = [getattr(split, side) for split in part.splits]
            axes.plot([100 * one.missed for one in kept], [100 * one.accuracy for one in kept], "o", color=colour,
                      linestyle=style, label=label)
        axes.axhline(100 * found.chance, color=MUTED, linestyle=":", linewidth=1)
        axes.set(xlabel="variance missed (%)", title=title, xlim=(-2, 102), ylim=(0, 102))
        axes.grid(axis="y")
    panels[0].set_ylabel("linear probe (%)")
    panels[1].legend(loc="center")
