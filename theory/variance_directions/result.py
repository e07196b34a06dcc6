"""The result in theory.json, and its figure: accuracy against missed variance.  No torch here."""

from typing import Self

from matplotlib.figure import Figure
from pydantic import model_validator

from report.drawing import BLUE, MUTED, ORANGE
from theory.fields import Rows
from utils.records.schema import Fraction, Positive, Strict, require


class Part(Strict):
    missed: Fraction  # share of the test images' squared deviation that a projection on these directions loses
    accuracy: Fraction


class Split(Strict):
    first: Positive  # j
    leading: Part  # the first j principal directions
    others: Part


class Directions(Strict):
    directions: Positive
    splits: Rows[Split]

    def at(self, first: int) -> Split:
        """The split after so many directions."""
        return next(split for split in self.splits if split.first == first)

    @property
    def most_even(self) -> Split:
        """The split whose parts miss the most similar shares."""
        return min(self.splits, key=lambda split: abs(split.leading.missed - split.others.missed))


class VarianceDirections(Strict):
    patterns: Positive  # background patterns
    chance: Fraction  # share of the largest class
    digits: Directions
    backgrounds: Directions

    @model_validator(mode="after")
    def _check(self) -> Self:
        for part in (self.digits, self.backgrounds):
            splits = [split.first for split in part.splits]
            require(self.patterns in splits, "the number of background patterns is no split")
            require(max(splits) < part.directions, "a split leaves no other directions")
        return self


def draw(figure: Figure, found: VarianceDirections, _: object) -> None:
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
