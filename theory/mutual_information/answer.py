"""The answer: what is known, with its equation, and what the experiment measured."""

from typing import Any

from report import show
from report.elements import table
from theory.mutual_information.figure import draw
from theory.mutual_information.form import MutualInformation
from theory.section import Section, Start, make


def answer(found: MutualInformation | None) -> Section:
    """Question 4."""
    start = Start(
        id="mutual-information", title="In what sense does NT-Xent bound mutual information, and how far?",
        answer=
            "The more the two views share, the better the true partner can be identified among N candidates: "
            "log N minus the InfoNCE loss is at most their mutual information I, and comes close to it with the best "
            "critic, the log density ratio (Oord et al. 2018; Poole et al. 2019). As the loss is never negative, the "
            "bound also never exceeds log N: a batch of N images cannot certify more, however much the views share. "
            "NT-Xent puts 2N \N{MINUS SIGN} 1 candidates before each anchor, so log(2N \N{MINUS SIGN} 1) minus its "
            "loss has the ceiling log(2N \N{MINUS SIGN} 1). Its denominator contains InfoNCE's, therefore its loss is "
            "no smaller and log N minus it is a bound as well. For the tighter log(2N \N{MINUS SIGN} 1) the proof "
            "does not go through, because the negatives come in pairs of views of one image and are not independent. "
            "In training the critic is a cosine over the temperature, which need not be the best one, and then the "
            "bound is looser.",
        equations=[
            (r'log N - cal(L)_"InfoNCE" <= min{I(v; v^prime), log N}',
             "log N minus the InfoNCE loss is at most the smaller of the mutual information of the views and log N"),
            (r'log N - cal(L)_"NT-Xent" <= I(v; v^prime) quad "and" quad '
             r'log(2 N - 1) - cal(L)_"NT-Xent" <= log(2 N - 1)',
             "log N minus the NT-Xent loss is at most the mutual information, and log of 2N minus 1 minus the NT-Xent "
             "loss is at most log of 2N minus 1")])
    if found is None:
        return make(start)
    return make(start, measured=mutual_information_findings(found), figures=[draw(found)],
                tables=bound_tables(found))


def mutual_information_findings(found: MutualInformation) -> list[str]:
    """What was measured with known mutual information."""
    strong = max(found.gaussian, key=lambda row: (row.information, row.n))
    weak = min(found.gaussian, key=lambda row: (row.information, -row.n))
    above = [row for row in found.gaussian if row.bound > row.information + 3 * row.standard_error]
    verdict = "No bound lies" if not above else f"{len(above)} of {len(found.gaussian)} bounds lie"
    sphere = max((row for row in found.sphere), key=lambda row: (row.information, row.n))
    largest = max(found.one_bit, key=lambda row: row.estimate - row.information)
    excess = largest.estimate - largest.information
    over = f"lies {show.significant(excess)} nats above I at N = {largest.n}" if excess > 0 else "stays below I"
    return [
        f"Gaussians in {found.dimensions} dimensions whose mutual information is known, with the best critic in closed "
        f"form, {show.count(found.anchors)} anchors for each figure: at I = {show.significant(weak.information)} nats "
        f"and N = {weak.n} the bound reads {show.significant(weak.bound)}; at I = "
        f"{show.significant(strong.information)} it reads {show.significant(strong.bound)}, below the ceiling "
        f"{show.significant(strong.ceiling)}. {verdict} more than three standard errors above I.",
        f"NT-Xent itself, by the project's loss: for unit vectors of which one is scattered around the other by a von "
        f"Mises-Fisher law, the cosine over the temperature is the best critic. At I = "
        f"{show.significant(sphere.information)} and N = {sphere.n}, log(2N \N{MINUS SIGN} 1) minus the loss is "
        f"{show.significant(sphere.estimate)}, and log N minus the loss, the proven bound, "
        f"{show.significant(sphere.bound)}. The gap in the proof matters: for two views "
        f"that are the same fair bit, with a perfect critic, it {over}, computed exactly.",
    ]


def bound_tables(found: MutualInformation) -> list[dict[str, Any]]:
    """The numbers behind the curves, in nats."""
    gaussian = [[show.significant(row.information), str(row.n), show.significant(row.bound),
                 show.significant(row.standard_error), show.significant(row.ceiling)] for row in found.gaussian]
    sphere = [[show.significant(row.information), f"{row.temperature:g}", str(row.n), show.significant(row.bound),
               show.significant(row.estimate), show.significant(row.standard_error), show.significant(row.ceiling)]
              for row in found.sphere]
    bit = [[str(row.n), show.significant(row.information), show.significant(row.bound), show.significant(row.estimate)]
           for row in found.one_bit]
    larger = "log(2N \N{MINUS SIGN} 1) \N{MINUS SIGN} loss"
    smaller = "log N \N{MINUS SIGN} loss"
    return [
        table("InfoNCE on Gaussians, in nats.", ["I", "N", smaller, "Standard error", "log N"], gaussian,
              right=range(5)),
        table("NT-Xent on the sphere, in nats.", ["I", "Temperature", "N", smaller, larger, "Standard error",
                                                  "log(2N \N{MINUS SIGN} 1)"], sphere, right=range(7)),
        table("NT-Xent where both views are one fair bit, exactly, in nats.", ["N", "I", smaller, larger], bit,
              right=range(4)),
    ]
