"""The answer: what is known, with its equation, and what the experiment measured."""

from report import show
from theory.reconstruction_loss.figure import draw
from theory.reconstruction_loss.form import ReconstructionLoss
from theory.section import Section, Start, make


def answer(found: ReconstructionLoss | None) -> Section:
    """Question 2."""
    start = Start(
        id="reconstruction-loss", title="What do L1 and L2 reconstruct where the latent does not know?",
        answer=
            "Images with the same latent differ in their pixels, and the decoder can give only one answer for all of "
            "them. Squared error (L2) is smallest at the mean of what is left open, absolute error (L1) at the median: "
            "the slope of the L1 loss only counts how many values lie below the answer and how many above. Where a "
            "stroke passes through a pixel in less than half of the images, the median is blank paper and the mean a "
            "light grey. So L2 blurs, and L1 stays crisp but leaves rare strokes out; L1 also gives an outlier no more "
            "weight than any other value.",
        equations=[
            (r'arg min_c EE (x - c)^2 = EE x', "The constant c with the least expected squared error is the mean of x"),
            (r'dif / (dif c) EE abs(x - c) = P(x < c) - P(x > c) = 0 quad => quad c = "median of" x',
             "The derivative of the expected absolute error is the probability of x below c minus that of x above c; "
             "it is zero at the median of x")])
    if found is None:
        return make(start)
    measured = [
        f"Gradient descent on a constant, for a skewed sample of {show.count(found.sample)} values: under L1 it ends "
        f"at {show.significant(found.found_l1)} (the sample's median is {show.significant(found.sample_median)}), "
        f"under L2 at {show.significant(found.found_l2)} (its mean is {show.significant(found.sample_mean)}).",
        f"The same for one image that has to stand for all {show.count(found.images)} digits, which is what a decoder "
        f"without any latent would draw: under L1 no pixel ends further than "
        f"{show.significant(found.l1_image_to_median)} from the pixelwise median, under L2 none further than "
        f"{show.significant(found.l2_image_to_mean)} from the mean, where pixels lie in [0, 1]. Of the "
        f"median's pixels {show.percent(found.blank_median)} % are blank, of the mean's "
        f"{show.percent(found.blank_mean)} %. Each is best by its own measure: mean absolute error "
        f"{show.significant(found.l1_of_median)} (median) against {show.significant(found.l1_of_mean)} (mean), "
        f"mean squared error {show.significant(found.l2_of_median)} against "
        f"{show.significant(found.l2_of_mean)}. A trained latent leaves "
        "much less open, and the difference shrinks with it.",
    ]
    return make(start, measured=measured, figures=[draw(found)])
