"""The answer: what is known, with its equation, and what the experiment measured."""

from report import show
from report.elements import table
from theory.section import Section, Start, make
from theory.temperature.figure import draw
from theory.temperature.form import Temperature


def answer(found: Temperature | None) -> Section:
    """Question 5."""
    start = Start(
        id="temperature", title="What does the temperature do?",
        answer=
            "It decides which negatives matter. The gradient of an anchor's loss with respect to its similarity to "
            "a negative is the softmax weight of that negative over t; the positive's gradient is the sum of these "
            "with the other sign. At a low temperature nearly all the weight lies on the negatives that are nearest, "
            "at a high one all negatives push alike (Wang and Liu 2021). A low temperature therefore spreads the "
            "latent more evenly but also pushes apart images that are alike for a good reason, such as two of one "
            "class; a high one tolerates them and separates less.",
        equations=[
            (r"(partial cal(L)_i) / (partial s_(i j)) = P_(i j) / t, quad "
             r"P_(i j) = exp(s_(i j) \/ t) / (sum_(k != i) exp(s_(i k) \/ t)), quad "
             r"(partial cal(L)_i) / (partial s_(i p)) = - 1 / t sum_(j != i\, p) P_(i j)",
             "The derivative of anchor i's loss by its similarity to negative j is P i j over t, where P is the "
             "softmax of the similarities over t; the derivative by the similarity to its positive p is minus the "
             "sum of the negatives' P over t")])
    if found is None:
        return make(start)
    rows = sorted(found.rows, key=lambda row: row.temperature)
    low, high = rows[0], rows[-1]
    measured = [
        f"Two views each of {found.images} digits, compared by the cosine of their pixels about the mean, "
        f"{found.negatives} negatives to an anchor. The nearest {show.percent(found.hardest)} % of the negatives "
        f"have {show.percent(low.hardest_tenth)} % of the negatives' weight at t = {low.temperature:g} and "
        f"{show.percent(high.hardest_tenth)} % at t = {high.temperature:g}; the exponential of the weights' entropy, a "
        f"count of the negatives that matter, is {show.significant(low.effective_negatives)} and "
        f"{show.significant(high.effective_negatives)}. Of these nearest ones "
        f"{show.percent(found.same_class_hardest)} % are of the anchor's own class, of all negatives "
        f"{show.percent(found.same_class_all)} %: a low temperature pushes hardest where it should not.",
        f"The gradient of the project's NT-Xent by autograd and the closed form agree to a relative difference of at "
        f"most {show.significant(max(row.gradient_error for row in rows))} at every temperature. The embeddings "
        "are fixed here; in training they adapt to the temperature, which this experiment does not show.",
    ]
    numbers = [[f"{row.temperature:g}", show.percent(row.nearest), show.percent(row.hardest_tenth),
                show.significant(row.effective_negatives)] for row in rows]
    return make(start, measured=measured, figures=[draw(found)], tables=[table(
        "Shares of the negatives' gradient by temperature, means over the anchors.",
        ["Temperature", "Nearest negative %", "Nearest tenth %", "Negatives heard"], numbers, right=range(4))])
