"""The answer: what is known, with its equation, and what the experiment measured."""

from typing import Any

from report import show
from report.elements import table
from theory.section import Section, Start, make
from theory.variance_directions.figure import draw
from theory.variance_directions.form import VarianceDirections


def answer(found: VarianceDirections | None) -> Section:
    """Question 3."""
    start = Start(
        id="variance-directions", title="Why is a good reconstruction not a good latent for classification?",
        answer=
            "Because squared error orders directions by their variance and by nothing else. Leaving a principal "
            "direction out costs exactly its share of the variance, whether it tells the classes apart or not; no "
            "label enters. If much of the variance is background, light or position, a small latent is spent on these, "
            "and what tells the classes apart is among the directions that hardly lower the error (Balestriero and "
            "LeCun 2024). Nor is the order a property of the images: once the data are whitened, every direction "
            "costs the same, while the information in each of them is what it was.",
        equations=[
            (r'"missed"(K) = (sum_(j in.not K) lambda_j) / (sum_j lambda_j)',
             "The share of the squared error that is missed when the directions K are kept is the sum of the variances "
             "lambda j of those left out over the sum of all variances")])
    if found is None:
        return make(start)
    at = found.splits.index(found.patterns)
    busy, plain = found.backgrounds, found.digits
    half = min(range(len(found.splits)), key=lambda i: abs(plain.top_missed[i] - plain.bottom_missed[i]))
    measured = [
        f"Digits on random smooth backgrounds, made of {found.patterns} patterns that have nothing to do with the "
        f"class: the first {found.patterns} principal directions miss only {show.percent(busy.top_missed[at])} % of "
        f"the test images' variance, and a linear probe reads the class from them with "
        f"{show.percent(busy.top_accuracy[at])} % accuracy (always naming the largest class gives "
        f"{show.percent(found.chance)} %). The other {busy.directions - found.patterns} miss "
        f"{show.percent(busy.bottom_missed[at])} %, and the probe reads {show.percent(busy.bottom_accuracy[at])} %.",
        f"On the digits as they are it matters little which directions are kept, only how much of the variance: the "
        f"first {found.splits[half]} of {plain.directions} miss {show.percent(plain.top_missed[half])} % and give "
        f"{show.percent(plain.top_accuracy[half])} %, all others miss {show.percent(plain.bottom_missed[half])} % and "
        f"give {show.percent(plain.bottom_accuracy[half])} %. These images hold little but the digit, so most of their "
        f"variance tells of it, and reconstruction does well. After whitening those first {found.splits[half]} "
        f"directions miss {show.percent(plain.top_white_missed[half])} %, while the probe, which standardises its "
        "input, reads what it read before. The backgrounds were put there for the purpose; natural images bring theirs "
        "along.",
    ]
    return make(start, measured=measured, figures=[draw(found)],
                tables=[variance_table(found)])


def variance_table(found: VarianceDirections) -> dict[str, Any]:
    """What both halves of every split miss and give."""
    rows = []
    for name, part in (("digits", found.digits), ("on backgrounds", found.backgrounds)):
        rows += [[name, str(split), *[show.percent(getattr(part, f"{side}_{what}")[i]) for side in ("top", "bottom")
                                      for what in ("missed", "accuracy")]] for i, split in enumerate(found.splits)]
    return table("Variance of the test images that is missed, and accuracy of a linear probe, with the first j "
                 "principal directions kept, and with all but these.",
                 ["Images", "j", "First j: missed %", "accuracy %", "All others: missed %", "accuracy %"], rows,
                 right=range(1, 6))
