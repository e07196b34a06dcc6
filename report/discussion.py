"""The discussion of page and PDF, in sentences that are true of any records."""

from collections.abc import Sequence
from itertools import starmap

import numpy as np

from report import findings, show, stats, summary
from report.findings import SHOWN, Curves, Groups, Pairs, best_controls, best_without_labels, differ, exceeds, names
from report.summary import Results, Row, dataset_name, grouped, row_name

SIGNIFICANCE = (
    "A difference is called significant if McNemar's test, with Holm's correction over the pairs of a data set or over "
    "the fractions of its labels, finds it for the lowest seed that both rows have, and the mean over seeds agrees in "
    "direction. The test compares two single runs: other seeds of the same methods may give another verdict. Rows "
    "without a common seed differ significantly only if their 95 % intervals do not overlap.")
FEW = 10  # confused images of a run: of fewer it may be chance which pair is the first
MAPS = "A map of two dimensions loses much: kNN on the latent itself may rank the latents differently."


def discussion(results: Results, pairs: Pairs, curves: Curves) -> list[dict[str, str]]:
    """Paragraphs with a title each, on what the records allow to say, of the data sets of the abstract."""
    groups, curves = findings.discussed(results, curves)
    tested = [(dataset, rows, pairs[dataset]) for dataset, rows in groups]
    separated = list(starmap(clusters, groups))
    mapped = [one for one, words in zip(groups, separated, strict=True) if words]
    alone = [dataset_name(dataset) for dataset, rows in groups if not best_controls(rows)]
    found = {
        "What was learned": [*starmap(against_control, tested), *starmap(like_pixels, tested),
                             *starmap(rivals, tested), *starmap(readout, groups),
                             f"On {show.listing(alone)} there is no control, so the records do not show how much of "
                             "the accuracy was learned." if alone else ""],
        "What the references show": [against_references(groups)],
        "What labels are worth": [*starmap(label_gap, tested), *starmap(by_fraction, curves.items())],
        "Reconstruction and separation": [*starmap(reconstruction, groups)],
        "Whether the classes separate": [*separated, *([evenly_mixed(mapped), MAPS] if mapped else [])],
        "What is confused": [*starmap(confusions, groups)],
    }
    if "significant" in str(found):
        found["What was learned"].insert(0, SIGNIFICANCE)
    texts = {title: " ".join(filter(None, sentences)) for title, sentences in found.items()}
    return [{"id": title.lower().replace(" ", "-"), "title": title, "text": text}
            for title, text in texts.items() if text]


def against_control(dataset: str, rows: Sequence[Row], pairs: list[stats.Pair]) -> str:
    """How many learned rows are significantly better than the best control, and which of the others are worse."""
    controls, learned = best_controls(rows), [row for row in rows if row.task != "control"]
    if not controls or not learned:
        return ""
    over = [row_name(row) for row in learned if all(exceeds(row, control, pairs) for control in controls)]
    below = [row_name(row) for row in learned if findings.is_below(row, controls, pairs)]
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


def like_pixels(dataset: str, rows: Sequence[Row], pairs: list[stats.Pair]) -> str:
    """Which learned rows are not shown to be better than PCA of pixels, where that is not the best control."""
    pixels = [row for row in rows if (row.task, row.method) == ("control", "pca") and row not in best_controls(rows)]
    found = [row_name(row) for row in rows for control in pixels[-1:]
             if row.task != "control" and not exceeds(row, control, pairs)]
    return (f"On {dataset_name(dataset)}, even PCA of pixels ({show.percent(pixels[-1].accuracy)} %) is not shown to "
            f"be less accurate than {show.listing(found)}.") if found else ""


def readout(dataset: str, rows: Sequence[Row]) -> str:
    """What reading an encoder at every depth is worth before training, where only some learned latents are read so."""
    end, depths = (next((row for row in rows if (row.task, row.method) == ("control", method)), None)
                   for method in ("calibrated", "depths"))
    learned = [row for row in rows if row.task != "control" and row.method != "patches"]
    deep = [row_name(row) for row in learned if findings.encoder_of(row) == "conv_depths"]
    if not end or not depths or depths.accuracy - end.accuracy < SHOWN or not 0 < len(deep) < len(learned):
        return ""
    are, others = "are" if len(deep) > 1 else "is", "others are" if len(learned) - len(deep) > 1 else "other is"
    return (f"On {dataset_name(dataset)}, reading an untrained encoder at every depth instead of at its end raises "
            f"its accuracy from {show.percent(end.accuracy)} to {show.percent(depths.accuracy)} %. Of the learned "
            f"latents, {show.listing(deep)} {are} read in this way and the {others} not, so part of the difference "
            "in accuracy may come from the readout.")


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


def against_references(groups: Groups) -> str:
    """Which references the best control exceeds, so that exceeding them does not show that something was learned."""
    found, number = list[str](), 0
    for dataset, rows in groups:
        controls = best_controls(rows)
        above = [f"{task} ({show.percent(value)} %)" for (task, name), value in summary.REFERENCE.items()
                 if name == dataset and controls and controls[0].accuracy - value >= SHOWN]
        number += len(above)
        if above:
            found.append(f"on {dataset_name(dataset)} the best control ({names(controls)}, "
                         f"{show.percent(controls[0].accuracy)} %) exceeds the reference"
                         f"{'s' * (len(above) > 1)} of {show.listing(above)}")
    these = "these references" if number > 1 else "this reference"
    return (f"Without a trained encoder, {show.listing(found)}. So exceeding {these} does not show that an encoder "
            "learned anything.") if found else ""


def label_gap(dataset: str, rows: Sequence[Row], pairs: list[stats.Pair]) -> str:
    """How far the best latent with labels is from the best one without, and whether that is significant."""
    (best, _), top = best_without_labels(rows), findings.best_with_labels(rows)
    if not best or not top:
        return ""
    apart = findings.distance(top[0], best[0])
    sure = apart == findings.LEVEL or differ(top[0], best[0], pairs)
    tested = any({id(pair.first), id(pair.second)} == {id(top[0]), id(best[0])} for pair in pairs)
    chance = "" if sure else f", which is not significant{' (one seed each)' if tested else ''}"
    sizes = [f"{one.runs[0].record.derived.parameters.get('encoder', 0) / 1e6:.2f}" for one in (top[0], best[0])]
    unlike = "" if sizes[0] == sizes[1] else (
        f" The encoders differ in size, too: {sizes[0]} million parameters with labels, {sizes[1]} without.")
    return (f"On {dataset_name(dataset)}, the best with all labels ({names(top)}) is {apart} the best latent learned "
            f"without any ({names(best)}){chance}.{unlike}")


def by_fraction(dataset: str, curves: Sequence[stats.Curve]) -> str:
    """With which fractions of the labels fine-tuning a learned encoder beats training from random weights."""
    both = findings.at_common_fractions(dataset, curves)
    if not both:
        return ""
    scratch, fine = findings.scratch_and_fine_tuned(findings.fewest_labels(dataset, curves)[1])
    assert scratch and fine  # or no row would be in both
    pairs = stats.tested(one[1:] for one in both)
    found = [f"{words} with {show.listing([f'{100 * share:g} %' for share, *_ in points])}"
             for words, points in grouped(both, lambda one: verdict(one[1], one[2], pairs)).items()]
    starts = [run.record.run.init for _, row in fine.points for run in row.runs]
    before = "learned without labels" if all(start and start.labels == 0 for start in starts) else "was trained before"
    recipe = " of another recipe" if " recipe " in fine.name else ""
    chosen = ", with a recipe chosen on test images," if "‡" in fine.points[0][1].mark else ""
    return (f"On {dataset_name(dataset)}, an encoder{recipe} that {before} and was then fine-tuned"
            f"{length(fine)}{chosen} is {show.listing(found)} of the labels, compared with one that was trained from "
            f"random weights{length(scratch)}.")


def verdict(row: Row, other: Row, pairs: list[stats.Pair]) -> str:
    return ("significantly more accurate" if exceeds(row, other, pairs) else
            "significantly less accurate" if exceeds(other, row, pairs) else "not significantly more or less accurate")


def length(curve: stats.Curve) -> str:
    """' for 4 epochs', where that is how long each point of a curve was trained with labels."""
    lengths = {findings.epochs(row) for _, row in curve.points}
    return f" for {lengths.pop()}" if len(lengths) == 1 else ""


def reconstruction(dataset: str, rows: Sequence[Row]) -> str:
    """The autoencoder that reconstructs best and the one with the best latent, where these differ."""
    pair = findings.sharp_and_useful(rows)
    if not pair:
        return ""
    words = [f"{row_name(row)} has a mean absolute error of {show.significant(findings.reconstruction_error(row))} and "
             f"an accuracy of {show.percent(row.accuracy)} %" for row in pair]
    unlike = ", with another encoder" if findings.encoder_of(pair[0]) != findings.encoder_of(pair[1]) else ""
    return (f"Of the autoencoders of pixels on {dataset_name(dataset)}, the one that reconstructs best does not have "
            f"the best latent: {', but '.join(words)}{unlike}.")


def clusters(dataset: str, rows: Sequence[Row]) -> str:
    """How pure the best maps of a data set's rows are, with labels and without, next to control and pixels; which
    latents have none that is purer than that of the pixels.
    """
    found = [(purity, row) for row in rows if (purity := summary.mean_of(row.runs, "test/tsne_agreement")) is not None]
    pixels = [summary.mean_of(row.runs, "test/pixel_tsne_agreement") for _, row in found if row.task != "control"]
    if not pixels or pixels[0] is None:
        return ""
    kinds = [("learned from labels", lambda row: row.task != "control" and row.labels != "none"),
             ("the highest learned without labels", lambda row: row.task != "control" and row.labels == "none"),
             ("the best control", lambda row: any(row is one for one in best_controls(rows)))]
    best = [(max((pair for pair in found if of(pair[1])), default=None, key=lambda pair: pair[0]), kind)
            for kind, of in kinds]
    words = [f"{show.percent(one[0])} % for {findings.short_name(one[1])} ({kind})".replace(") (", ", ")
             for one, kind in best if one]
    below = [row_name(row) for purity, row in found if row.task != "control" and purity <= pixels[0]]
    return (f"On t-SNE maps of {dataset_name(dataset)}, the agreement of a point's neighbours with its class, mean "
            f"over seeds, is {show.listing([*words, f'{show.percent(pixels[0])} % for the pixels'])}."
            + (f" It is no higher than that of the pixels for {show.listing(below)}." if below else ""))


def evenly_mixed(groups: Groups) -> str:
    """The agreement of a map that shows nothing."""
    found = dict[str, list[str]]()
    for dataset, rows in groups:
        counts = np.array(rows[0].runs[0].record.data.class_counts["test"])
        found.setdefault(f"{100 * float(np.square(counts / counts.sum()).sum()):.3g} %", []).append(
            dataset_name(dataset))
    each = [value + f" on {show.listing(shared)}" * (len(found) > 1) for value, shared in found.items()]
    return f"Evenly mixed classes have an agreement of {show.listing(each)}."


def confusions(dataset: str, rows: Sequence[Row]) -> str:
    """The two classes that most learned latents of a data set confuse most often, and those of the others.

    "" where no pair is the first of most of them, and of one latent with few confused images: that may be chance.
    """
    learned = [row for row in rows if row.task != "control" and row.runs[0].record.confusion]
    found = sorted(grouped(learned, lambda row: most_confused(row)[0]).items(),
                   key=lambda one: -len(one[1]) * bool(one[0]))
    if not found or not found[0][0]:
        return ""
    (pair, same), *others = found
    images = sorted(most_confused(row)[1] for row in same)
    if 2 * len(same) <= len(learned) or len(same) == 1 and images[0] < FEW:
        return ""
    some = f"all {len(same)}" if len(same) == len(learned) else f"{len(same)} of {len(learned)}"
    who = (f"{some} learned latents {'confuse' if len(same) > 1 else 'confuses'}" if len(learned) > 1 else
           f"{row_name(learned[0])} confuses")
    ends = list(dict.fromkeys(f"{one:.2g}" if one < FEW else show.count(round(one)) for one in (images[0], images[-1])))
    total = show.count(learned[0].runs[0].record.data.size("test"))
    rest = [f"for {show.listing([row_name(row) for row in confusing])} it is {other or 'no single pair'}"
            for other, confusing in others]
    return (f"On {dataset_name(dataset)}, {who} {pair} most often, in {' to '.join(ends)} of {total} test images per "
            f"run{f'; {show.listing(rest)}' if rest else ''}.")


def most_confused(row: Row) -> tuple[str, float]:
    """'cat and dog', and in how many images per run, over seeds and both directions.

    "" of two classes, and where several pairs share the first place.
    """
    counts = np.array([run.record.confusion.counts for run in row.runs if run.record.confusion])
    both = np.triu((counts + counts.transpose(0, 2, 1)).mean(0), 1)
    first = np.argwhere(both == both.max())
    if len(both) < 3 or len(first) > 1:
        return "", 0.0
    classes = show.distinct([show.plain(name) for name in row.runs[0].record.data.classes], 24)
    return f"{classes[first[0][0]]} and {classes[first[0][1]]}", float(both.max())
