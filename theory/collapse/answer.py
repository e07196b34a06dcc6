"""The answer: what is known, with its equation, and what the experiment measured."""

from typing import Any

from report import show
from report.elements import table
from theory.collapse.figure import draw
from theory.collapse.form import Collapse
from theory.section import Section, Start, make


def answer(found: Collapse | None) -> Section:
    """Question 8."""
    start = Start(
        id="collapse", title="What is collapse, and what prevents it in each method?",
        answer=
            "If agreement of two views were all that is asked for, one constant latent would be perfect. Every method "
            "has a part that rules this out. SimCLR, DCL and MoCo push negatives apart; MoCo takes them from a queue, "
            "so that they do not depend on the batch. VICReg holds the standard deviation of every coordinate up (the "
            "variance term) and decorrelates the coordinates (the covariance term), so that they do not all say the "
            "same. BYOL has no such term: constant latents would minimise its loss, but the predictor, and the target "
            "through which no gradient flows, make training go elsewhere; its moving average steadies that target, "
            "yet is not needed (SimSiam, Chen and He 2021). Why this works is understood for linear networks (Tian et "
            "al. 2021) and depends on normalisation or a careful start (Richemond et al. 2020).",
        equations=[
            (r'f equiv "const" quad => quad EE norm(f(v) - f(v^prime))^2 = 0',
             "A constant f makes the expected squared distance of the two views' latents zero"),
            (r'"spread" = sqrt(d) / d sum_(k=1)^d "std"(z_k \/ norm(z)), quad '
             r'"rank" = exp(- sum_k p_k log p_k), quad p_k = sigma_k / (sum_l sigma_l)',
             "Spread is the square root of d times the mean over the d coordinates of the standard deviation of the "
             "normalised latents; effective rank is the exponential of the entropy of the singular values' shares")])
    if found is None:
        return make(start)
    return make(start, measured=collapse_findings(found), figures=[draw(found)],
                tables=[collapse_table(found)])


def collapse_findings(found: Collapse) -> list[str]:
    """What happened to every method with and without its part."""
    rows = {row.name: row for row in found.rows}
    whole = [row for row in found.rows if not row.without]
    left_out = [row for row in found.rows if row.without]
    gone = [row for row in left_out if row.spread < found.threshold]
    kept = [row for row in left_out if row.spread >= found.threshold]
    positives, full, thin = rows["positives_only"], rows["vicreg"], rows["vicreg_no_covariance"]
    standing = [row for row in whole if row.spread >= found.threshold]
    first = (
        f"The same small network with batch normalisation, trained for {found.steps} steps on digits with small shifts "
        f"and noise; a spread below {show.significant(found.threshold)} is called collapse, 1 is even. "
        f"{len(standing)} of {len(whole)} whole methods keep their spread ("
        f"{show.listing([f'{show.plain(row.method)} {show.significant(row.spread)}' for row in whole])}). ")
    first += f"Collapsed: {show.listing([variant(row) for row in gone])}. " if gone else ""
    first += f"Not collapsed: {show.listing([variant(row) for row in kept])}." if kept else ""
    return [
        first,
        f"Without the covariance term VICReg's spread stays, but its latents use fewer dimensions: effective rank "
        f"{show.significant(thin.rank_about_mean)} against {show.significant(full.rank_about_mean)}, and the linear "
        f"probe falls from {show.percent(full.linear_accuracy)} % to {show.percent(thin.linear_accuracy)} %.",
        f"Two warnings. The effective rank about the mean cannot see a latent that has become one point: with the "
        f"negatives left out it is {show.significant(positives.rank_about_mean)} of {found.width}, because what is "
        f"left of a point is noise; about the origin it is {show.significant(positives.rank_about_origin)}. And the "
        f"collapse is not complete after so few steps: a probe that magnifies what is left still reads "
        f"{show.percent(positives.linear_accuracy)} % there, against "
        f"{show.percent(found.untrained.linear_accuracy)} % in the untrained network.",
    ]


def variant(row: Any) -> str:
    """'BYOL without the predictor (0.1364)'."""
    return f"{show.plain(row.method)} without {show.plain(row.without)} ({show.significant(row.spread)})"


def collapse_table(found: Collapse) -> dict[str, Any]:
    """All variants."""
    rows = [[show.plain(row.method), show.plain(row.without) or "nothing", show.significant(row.spread),
             show.significant(row.rank_about_origin), show.significant(row.rank_about_mean),
             show.percent(row.linear_accuracy)] for row in found.rows]
    start = found.untrained
    rows.append(["untrained network", show.NOTHING, show.significant(start.spread),
                 show.significant(start.rank_about_origin), show.significant(start.rank_about_mean),
                 show.percent(start.linear_accuracy)])
    return table(f"Every method with and without the part that prevents collapse; {found.width} dimensions, test "
                 "digits.",
                 ["Method", "Left out", "Spread", "Rank about the origin", "Rank about the mean", "Linear %"], rows,
                 right=[2, 3, 4, 5])
