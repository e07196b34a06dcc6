"""The chapter on theory: eight questions, each with its answer, its equation and what a small experiment measured.

The answers stand here; every number in them comes from theory.json (`python _theory.py`) or from the records.
Without that file, or with one that cannot be believed, the answers stand alone and say so.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from report import show
from report import theory_figures as draw
from report.drawing import Drawing
from report.elements import figure, table
from report.load import LONGEST_REASON, THEORY, Loaded
from report.summary import Results, Row, dataset_name, mean_of, method_name, summarise, task_name
from theory.results import (
    AlignmentUniformity,
    Collapse,
    LinearAutoencoder,
    MutualInformation,
    ProjectionHead,
    ReconstructionLoss,
    Temperature,
    TheoryResults,
    VarianceDirections,
    read_theory,
)
from utils.records.schema import RecordError

COMMAND = "python _theory.py"
Section = dict[str, Any]


def theory_sections(results_dir: Path, loaded: list[Loaded]) -> tuple[list[Section], dict[str, Drawing]]:
    """The chapter's sections, and its drawings by file name."""
    results, note = read_results(results_dir)
    found = results.experiments if results else None
    rows = summarise(loaded).headline
    sections = [
        linear_autoencoder(found and found.linear_autoencoder),
        reconstruction_loss(found and found.reconstruction_loss),
        variance_directions(found and found.variance_directions),
        mutual_information(found and found.mutual_information),
        temperature(found and found.temperature),
        alignment_uniformity(found and found.alignment_uniformity, rows),
        projection_head(found and found.projection_head, rows),
        collapse(found and found.collapse),
    ]
    drawings: dict[str, Drawing] = {}
    for section in sections:
        section["figures"] = [figure(f"theory-{section['id']}", drawing, drawings) for drawing in section["figures"]]
        section["paragraphs"] += [note] if note else []
    if results:
        sections[-1]["tables"].append(provenance(results))
    return sections, drawings


def theory_chapter(results_dir: Path, loaded: list[Loaded], _: Results) -> tuple[list[Section], dict[str, Drawing]]:
    """The chapter as report.render asks for it."""
    return theory_sections(results_dir, loaded)


def read_results(results_dir: Path) -> tuple[TheoryResults | None, str]:
    """theory.json, or None and the sentence that says why not and which command makes it."""
    try:
        results = read_theory(results_dir / THEORY)
    except RecordError as error:
        reason = show.shorten(show.plain(str(error)), LONGEST_REASON)
        return None, f"The experiment's numbers are left out, as they cannot be believed: {reason}. {COMMAND} writes " \
                     "them anew."
    return results, "" if results else f"The experiment behind this answer has not been run here: {COMMAND} runs it."


def make(id: str, title: str, answer: str, equations: Sequence[tuple[str, str]], measured: Sequence[str] = (),
         figures: Sequence[Drawing] = (), tables: Sequence[dict] = ()) -> Section:
    """One section.  equations: (Typst source without dollars, the equation in words)."""
    return {"id": id, "title": title, "paragraphs": [answer, *measured],
            "equations": [{"typst": source, "alt": words} for source, words in equations],
            "figures": list(figures), "tables": list(tables)}


def linear_autoencoder(found: LinearAutoencoder | None) -> Section:
    """Question 1."""
    start = {
        "id": "linear-autoencoder", "title": "Does a linear autoencoder learn PCA?",
        "answer":
            "It learns PCA's subspace, but not PCA's axes. With a linear encoder E, a linear decoder D and squared "
            "error, every minimum is a global one, and there the reconstruction is the orthogonal projection on the k "
            "leading principal directions (Baldi and Hornik 1989, for a covariance of full rank; the biases take up "
            "the mean m, Bourlard and Kamp 1988). The other stationary points, which project on other principal "
            "directions, are saddles. The loss sees only the product D E, though: for every invertible A the pair D A, "
            "A\N{SUPERSCRIPT MINUS}\N{SUPERSCRIPT ONE} E reconstructs the same. So nothing "
            "orders the latent's coordinates, makes them uncorrelated or ties one of them to one principal direction.",
        "equations": [
            (r"min_(E, D) sum_i norm(x_i - m - D E (x_i - m))^2 quad => quad D E = U_k U_k^top = (D A)(A^(-1) E)",
             "Minimising the summed squared error of reconstructing x i minus m by D E gives D E equal to U k times U "
             "k transposed, the projection on the k leading principal directions, which also equals D A times A "
             "inverse E for every invertible A")],
    }
    if found is None:
        return make(**start)
    measured = [
        f"Trained on {show.count(found.images)} digits of {found.pixels} pixels, not centred, with a latent of "
        f"{found.latent} and at most {show.count(found.steps)} steps of L-BFGS, the decoder's columns span "
        f"PCA's subspace: the smallest cosine of the {found.latent} principal angles is {min(found.cosines):.6f}, "
        f"against {show.significant(min(found.random_cosines))} for a random subspace. The mean squared pixel error is "
        f"{show.significant(found.autoencoder_error)}, PCA's {show.significant(found.pca_error)}, that of the best "
        f"reconstruction from the random subspace {show.significant(found.random_error)}.",
        f"The single columns are not principal directions: with the axis nearest to it a column has a cosine between "
        f"{show.significant(min(found.axis_cosines))} and {show.significant(max(found.axis_cosines))}. A second "
        f"training from another start ends in the same subspace (smallest cosine "
        f"{min(found.other_seed_cosines):.6f}) with other columns (at best "
        f"{show.significant(max(found.other_seed_axis_cosines))}). This says nothing of deep or L1 autoencoders, which "
        "have no such theorem.",
    ]
    return make(**start, measured=measured, figures=[draw.linear_autoencoder(found)])


def reconstruction_loss(found: ReconstructionLoss | None) -> Section:
    """Question 2."""
    start = {
        "id": "reconstruction-loss", "title": "What do L1 and L2 reconstruct where the latent does not know?",
        "answer":
            "Images with the same latent differ in their pixels, and the decoder can give only one answer for all of "
            "them. Squared error (L2) is smallest at the mean of what is left open, absolute error (L1) at the median: "
            "the slope of the L1 loss only counts how many values lie below the answer and how many above. Where a "
            "stroke passes through a pixel in less than half of the images, the median is blank paper and the mean a "
            "light grey. So L2 blurs, and L1 stays crisp but leaves rare strokes out; L1 also gives an outlier no more "
            "weight than any other value.",
        "equations": [
            (r'arg min_c EE (x - c)^2 = EE x', "The constant c with the least expected squared error is the mean of x"),
            (r'dif / (dif c) EE abs(x - c) = P(x < c) - P(x > c) = 0 quad => quad c = "median of" x',
             "The derivative of the expected absolute error is the probability of x below c minus that of x above c; "
             "it is zero at the median of x")],
    }
    if found is None:
        return make(**start)
    measured = [
        f"Gradient descent on a constant, for a skewed sample of {show.count(found.sample)} values: under L1 it ends "
        f"at {show.significant(found.found_l1)} (the sample's median is {show.significant(found.sample_median)}), "
        f"under L2 at {show.significant(found.found_l2)} (its mean is {show.significant(found.sample_mean)}).",
        f"The same for one image that has to stand for all {show.count(found.images)} digits, which is what a decoder "
        f"without any latent would draw: under L1 no pixel ends further than "
        f"{show.significant(found.l1_image_to_median)} from the pixelwise median, under L2 none further than "
        f"{show.significant(found.l2_image_to_mean)} from the mean, where pixels lie in [0, 1]. Blank are "
        f"{show.percent(found.blank_median)} % of the median's pixels and {show.percent(found.blank_mean)} % of the "
        f"mean's. Each is best by its own measure: mean absolute error {show.significant(found.l1_of_median)} "
        f"(median) against {show.significant(found.l1_of_mean)} (mean), mean squared error "
        f"{show.significant(found.l2_of_median)} against {show.significant(found.l2_of_mean)}. A trained latent leaves "
        "much less open, and the difference shrinks with it.",
    ]
    return make(**start, measured=measured, figures=[draw.reconstruction_loss(found)])


def variance_directions(found: VarianceDirections | None) -> Section:
    """Question 3."""
    start = {
        "id": "variance-directions", "title": "Why is a good reconstruction not a good latent for classification?",
        "answer":
            "Because squared error orders directions by their variance and by nothing else. Leaving a principal "
            "direction out costs exactly its share of the variance, whether it tells the classes apart or not; no "
            "label enters. If much of the variance is background, light or position, a small latent is spent on these, "
            "and what tells the classes apart is among the directions that hardly lower the error (Balestriero and "
            "LeCun 2024). Nor is the order a property of the images: once the data are whitened, every direction "
            "costs the same, while the information in each of them is what it was.",
        "equations": [
            (r'"missed"(K) = (sum_(j in.not K) lambda_j) / (sum_j lambda_j)',
             "The share of the squared error that is missed when the directions K are kept is the sum of the variances "
             "lambda j of those left out over the sum of all variances")],
    }
    if found is None:
        return make(**start)
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
    return make(**start, measured=measured, figures=[draw.variance_directions(found)],
                tables=[variance_table(found)])


def variance_table(found: VarianceDirections) -> dict:
    """What both halves of every split miss and give."""
    rows = []
    for name, part in (("digits", found.digits), ("on backgrounds", found.backgrounds)):
        rows += [[name, str(split), *[show.percent(getattr(part, f"{side}_{what}")[i]) for side in ("top", "bottom")
                                      for what in ("missed", "accuracy")]] for i, split in enumerate(found.splits)]
    return table("Variance of the test images that is missed, and accuracy of a linear probe, with the first j "
                 "principal directions kept, and with all but these.",
                 ["Images", "j", "First j: missed %", "accuracy %", "All others: missed %", "accuracy %"], rows,
                 right=range(1, 6))


def mutual_information(found: MutualInformation | None) -> Section:
    """Question 4."""
    start = {
        "id": "mutual-information", "title": "In what sense does NT-Xent bound mutual information, and how far?",
        "answer":
            "Telling the true partner from N candidates can be done the better the more the two views have in common: "
            "log N minus the InfoNCE loss is at most their mutual information I, and comes close to it with the best "
            "critic, the log density ratio (Oord et al. 2018; Poole et al. 2019). As the loss is never negative, the "
            "bound also never exceeds log N: a batch of N images cannot vouch for more, however much the views share. "
            "NT-Xent puts 2N \N{MINUS SIGN} 1 candidates before each anchor, so log(2N \N{MINUS SIGN} 1) minus its "
            "loss has the ceiling log(2N \N{MINUS SIGN} 1). Its denominator contains InfoNCE's, therefore its loss is "
            "no smaller and log N minus it is a bound as well. For the tighter log(2N \N{MINUS SIGN} 1) the proof "
            "does not go through, because the negatives come in pairs of views of one image and are not independent. "
            "In training the critic is a cosine over the temperature, which need not be the best one, and then the "
            "bound is looser.",
        "equations": [
            (r'log N - cal(L)_"InfoNCE" <= min{I(v; v^prime), log N}',
             "log N minus the InfoNCE loss is at most the smaller of the mutual information of the views and log N"),
            (r'log N - cal(L)_"NT-Xent" <= I(v; v^prime) quad "and" quad '
             r'log(2 N - 1) - cal(L)_"NT-Xent" <= log(2 N - 1)',
             "log N minus the NT-Xent loss is at most the mutual information, and log of 2N minus 1 minus the NT-Xent "
             "loss is at most log of 2N minus 1")],
    }
    if found is None:
        return make(**start)
    return make(**start, measured=mutual_information_findings(found), figures=[draw.mutual_information(found)],
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
        f"{show.significant(sphere.bound)}. That the proof does not cover the former is no formality: for two views "
        f"that are the same fair bit, with a perfect critic, it {over}, computed exactly.",
    ]


def bound_tables(found: MutualInformation) -> list[dict]:
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


def temperature(found: Temperature | None) -> Section:
    """Question 5."""
    start = {
        "id": "temperature", "title": "What does the temperature do?",
        "answer":
            "It decides which negatives are heard. The gradient of an anchor's loss with respect to its similarity to "
            "a negative is the softmax weight of that negative over t; the positive's gradient is the sum of these "
            "with the other sign. At a low temperature nearly all the weight lies on the negatives that are nearest, "
            "at a high one all negatives push alike (Wang and Liu 2021). A low temperature therefore spreads the "
            "latent more evenly but also pushes apart images that are alike for a good reason, such as two of one "
            "class; a high one tolerates them and separates less.",
        "equations": [
            (r"(partial cal(L)_i) / (partial s_(i j)) = P_(i j) / t, quad "
             r"P_(i j) = exp(s_(i j) \/ t) / (sum_(k != i) exp(s_(i k) \/ t)), quad "
             r"(partial cal(L)_i) / (partial s_(i p)) = - 1 / t sum_(j != i\, p) P_(i j)",
             "The derivative of anchor i's loss by its similarity to negative j is P i j over t, where P is the "
             "softmax of the similarities over t; the derivative by the similarity to its positive p is minus the "
             "sum of the negatives' P over t")],
    }
    if found is None:
        return make(**start)
    rows = sorted(found.rows, key=lambda row: row.temperature)
    low, high = rows[0], rows[-1]
    measured = [
        f"Two views each of {found.images} digits, compared by the cosine of their pixels about the mean, "
        f"{found.negatives} negatives to an anchor. The nearest {show.percent(found.hardest)} % of the negatives "
        f"have {show.percent(low.hardest_tenth)} % of the negatives' weight at t = {low.temperature:g} and "
        f"{show.percent(high.hardest_tenth)} % at t = {high.temperature:g}; the exponential of the weights' entropy, a "
        f"count of the negatives that are heard, is {show.significant(low.effective_negatives)} and "
        f"{show.significant(high.effective_negatives)}. Of these nearest ones "
        f"{show.percent(found.same_class_hardest)} % are of the anchor's own class, of all negatives "
        f"{show.percent(found.same_class_all)} %: a low temperature pushes hardest where it should not.",
        f"The gradient of the project's NT-Xent by autograd and the closed form agree to a relative difference of at "
        f"most {show.significant(max(row.gradient_error for row in rows))} at every temperature. The embeddings "
        "are fixed here; in training they adapt to the temperature, which this experiment does not show.",
    ]
    numbers = [[f"{row.temperature:g}", show.percent(row.nearest), show.percent(row.hardest_tenth),
                show.significant(row.effective_negatives)] for row in rows]
    return make(**start, measured=measured, figures=[draw.temperature(found)], tables=[table(
        "Shares of the negatives' gradient by temperature, means over the anchors.",
        ["Temperature", "Nearest negative %", "Nearest tenth %", "Negatives heard"], numbers, right=range(4))])


def alignment_uniformity(found: AlignmentUniformity | None, rows: list[Row]) -> Section:
    """Question 6, with the project's own runs."""
    start = {
        "id": "alignment-uniformity", "title": "What do alignment and uniformity say of a latent?",
        "answer":
            "Alignment is the mean squared distance of two views' normalised latents, uniformity the logarithm of the "
            "mean of exp(\N{MINUS SIGN}2 squared distance) over pairs of images; of both, lower is better. In the "
            "limit of many negatives, the contrastive loss splits into two such terms: the positives ask for "
            "alignment, the negatives for uniformity (Wang and Isola 2020). A collapsed latent has the best alignment "
            "there is, 0, and the worst uniformity, 0. The lowest uniformity is that of points spread evenly over the "
            "sphere; it depends on the dimension d and tends to \N{MINUS SIGN}4. Neither says anything of classes: "
            "evenly spread latents that know nothing of the image's content have the best uniformity too.",
        "equations": [
            (r'"alignment" = EE norm(z - z^+)^2, quad "uniformity" = log EE exp(-2 norm(z - z^prime)^2) >= '
             r'-4 + log attach(F, bl: 0, br: 1)(; d\/2; 4)',
             "Alignment is the expected squared distance of z and its positive; uniformity is the log of the expected "
             "exponential of minus twice the squared distance of z and another z, at least minus 4 plus the log of the "
             "confluent hypergeometric limit function 0F1 of d over 2 at 4")],
    }
    own = [row for row in rows if mean_of(row.runs, "test/alignment") is not None
           and mean_of(row.runs, "test/uniformity") is not None]
    tables = [geometry_table(own)] if own else []
    measured = [] if own else ["No counted record holds alignment and uniformity yet: runs made before these were "
                               "scored do not."]
    if own:
        even = min(own, key=lambda row: mean_of(row.runs, "test/uniformity"))
        alike = min(own, key=lambda row: mean_of(row.runs, "test/alignment"))
        measured = [f"Of this report's own runs {run_name(even)} is spread most evenly (uniformity "
                    f"{show.significant(mean_of(even.runs, 'test/uniformity'))}), and {run_name(alike)} has the "
                    f"closest views (alignment {show.significant(mean_of(alike.runs, 'test/alignment'))}). The table "
                    "below sets them beside the linear probe. The views are those of task 1.2.3 for every run, "
                    "whatever it was trained on."]
    if found is None:
        return make(**start, measured=measured, tables=tables)
    last = found.rows[-1]
    corners = {corner.name: corner for corner in found.corners}
    unrelated = corners["uniform, views unrelated"]
    gap = max(abs(row.measured - row.lowest) for row in found.rows)
    measured.append(
        f"The scores' extreme values, by the functions that score the runs, on {show.count(found.points)} points: "
        f"drawn evenly from the sphere in {last.dimensions} dimensions they measure {show.significant(last.measured)}, "
        f"where the closed form gives {show.significant(last.lowest)}; over all dimensions tried the two differ by at "
        f"most {show.significant(gap)}. All points in one give alignment "
        f"{show.significant(corners['collapsed'].alignment)} and uniformity "
        f"{show.significant(corners['collapsed'].uniformity)}; views that have nothing to do with each other, spread "
        f"evenly, give alignment {show.significant(unrelated.alignment)}.")
    tables.append(table("Uniformity of points drawn evenly from the sphere.",
                        ["Dimensions", "Measured", "Closed form"],
                        [[str(row.dimensions), show.significant(row.measured), show.significant(row.lowest)]
                         for row in found.rows], right=range(3)))
    tables.append(table(f"Corners of the plane of the two scores, {last.dimensions} dimensions.",
                        ["Latent", "Alignment", "Uniformity"],
                        [[corner.name, show.significant(corner.alignment), show.significant(corner.uniformity)]
                         for corner in found.corners], right=[1, 2]))
    points = [(dataset_name(row.dataset), mean_of(row.runs, "test/alignment"), mean_of(row.runs, "test/uniformity"))
              for row in own]
    return make(**start, measured=measured, figures=[draw.alignment_uniformity(found, points)], tables=tables)


def run_name(row: Row) -> str:
    """'1.2.3 SimCLR on MNIST'."""
    return f"{row.task} {method_name(row.task, row.method)} on {dataset_name(row.dataset)}"


def geometry_table(rows: list[Row]) -> dict:
    """Alignment and uniformity of the project's runs beside the linear probe, means over seeds."""
    cells = [[dataset_name(row.dataset), task_name(row.task), method_name(row.task, row.method), str(len(row.runs)),
              show.significant(mean_of(row.runs, "test/alignment")),
              show.significant(mean_of(row.runs, "test/uniformity")), show.percent(row.linear)] for row in rows]
    return table("Alignment and uniformity of this report's runs (default recipes) beside the linear probe, means over "
                 "n seeds.", ["Data set", "Task", "Method", "n", "Alignment", "Uniformity", "Linear %"], cells,
                 right=[3, 4, 5, 6])


def projection_head(found: ProjectionHead | None, rows: list[Row]) -> Section:
    """Question 7, with the project's own runs."""
    start = {
        "id": "projection-head", "title": "Why is the projection head thrown away?",
        "answer":
            "The contrastive loss asks the head's output g(h) to be the same for all views of an image, so it "
            "pays to forget whatever the augmentation changes: position, colour, or here the turn. The encoder's "
            "output h, one step earlier, is not compared itself and keeps more of it, because the head can do the "
            "forgetting (Chen et al. 2020, section 4.2). A later task may need what was forgotten, so h is kept and g "
            "dropped. That no function of h can hold more about the image than h does is certain; how much less a "
            "linear probe reads from it is what the experiment shows.",
        "equations": [
            (r'cal(L) = "NT-Xent"(g(h(v)), g(h(v^prime))), quad I(x; g(h)) <= I(x; h)',
             "The loss is the NT-Xent of g of h of the two views; the information on x in g of h is at most that in "
             "h")],
    }
    own = [row for row in rows if mean_of(row.runs, "test/projection_linear_top1") is not None
           and row.linear is not None]
    tables = [head_table(own)] if own else []
    if own:
        ahead = [row for row in own if row.linear > mean_of(row.runs, "test/projection_linear_top1")]
        measured = [f"In {len(ahead)} of {len(own)} of this report's own rows with a projection head the linear probe "
                    "is more accurate before the head than after it (table below)."]
    else:
        measured = ["No counted record holds a score behind its projection head yet."]
    if found is None:
        return make(**start, measured=measured, tables=tables)
    before, after = found.trained[1], found.trained[2]
    raw_before, raw_after = found.untrained[1], found.untrained[2]
    measured.append(
        f"A small encoder and head, both {found.width} wide, trained for {found.steps} steps by NT-Xent on digits that "
        f"each view turns by a random number of quarter turns; probes read {show.count(found.test_images)} turned test "
        f"digits. The turn is read with {show.percent(before.turn_accuracy)} % before the head and "
        f"{show.percent(after.turn_accuracy)} % after it (chance {show.percent(1 / found.turns)} %), the class with "
        f"{show.percent(before.class_accuracy)} % and {show.percent(after.class_accuracy)} %. That this is the loss's "
        f"doing, and not that of one more layer, shows before training: there the turn is read with "
        f"{show.percent(raw_before.turn_accuracy)} % and {show.percent(raw_after.turn_accuracy)} %, the class with "
        f"{show.percent(raw_before.class_accuracy)} % and {show.percent(raw_after.class_accuracy)} %. For the class, "
        "then, an untrained head costs something as well; for the turn nearly all of the loss comes with training.")
    return make(**start, measured=measured, figures=[draw.projection_head(found)],
                tables=[*tables, probe_table(found)])


def head_table(rows: list[Row]) -> dict:
    """Linear probe before and after the projection head, the project's runs, means over seeds."""
    cells = []
    for row in rows:
        after = mean_of(row.runs, "test/projection_linear_top1")
        cells.append([dataset_name(row.dataset), method_name(row.task, row.method), str(len(row.runs)),
                      show.percent(row.linear), show.percent(after), show.points(row.linear - after)])
    return table("Linear probe before and after the projection head, this report's runs (default recipes), means over "
                 "n seeds.", ["Data set", "Method", "n", "Before %", "After %", "Difference (points)"], cells,
                 right=[2, 3, 4, 5])


def probe_table(found: ProjectionHead) -> dict:
    """All probes of the experiment."""
    rows = [[row.features, when, show.percent(row.class_accuracy), show.percent(row.turn_accuracy)]
            for when, part in (("before training", found.untrained), ("after training", found.trained)) for row in part]
    return table("What a linear probe reads of turned digits.", ["Features", "When", "Class %", "Turn %"], rows,
                 right=[2, 3])


def collapse(found: Collapse | None) -> Section:
    """Question 8."""
    start = {
        "id": "collapse", "title": "What is collapse, and what prevents it in each method?",
        "answer":
            "If agreement of two views were all that is asked for, one constant latent would be perfect. Every method "
            "has a part that rules this out. SimCLR, DCL and MoCo push negatives apart; MoCo takes them from a queue, "
            "so that they do not depend on the batch. VICReg holds the standard deviation of every coordinate up (the "
            "variance term) and decorrelates the coordinates (the covariance term), so that they do not all say the "
            "same. BYOL has no such term: constant latents would minimise its loss, but the predictor, and the target "
            "through which no gradient flows, make training go elsewhere; its moving average steadies that target, "
            "yet is not needed (SimSiam, Chen and He 2021). Why this works is understood for linear networks (Tian et "
            "al. 2021) and depends on normalisation or a careful start (Richemond et al. 2020).",
        "equations": [
            (r'f equiv "const" quad => quad EE norm(f(v) - f(v^prime))^2 = 0',
             "A constant f makes the expected squared distance of the two views' latents zero"),
            (r'"spread" = sqrt(d) / d sum_(k=1)^d "std"(z_k \/ norm(z)), quad '
             r'"rank" = exp(- sum_k p_k log p_k), quad p_k = sigma_k / (sum_l sigma_l)',
             "Spread is the square root of d times the mean over the d coordinates of the standard deviation of the "
             "normalised latents; effective rank is the exponential of the entropy of the singular values' shares")],
    }
    if found is None:
        return make(**start)
    return make(**start, measured=collapse_findings(found), figures=[draw.collapse(found)],
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


def collapse_table(found: Collapse) -> dict:
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


def provenance(results: TheoryResults) -> dict:
    """Where the chapter's numbers come from."""
    machine = results.environment
    tree = {True: ", with changes that are not in the commit", False: "", None: ", no git"}[machine.dirty]
    versions = {"Python": machine.python, "torch": machine.torch, "numpy": machine.numpy, **results.libraries}
    facts = [("command", COMMAND), ("seed", str(results.seed)), ("started", show.timestamp(results.started)),
             ("processor time", show.duration(sum(results.seconds.values()))), ("commit", machine.commit + tree),
             ("processor", f"{machine.cpu}, {show.plural(machine.threads, 'thread')}"),
             ("versions", ", ".join(f"{name} {version}" for name, version in versions.items()))]
    return table("Provenance of this chapter's experiments.", ["What", "Value"],
                 [[what, show.plain(value)] for what, value in facts], code=[1])
