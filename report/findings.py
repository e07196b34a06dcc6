"""What was found, in sentences that are true of any records: the abstract of page and PDF, and the PDF's discussion."""

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from report import prose, show, stats, summary
from report.load import Rejected
from report.summary import Results, Row, by_dataset, dataset_name, grouped, method_name, row_name
from training.tasks import TASKS

Groups = Sequence[tuple[str, list[Row]]]  # data set, rows
Pairs = dict[str, list[stats.Pair]]  # by data set
Curves = dict[str, list[stats.Curve]]
LEVEL = "level with"
SHOWN = 5e-5  # a smaller difference is 0.00 points
UNBALANCED = 0.1  # above an equal share, or twice that share: a class so large makes guessing no baseline
FEW = 10  # confused images of a run: of fewer it is chance which pair is the first
SCRATCH = "random initialisation, trained end to end"  # the name of a curve (report/stats.py)
SIGNIFICANCE = ("A difference is called significant if McNemar's test with Holm's correction finds it for the lowest "
                "seed that both rows have, and the mean over seeds agrees in direction. The test compares two single "
                "runs: other seeds of the same methods may give another verdict. Without a common seed, the 95 % "
                "intervals must not overlap.")
MAPS = "A map of two dimensions loses much: kNN on the latent itself may rank the latents differently."


def abstract(results: Results, pairs: Pairs, curves: Curves, rejected: list[Rejected]) -> list[str]:
    """The best latents first; then what the references show, what few labels and reconstruction cost, and the gaps.

    The toy set is left out where something was learned on another data set; the discussion has it.
    """
    if not results.rows:
        return ["There is no record of a complete run yet, so there is nothing to compare. The table gives the "
                "commands that make them; python _main.py --task 1.2.2 --dataset digits is the quickest, because it "
                "needs no download.", *left_out(results, rejected)]
    groups = summary.without_toy(by_dataset(results.headline))
    curves = {dataset: curves[dataset] for dataset, _ in groups if dataset in curves}
    trade_offs = [f"On {dataset_name(dataset)}, the autoencoder that reconstructs best, {row_name(pair[0])} "
                  f"({show.percent(pair[0].accuracy)} %), does not have the best latent, which is that of "
                  f"{row_name(pair[1])} ({show.percent(pair[1].accuracy)} %)."
                  for dataset, rows in groups if (pair := sharp_and_useful(rows))]
    return [*best_latents(groups, pairs), coverage(results, pairs), *few_labels(curves), *trade_offs,
            *left_out(results, rejected)]


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
    """How the results that the coursework asks for compare with their references and the best control; what is
    missing."""
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
    control = ([f"exceeds {these}{', too' * bool(over)}{',' * bool(over and worse)}"] * bool(cheap)
               + [f"is significantly more accurate than {show.listing(worse)}"] * bool(worse))
    missing = show.listing([f"{gap.task} on {dataset_name(gap.dataset)}" for gap in results.missing])
    return (text + by + (f", but the best control {show.listing(control)}" if control else "") + "."
            + (f" Missing: {missing}." if missing else ""))


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
    controls = {dataset: best for dataset, rows in groups if (best := best_controls(rows))}
    said = [
        which("By test accuracy, the best latent learned without labels is that of", [
            (dataset, best, partly(best) + few_seeds(best) + ", of the rows with three seeds" * bool(ahead)
             + to_control(best[0], controls.get(dataset, []), pairs[dataset]))
            for dataset, (best, ahead) in free.items() if best], chance(groups)),
        which("The best control, a latent that was not learned, is", [
            (dataset, best, few_seeds(best)) for dataset, best in controls.items() if not free[dataset][0]]),
        which("With all labels, the best is", [
            (dataset, best, few_seeds(best) + next_to(best[0], free[dataset][0], plain_name, pairs[dataset]))
            for dataset, rows in groups if (best := best_with_labels(rows))])]
    return [sentence for sentence in said if sentence]


def to_control(row: Row, controls: Sequence[Row], pairs: list[stats.Pair]) -> str:
    """', 0.43 points above the best unlearned control, PCA of pixels'."""
    seeds = few_seeds(controls).replace(",", " with") if controls else ""
    return next_to(row, controls, lambda _: f"the best unlearned control, {names(controls)}{seeds}", pairs)


def plain_name(row: Row) -> str:
    """'1.2.3 cmc', for brackets: without its own."""
    return row_name(row).removesuffix(" (hybrid)")


def next_to(row: Row, others: Sequence[Row], name: Callable[[Row], str], pairs: list[stats.Pair]) -> str:
    """', 0.45 points above 1.2.3 simclr': a row next to others that are level with each other; "" without any."""
    if not others:
        return ""
    apart = f", {distance(row, others[0])} {name(others[0])}"
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


def few_seeds(rows: Sequence[Row]) -> str:
    """', 1 seed'; "" of at least three, and where level rows have unlike numbers."""
    seeds = {len(row.runs) for row in rows}
    return f", {show.plural(min(seeds), 'seed')}" if seeds in ({1}, {2}) else ""


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
        (share, few), (_, tuned) = scratch.points[0], fine.points[0]
        chosen = " with a recipe chosen on its test images" if "‡" in tuned.mark else ""
        found.setdefault(share, []).append(
            f"{show.percent(tuned.accuracy)} % on {dataset_name(dataset)}{chosen} ({show.percent(few.accuracy)} % from "
            f"random weights, {'' if differ(tuned, few, stats.mcnemar_pairs([tuned, few])) else 'not '}significantly "
            "different)")
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


def discussion(results: Results, pairs: Pairs, curves: Curves) -> list[dict[str, str]]:
    """Paragraphs with a title each, on what the records allow to say; none without rows."""
    groups = by_dataset(results.headline)
    shown = by_dataset(row for row in shown_rows(results) if row.task != "control")
    compared = [against_control(dataset, rows, pairs[dataset]) for dataset, rows in groups]
    controls = {row.dataset: row for row in shown_rows(results) if row.task == "control"}
    separated = [clusters(dataset, rows, controls.get(dataset)) for dataset, rows in shown]
    alone = [dataset_name(dataset) for dataset, rows in groups if not best_controls(rows)]
    found = {
        "What was learned": [SIGNIFICANCE if any(compared) else "", *compared,
                             *(like_pixels(dataset, rows, pairs[dataset]) for dataset, rows in groups),
                             *(rivals(dataset, rows, pairs[dataset]) for dataset, rows in groups),
                             f"On {show.listing(alone)} there is no control, so the records do not show how much of "
                             "the accuracy was learned." if alone else ""],
        "What the references show": [against_references(dataset, rows) for dataset, rows in groups],
        "What labels are worth": [*(label_gap(dataset, rows, pairs[dataset]) for dataset, rows in groups),
                                  *(by_fraction(*one) for one in curves.items())],
        "Reconstruction and separation": [reconstruction(dataset, rows) for dataset, rows in groups],
        "Whether the classes separate": [*separated, MAPS if any(separated) else ""],
        "What is confused": [confusions(dataset, rows) for dataset, rows in shown],
    }
    texts = {title: " ".join(filter(None, sentences)) for title, sentences in found.items()}
    return [{"id": title.lower().replace(" ", "-"), "title": title, "text": text}
            for title, text in texts.items() if text]


def against_control(dataset: str, rows: Sequence[Row], pairs: list[stats.Pair]) -> str:
    """How many learned rows are significantly better than the best control, and which of the others are worse."""
    controls, learned = best_controls(rows), [row for row in rows if row.task != "control"]
    if not controls or not learned:
        return ""
    over = [row_name(row) for row in learned if all(exceeds(row, control, pairs) for control in controls)]
    below = [row_name(row) for row in learned if is_below(row, controls, pairs)]
    like = [name for name in map(row_name, learned) if name not in over + below]
    who = f"the learned latent, {row_name(learned[0])}, is{'' if over else ' not'}" if len(learned) == 1 else (
        f"{len(over) or 'none'} of {len(learned)} learned latents {'are' if len(over) > 1 else 'is'}")
    named = f": {show.listing(over)}" if 0 < len(over) <= len(below) + len(like) else ""  # the shorter list
    rest = [f"{show.listing(below)} {'is' if len(below) == 1 else 'are'} significantly less accurate"] * bool(below)
    who_like = "the others" if named and len(like) > 1 else show.listing(like)
    rest += [f"{who_like} {'is' if len(like) == 1 else 'are'} not shown to differ from that control"] * bool(like)
    words = show.listing(rest)
    return (f"On {dataset_name(dataset)}, {who} significantly more accurate than the best control, {names(controls)} "
            f"({show.percent(controls[0].accuracy)} %){named}." + (f" {words[0].upper()}{words[1:]}." if words else ""))


def is_below(row: Row, controls: Sequence[Row], pairs: list[stats.Pair]) -> bool:
    """Whether the best controls are all better than a row by more than chance."""
    return bool(controls) and all(exceeds(control, row, pairs) for control in controls)


def like_pixels(dataset: str, rows: Sequence[Row], pairs: list[stats.Pair]) -> str:
    """Which learned rows are not shown to be better than PCA of pixels, where that is not the best control."""
    pixels = [row for row in rows if (row.task, row.method) == ("control", "pca") and row not in best_controls(rows)]
    found = [row_name(row) for row in rows for control in pixels[-1:]
             if row.task != "control" and not exceeds(row, control, pairs)]
    return (f"On {dataset_name(dataset)}, even PCA of pixels ({show.percent(pixels[-1].accuracy)} %) is not shown to "
            f"be less accurate than {show.listing(found)}.") if found else ""


def rivals(dataset: str, rows: Sequence[Row], pairs: list[stats.Pair]) -> str:
    """Which latents learned without labels are not shown to be worse than the best of them, or score higher."""
    best, ahead = best_without_labels(rows)
    equal = [row for row in rows if row.labels == "none" and row.task != "control" and row not in best
             and row.accuracy <= best[0].accuracy and not exceeds(best[0], row, pairs)]
    one = len(best) == 1
    said = [f"is not shown to be more accurate than {names(equal)}"] if one and equal else []
    if ahead:
        said.append(f"{'scores' if one else 'score'} lower than {names(ahead)} ({show.percent(ahead[0].accuracy)} %), "
                    f"which {'has' if len(ahead) == 1 else 'have'} fewer than three seeds")
    of = " of the rows with three seeds" * bool(ahead)
    return (f"On {dataset_name(dataset)}, {names(best)}, the best latent{'' if one else 's'} learned without labels"
            f"{of}, {show.listing(said)}.") if said else ""


def against_references(dataset: str, rows: Sequence[Row]) -> str:
    """Which references the best control exceeds, so that exceeding them does not show that something was learned."""
    controls = best_controls(rows)
    above = [f"{task} ({show.percent(value)} %)" for (task, name), value in summary.REFERENCE.items()
             if name == dataset and controls and controls[0].accuracy - value >= SHOWN]
    of, it = ("references of", "them") if len(above) > 1 else ("reference of", "it")
    return (f"On {dataset_name(dataset)}, the best control ({names(controls)}, {show.percent(controls[0].accuracy)} %) "
            f"exceeds the {of} {show.listing(above)} without a trained encoder, so exceeding {it} does not show that "
            "an encoder learned anything.") if above else ""


def label_gap(dataset: str, rows: Sequence[Row], pairs: list[stats.Pair]) -> str:
    """How far the best latent with labels is from the best one without, and whether that is significant."""
    (best, _), top = best_without_labels(rows), best_with_labels(rows)
    if not best or not top:
        return ""
    sure = distance(top[0], best[0]) == LEVEL or differ(top[0], best[0], pairs)
    tested = any({id(pair.first), id(pair.second)} == {id(top[0]), id(best[0])} for pair in pairs)
    chance = "" if sure else f", which is not significant{' (one seed each)' if tested else ''}"
    return (f"On {dataset_name(dataset)}, training with all labels ({names(top)}) is {distance(top[0], best[0])} the "
            f"best latent learned without any ({names(best)}){chance}.{unlike_encoders(top[0], best[0])}")


def unlike_encoders(row: Row, other: Row) -> str:
    """' The encoders differ in size, too: 4.65 and 2.00 million parameters.'; "" where these are equal."""
    sizes = [f"{one.runs[0].record.derived.parameters.get('encoder', 0) / 1e6:.2f}" for one in (row, other)]
    return "" if sizes[0] == sizes[1] else (
        f" The encoders differ in size, too: {show.listing(sizes)} million parameters.")


def by_fraction(dataset: str, curves: Sequence[stats.Curve]) -> str:
    """With which fractions of the labels fine-tuning a learned encoder beats training from random weights."""
    scratch, fine = scratch_and_fine_tuned(fewest_labels(dataset, curves)[1])
    if not scratch or not fine:
        return ""
    others = dict(scratch.points)
    verdicts = grouped((point for point in fine.points if point[0] in others),
                       lambda point: verdict(point[1], others[point[0]]))
    found = [f"{words} with {show.listing([f'{100 * share:g} %' for share, _ in points])}"
             for words, points in verdicts.items()]
    paired = all(stats.mcnemar_pairs([row, others[share]]) for share, row in fine.points if share in others)
    test = "McNemar's test of each pair alone, one seed each" if paired else "McNemar's test, or 95 % intervals"
    recipe = " of another recipe" if " recipe " in fine.name else ""
    chosen = ", with a recipe chosen on test images," if "‡" in fine.points[0][1].mark else ""
    return (f"Compared with training from random weights{length(scratch)}, fine-tuning a learned encoder{recipe}"
            f"{length(fine)}{chosen} on {dataset_name(dataset)} is {show.listing(found)} of the labels ({test})."
            f"{unlike_encoders(fine.points[0][1], scratch.points[0][1])}") if found else ""


def length(curve: stats.Curve) -> str:
    """' for 4 epochs', where that is how long each point of a curve was trained with labels."""
    lengths = {epochs(row) for _, row in curve.points}
    return f" for {lengths.pop()}" if len(lengths) == 1 else ""


def verdict(row: Row, other: Row) -> str:
    """How a row compares with another by McNemar's test of this pair alone."""
    pairs = stats.mcnemar_pairs([row, other])
    return ("significantly more accurate" if exceeds(row, other, pairs) else
            "significantly less accurate" if exceeds(other, row, pairs) else "not significantly different")


def reconstruction(dataset: str, rows: Sequence[Row]) -> str:
    """The autoencoder that reconstructs best and the one with the best latent, where these differ."""
    pair = sharp_and_useful(rows)
    if not pair:
        return ""
    words = [f"{row_name(row)} has a mean absolute error of {show.significant(reconstruction_error(row))} and an "
             f"accuracy of {show.percent(row.accuracy)} %" for row in pair]
    unlike = ", with another encoder" if encoder_of(pair[0]) != encoder_of(pair[1]) else ""
    return (f"On {dataset_name(dataset)}, the autoencoder that reconstructs best does not have the best latent: "
            f"{', but '.join(words)}{unlike}.")


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


def clusters(dataset: str, rows: Sequence[Row], control: Row | None) -> str:
    """Whether classes are closer together on maps of latents than on maps of pixels; the best map first."""
    found = [(latents, pixels, row_name(row)) for row in rows
             if (latents := summary.mean_of(row.runs, "test/tsne_agreement")) is not None
             and (pixels := summary.mean_of(row.runs, "test/pixel_tsne_agreement")) is not None]
    if not found:
        return ""
    better = sum(latents > pixels for latents, pixels, _ in found)
    maps = f"the t-SNE maps of {f'{better} of ' if 0 < better < len(found) else ''}{show.plural(len(found), 'latent')}"
    each = [f"{show.percent(latents)} % for {name}" for latents, _, name in sorted(found, reverse=True)]
    each.append(f"{show.percent(found[0][1])} % for the pixels")
    if control and (unlearned := summary.mean_of(control.runs, "test/tsne_agreement")) is not None:
        each.append(f"{show.percent(unlearned)} % for {short_name(control)}, a control")
    counts = np.array(rows[0].runs[0].record.data.class_counts["test"])
    mixed = 100 * float(np.square(counts / counts.sum()).sum())
    return (f"On {maps} of {dataset_name(dataset)}, points have {'' if better else 'no '}more neighbours of their own "
            f"class than on the map of the pixels: the agreement, mean over seeds, is {show.listing(each)}. If classes "
            f"were mixed evenly, it would be {mixed:.3g} %.")


def confusions(dataset: str, rows: Sequence[Row]) -> str:
    """The two classes that each row confuses most often, over its seeds and both directions."""
    found = {pair: show.listing([row_name(row) for row in confusing])
             for pair, confusing in grouped(rows, most_confused).items()}
    unsure = found.pop("", "")
    words = show.listing([f"{pair} ({who})" for pair, who in found.items()])
    others = f"; for {unsure}, no pair is first with at least {FEW} images per run" * bool(unsure)
    return f"On {dataset_name(dataset)}, the classes confused most often are {words}{others}." if words else ""


def most_confused(row: Row) -> str:
    """'cat and dog'; "" of two classes, of few images, and where several pairs share the first place."""
    counts = sum(np.array(run.record.confusion.counts) for run in row.runs if run.record.confusion)
    both = np.triu(counts + np.transpose(counts), 1)
    first = np.argwhere(both == both.max())
    if len(both) < 3 or both.max() < FEW * len(row.runs) or len(first) > 1:
        return ""
    classes = show.distinct([show.plain(name) for name in row.runs[0].record.data.classes], 24)
    return f"{classes[first[0][0]]} and {classes[first[0][1]]}"


def exceeds(row: Row, control: Row, pairs: list[stats.Pair]) -> bool:
    """Whether a row is better than a control by more than chance.

    Its mean must be higher, and the test on the images of the seed that they share significant; see SIGNIFICANCE.
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
