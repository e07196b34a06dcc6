"""What was found, in sentences that are true of any records: the abstract of page and PDF; how rows are compared."""

from collections.abc import Iterable, Sequence

from report import prose, show, stats, summary
from report.load import Rejected
from report.summary import Results, Row, by_dataset, dataset_name, grouped, method_name, row_name
from training.tasks import TASKS

Groups = Sequence[tuple[str, list[Row]]]  # data set, rows
Pairs = dict[str, list[stats.Pair]]  # by data set
Curves = dict[str, list[stats.Curve]]
LEVEL = "level with"
SHOWN = 5e-5  # a smaller difference is 0.00 points
UNBALANCED = 0.1  # a class above an equal share by this, or twice that share: then uniform guessing is no baseline
SCRATCH = "random initialisation, trained end to end"  # the name of a curve (report/stats.py)


def abstract(results: Results, pairs: Pairs, curves: Curves, rejected: list[Rejected]) -> list[str]:
    """The best latents first; then what the references show, what few labels and reconstruction cost, and the gaps.

    The toy set is left out where something was learned on another data set.
    """
    if not results.rows:
        return ["There is no record of a complete run yet, so there is nothing to compare. The table gives the "
                "commands that make them; python _main.py --task 1.2.2 --dataset digits is the quickest, because it "
                "needs no download.", *left_out(results, rejected)]
    groups, curves = discussed(results, curves)
    trade_offs = [f"Of the autoencoders of pixels on {dataset_name(dataset)}, {row_name(pair[0])} reconstructs best, "
                  f"but its latent is less accurate ({show.percent(pair[0].accuracy)} %) than that of "
                  f"{row_name(pair[1])} ({show.percent(pair[1].accuracy)} %)."
                  for dataset, rows in groups if (pair := sharp_and_useful(rows))]
    return [*best_latents(groups, pairs), coverage(results, pairs), *few_labels(curves), *trade_offs,
            *left_out(results, rejected)]


def discussed(results: Results, curves: Curves) -> tuple[Groups, Curves]:
    """Headline rows and label curves by data set, without those that are left aside."""
    return ([one for one in by_dataset(results.headline) if one[0] not in results.aside],
            {dataset: found for dataset, found in curves.items() if dataset not in results.aside})


def ways(results: Results) -> list[str]:
    """How the latents were learned, in the order of the tasks: 'from the image's label (1.2.2)'."""
    present = {row.task for row in results.rows} - {"control"}
    return [task.way for name, task in prose.TASKS.items() if name in present] + [
        f"by task {show.plain(name)}" for name in sorted(present - set(prose.TASKS))]


def aim(results: Results) -> str:
    """What is compared, and by which score."""
    sizes = {row.latent_dim for row in results.rows}
    latents = f"Latents of {sizes.pop()} numbers" if len(sizes) == 1 and 0 not in sizes else "Latents"
    learned = f"learned {show.listing(ways(results))}" if ways(results) else "none of which was learned"
    return f"{latents}, {learned}, are compared by the test accuracy of a classifier that sees only the latent."


def coverage(results: Results, pairs: Pairs) -> str:
    """How the results that the coursework asks for compare with references and the best control; what is missing."""
    rows, asked = asked_rows(results), f"{len(summary.REFERENCE)} results that the coursework asks for"
    if not rows:
        tasks = show.listing(sorted({task for task, _ in summary.REFERENCE}))
        datasets = show.listing([dataset_name(name) for name in dict.fromkeys(name for _, name in summary.REFERENCE)])
        return f"Of the {asked} (tasks {tasks} on {datasets}), none is there."
    complete = len(rows) == len(summary.REFERENCE)
    over = sorted(row.difference for row in rows if row.difference is not None and row.difference >= SHOWN)
    by = f", by {f'{100 * over[0]:.2f} to ' if len(over) > 1 else ''}{points(over[-1])}" if over else ""
    exceed = "exceed their references" if len(over) > 1 else "exceeds its reference"
    if complete:
        text = f"All {asked} {exceed}" if len(over) == len(rows) else f"Of the {asked}, {len(over) or 'none'} {exceed}"
    elif len(rows) == 1:
        text = f"Of the {asked}, 1 is there, and it {'exceeds' if over else 'does not exceed'} its reference"
    else:
        text = f"Of the {asked}, {len(rows)} are there, and {len(over) or 'none'} of these {exceed}"
    cheap = sum((row.control or 0) - (row.reference or 1) >= SHOWN for row in rows)
    these = "this reference" if len(rows) == 1 else f"{cheap} of these {len(rows)} references"
    worse = [f"{row_name(row)} on {dataset_name(dataset)} by {points(row.over_control or 0)}"
             for dataset, found in by_dataset(results.headline) for row in found
             if any(row is one for one in rows) and is_below(row, best_controls(found), pairs[dataset])]
    contrast = "but" if over or cheap else "and"
    control = ([f"exceeds {these}{', too' * bool(over)}{',' * bool(over and worse)}"] * bool(cheap)
               + [f"is significantly more accurate than {show.listing(worse)}"] * bool(worse))
    missing = show.listing([f"{gap.task} on {dataset_name(gap.dataset)}" for gap in results.missing])
    more = f", {contrast} the best control on the same data set {show.listing(control)}" if control else ""
    return f"{text}{by}{more}.{f' Missing: {missing}.' if missing else ''}"


def leaders(rows: Iterable[Row]) -> list[Row]:
    """The rows with the highest accuracy: more than one where it is the same."""
    rows = list(rows)
    best = max(rows, key=lambda row: row.accuracy, default=None)
    return [row for row in rows if best and distance(row, best) == LEVEL]


def best_without_labels(rows: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The most accurate latents learned without labels, and the highest of those that too few seeds left out.

    One run is no ground for "the best": where rows have three seeds, only those are compared.
    """
    free = [row for row in rows if row.labels == "none" and row.task != "control"]
    best = leaders([row for row in free if len(row.runs) > 2] or free)
    return best, [row for row in leaders(free) if distance(row, best[0]) != LEVEL]


def best_with_labels(rows: Sequence[Row]) -> list[Row]:
    return leaders(row for row in rows if row.labels != "none")


def best_controls(rows: Sequence[Row]) -> list[Row]:
    return leaders(row for row in rows if row.task == "control")


def best_latents(groups: Groups, pairs: Pairs) -> list[str]:
    """Each data set's best latents: learned without labels, next to the best that was not learned, and with labels."""
    free = {dataset: best_without_labels(rows) for dataset, rows in groups}
    learned = [pair for pair in free.values() if pair[0]]
    all_of_three = any(ahead for _, ahead in learned) and all(len(best[0].runs) > 2 for best, _ in learned)
    controls = {dataset: best_controls(rows) for dataset, rows in groups}
    unlearned = {dataset: f"the best unlearned control, {names(best)}{few_seeds(best, ' with ')}"
                 for dataset, best in controls.items()}
    said = [
        which(f"{'Of the rows with three seeds' if all_of_three else 'By test accuracy'}, the best latent learned "
              "without labels is that of", [
            (dataset, best, partly(best) + few_seeds(best)
             + ", of the rows with three seeds" * bool(ahead and not all_of_three)
             + next_to(best[0], controls[dataset], pairs[dataset], unlearned[dataset]))
            for dataset, (best, ahead) in free.items() if best], chance(groups)),
        which("The best control, a latent that was not learned, is", [
            (dataset, best, few_seeds(best)) for dataset, best in controls.items() if best and not free[dataset][0]]),
        which("With all labels, the best is", [
            (dataset, best, few_seeds(best) + next_to(best[0], free[dataset][0], pairs[dataset],
                                                      names(free[dataset][0][:1]).removesuffix(" (hybrid)")))
            for dataset, rows in groups if (best := best_with_labels(rows))])]
    return [sentence for sentence in said if sentence]


def next_to(row: Row, others: Sequence[Row], pairs: list[stats.Pair], name: str) -> str:
    """', 0.45 points above 1.2.3 simclr': a row next to others, called `name`, that are level; "" without any."""
    if not others:
        return ""
    apart = f", {distance(row, others[0])} {name}"
    sure = distance(row, others[0]) == LEVEL or differ(row, others[0], pairs)
    return apart if sure else f"{apart}, not significant"


def which(what: str, found: Sequence[tuple[str, list[Row], str]], end: str = "") -> str:
    """'The best control is PCA on MNIST (98.64 %).'; "" of nothing.  found: data set, level rows, what to add."""
    words, last = [], ""
    for dataset, rows, more in found:
        on = f"on {dataset_name(dataset)} ({show.percent(rows[0].accuracy)} %{more})"
        words.append(on if names(rows) == last else f"{names(rows)} {on}")
        last = names(rows)
    return f"{what} {show.listing(words)}{end}." if words else ""


def partly(rows: Sequence[Row]) -> str:
    """', 48 of 128 dimensions learned' of one hybrid latent."""
    row, *others = rows
    hybrid = not others and 0 < row.learned < row.latent_dim
    return f", {row.learned} of {row.latent_dim} dimensions learned" if hybrid else ""


def few_seeds(rows: Sequence[Row], before: str = ", ") -> str:
    """', 1 seed'; "" of at least three, and where level rows have unlike numbers."""
    seeds = {len(row.runs) for row in rows}
    return f"{before}{show.plural(min(seeds), 'seed')}" if seeds in ({1}, {2}) else ""


def chance(groups: Groups) -> str:
    """'; guessing gives 10 %' where that is the same on each data set; else "".

    Where classes differ much in size, of one data set: '; always predicting the largest class gives 90 %'.
    """
    counts = [rows[0].runs[0].record.data.class_counts["test"] for _, rows in groups]
    largest = [max(one) / max(1, sum(one)) for one in counts]
    if all(share < 1 / len(one) + min(UNBALANCED, 1 / len(one)) for share, one in zip(largest, counts, strict=True)):
        return f"; guessing gives {100 / len(counts[0]):.3g} %" if len({len(one) for one in counts}) == 1 else ""
    return f"; always predicting the largest class gives {100 * largest[0]:.3g} %" if len(groups) == 1 else ""


def names(rows: Iterable[Row]) -> str:
    """'1.2.1 plain and PCA of pixels'."""
    return show.listing([short_name(row) for row in rows])


def short_name(row: Row) -> str:
    """'1.2.3 simclr'; a control without that word."""
    return method_name("control", row.method) if row.task == "control" else row_name(row)


def few_labels(curves: Curves) -> list[str]:
    """What fine-tuning a learned encoder gives with the fewest labels."""
    said, found = [], dict[float, list[str]]()
    for dataset, some in curves.items():
        scratch, fine = scratch_and_fine_tuned(fewest_labels(dataset, some)[1])
        if not scratch or not fine:
            said.append(ranking(dataset, some))
            continue
        (share, tuned, few), *_ = both = at_common_fractions(dataset, some)
        sure = differ(tuned, few, stats.tested(one[1:] for one in both))
        chosen = " with a recipe chosen on its test images" if "‡" in tuned.mark else ""
        found.setdefault(share, []).append(
            f"{show.percent(tuned.accuracy)} % on {dataset_name(dataset)}{chosen} ({show.percent(few.accuracy)} % from "
            f"random weights, {'' if sure else 'not '}significantly different)")
    return [f"With {100 * share:g} % of the labels, fine-tuning a learned encoder reaches {show.listing(words)}."
            for share, words in found.items()] + said


def scratch_and_fine_tuned(curves: Sequence[stats.Curve]) -> tuple[stats.Curve | None, stats.Curve | None]:
    """The first curve of training from random weights, and the first of fine-tuning a learned encoder."""
    return (next((curve for curve in curves if curve.name.startswith(SCRATCH)), None),
            next((curve for curve in curves if "fine-tuned" in curve.name.split(", ")), None))


def epochs(row: Row) -> str:
    """How long the encoder of a row was trained with labels: '4 epochs'."""
    recipe = row.runs[0].record.recipe
    return show.plural(int(recipe.number("finetune_epochs" if recipe.fields.get("finetune") else "epochs")), "epoch")


def uneven(curve: stats.Curve) -> str:
    """How long the points of one curve were trained with labels, where that differs; else ""."""
    found = grouped((one for one in curve.points if one[1].labels != "none"), lambda one: epochs(one[1]))
    words = [f"{length} with {show.listing([f'{100 * share:g} %' for share, _ in points])}"
             for length, points in found.items()]
    return f"{curve.name}: {', '.join(words)} of the labels" if len(found) > 1 else ""


def ranking(dataset: str, curves: Sequence[stats.Curve]) -> str:
    """The curves that reach a data set's lowest label fraction, the most accurate first: one sentence."""
    labels, ranked = fewest_labels(dataset, curves)
    best, *others = [f"{name} ({show.percent(curve.points[0][1].accuracy)} %)"
                     for name, curve in zip(stats.short_names(ranked), ranked, strict=True)]
    if not others:
        return f"{labels}, the only row is {best}."
    return f"{labels}, the most accurate is {best}, followed by {show.listing(others)}."


def fewest_labels(dataset: str, curves: Sequence[stats.Curve]) -> tuple[str, list[stats.Curve]]:
    """'With 1 % of the labels of MNIST', and the curves that reach so few, by falling accuracy there."""
    lowest = min(curve.points[0][0] for curve in curves)
    ranked = sorted((curve for curve in curves if curve.points[0][0] == lowest),
                    key=lambda curve: -curve.points[0][1].accuracy)
    return f"With {100 * lowest:g} % of the labels of {dataset_name(dataset)}", ranked


def is_below(row: Row, controls: Sequence[Row], pairs: list[stats.Pair]) -> bool:
    """Whether the best controls are all better than a row by more than chance."""
    return bool(controls) and all(exceeds(control, row, pairs) for control in controls)


def at_common_fractions(dataset: str, curves: Sequence[stats.Curve]) -> list[tuple[float, Row, Row]]:
    """(fraction, fine-tuned row, row from random weights) where both have a fraction of the labels, by rising ones."""
    scratch, fine = scratch_and_fine_tuned(fewest_labels(dataset, curves)[1])
    others = dict(scratch.points) if scratch and fine else {}
    return [(share, row, others[share]) for share, row in (fine.points if fine else []) if share in others]


def encoder_of(row: Row) -> str:
    return str(row.runs[0].record.recipe.fields["encoder"])


def reconstruction_error(row: Row) -> float | None:
    return summary.mean_of(row.runs, "test/reconstruction_mae")


def sharp_and_useful(rows: Sequence[Row]) -> tuple[Row, Row] | None:
    """The autoencoder that reconstructs best and the one with the best latent; None where these do not differ.

    Only those whose latent the error of the pixels shapes: that of `patches` reconstructs features.
    """
    found = [(error, row) for row in rows if row.task == "1.2.1" and row.method != "patches"
             and (error := reconstruction_error(row)) is not None]
    if len(found) < 2:
        return None
    sharp, useful = min(found, key=lambda pair: pair[0]), max(found, key=lambda pair: pair[1].accuracy)
    if sharp[0] == useful[0] or not exceeds(useful[1], sharp[1], stats.mcnemar_pairs(rows)):
        return None
    return sharp[1], useful[1]


def exceeds(row: Row, control: Row, pairs: list[stats.Pair]) -> bool:
    """Whether a row is better than a control by more than chance.

    Its mean must be higher, and the test on the images of the seed that they share significant (see discussion.py).
    """
    for pair in pairs:
        if {id(pair.first), id(pair.second)} == {id(row), id(control)}:
            better = pair.only_first - pair.only_second if pair.first is row else pair.only_second - pair.only_first
            return row.accuracy > control.accuracy and better > 0 and pair.adjusted < stats.SIGNIFICANT
    return row.low > control.high


def differ(row: Row, other: Row, pairs: list[stats.Pair]) -> bool:
    """Whether either of two rows is better than the other by more than chance."""
    return exceeds(row, other, pairs) or exceeds(other, row, pairs)


def points(difference: float) -> str:
    """A distance in percentage points, without its sign: '4.65 points'."""
    return f"{100 * abs(difference):.2f} points"


def distance(row: Row, other: Row) -> str:
    """'4.65 points above', '0.56 points below' or 'level with'."""
    difference = row.accuracy - other.accuracy
    if show.percent(row.accuracy) == show.percent(other.accuracy):  # no difference below what is shown
        return LEVEL
    return f"{points(difference)} {'above' if difference > 0 else 'below'}"


def left_out(results: Results, rejected: list[Rejected]) -> list[str]:
    """One sentence on the records that do not count; none when all do."""
    groups = {"quick run": len(results.quick), "failed run": len(results.failed), "repeat": len(results.repeats),
              "rejected file": len(rejected)}
    found = [show.plural(number, noun) for noun, number in groups.items() if number]
    return [f"Not counted, but listed at the end: {show.listing(found)}."] if found else []


def shown_rows(results: Results) -> list[Row]:
    """For each data set and task, the row of the method that the command runs by default, else the best row.

    Of a default method's rows the one with the most seeds counts; where several methods are default, as in the
    controls, the best.
    """
    found = []
    for (_, task), rows in grouped(results.rows, lambda row: (row.dataset, row.task)).items():
        methods = TASKS[task].default_methods if task in TASKS else ()
        rows = [row for row in rows if row.default] or rows
        rows = [row for row in rows if row.method in methods] or rows
        seeds_count = len(methods) == 1
        found.append(max(rows, key=lambda row: (len(row.runs) if seeds_count else 0, row.accuracy)))
    return found


def asked_rows(results: Results) -> list[Row]:
    """The rows of the results that the coursework asks for, as far as they are present."""
    return [row for row in shown_rows(results) if row.default and row.reference is not None]
