"""What was found, in sentences made from the rows: the page's summary and the PDF's abstract."""

from collections.abc import Sequence

from report import show, stats, summary
from report.load import Rejected
from report.summary import Results, Row, by_dataset, dataset_name, method_name, row_name, task_name


def abstract(results: Results, pairs: dict[str, list[stats.Pair]], curves: dict[str, list[stats.Curve]],
             rejected: list[Rejected]) -> list[str]:
    """What was done; for each data set what was learned, what labels are worth, what reconstruction costs; gaps."""
    if not results.rows:
        return ["There is no record of a complete run yet, so there is nothing to compare. The table gives the "
                "commands that make them; python _main.py --task 1.2.2 --dataset digits is the quickest, because it "
                "needs no download.", *left_out(results, rejected)]
    asked = len(summary.REFERENCE)
    present = asked - len(results.missing)
    number = {0: f"None of the {asked}", asked: f"All {asked}"}.get(present, f"{present} of the {asked}")
    sentences = [f"Images were mapped to latents of {results.rows[0].latent_dim} numbers, by different tasks, and each "
                 f"latent was scored by how well a classifier reads the class from it: "
                 f"{show.plural(len(results.counted), 'complete run')}. {number} results that the coursework asks for "
                 f"{'is' if present == 1 else 'are'} present."]
    if results.missing:
        names = [f"{gap.task} on {dataset_name(gap.dataset)}" for gap in results.missing]
        sentences.append(f"Missing: {show.listing(names)}.")
    for dataset, rows in by_dataset(results.headline):
        sentences += [learned(dataset, rows, pairs[dataset]), reconstruction(dataset, rows)]
    sentences += [few_labels(*one) for one in curves.items()]
    return list(filter(None, sentences)) + left_out(results, rejected)


def learned(dataset: str, rows: list[Row], pairs: list[stats.Pair]) -> str:
    """A data set's best latents without and with labels, against the best control and chance."""
    controls = [row for row in rows if row.task == "control"]
    free = [row for row in rows if row.labels == "none" and row.task != "control"]
    labelled = [row for row in rows if row.labels != "none"]
    control = max(controls, key=lambda row: row.accuracy, default=None)
    # one run is no ground for "the best"; where rows have three seeds, those are compared
    compared = [row for row in free if len(row.runs) > 2] or free
    best = max(compared, key=lambda row: row.accuracy, default=None)
    parts = []
    if best:
        chance = 1 / len(best.runs[0].record.data.classes)
        above = f"{points(best.accuracy - chance)} above chance"
        if control:
            above = f"{points(best.accuracy - control.accuracy)} {side(best.accuracy - control.accuracy)} the best " \
                    f"control and {above}"
        of_three = " (of rows with three seeds or more)" if len(compared) < len(free) else ""
        parts.append(f"The best latent learned without labels{of_three} is that of {row_name(best)}, "
                     f"{show.percent(best.accuracy)} % (n = {len(best.runs)}), {above}.")
    if control:
        parts.append("The best control, of which nothing was learned, is "
                     f"{method_name('control', control.method)} with {show.percent(control.accuracy)} %.")
        others = [*free, *labelled]
        over = [row_name(row) for row in others if exceeds(row, control, pairs)]
        below = [row_name(row) for row in others if row_name(row) not in over]
        test = "by more than chance (McNemar's test with Holm's correction)"
        if len(below) > max(len(over), 1):
            parts.append(f"Of {len(others)} rows, {f'only {show.listing(over)}' if over else 'none'} "
                         f"{'exceed' if len(over) > 1 else 'exceeds'} it {test}.")
        elif below:
            parts.append(f"{show.listing(below)} {'does' if len(below) == 1 else 'do'} not exceed it {test}.")
    if labelled:
        top = max(labelled, key=lambda row: row.accuracy)
        gain = f", {points(top.accuracy - best.accuracy)} {side(top.accuracy - best.accuracy)} that" if best else ""
        parts.append(f"With all labels, {row_name(top)} has {show.percent(top.accuracy)} %{gain}.")
    text = " ".join(parts)
    return f"On {dataset_name(dataset)}, {text[0].lower()}{text[1:]}" if text else ""


def reconstruction(dataset: str, rows: list[Row]) -> str:
    """Whether the autoencoder that reconstructs best also has the best latent."""
    found = [(error, row) for row in rows if row.task == "1.2.1"
             and (error := summary.mean_of(row.runs, "test/reconstruction_mae")) is not None]
    if len(found) < 2:
        return ""
    sharp, useful = min(found, key=lambda pair: pair[0]), max(found, key=lambda pair: pair[1].accuracy)
    if sharp is useful:
        return ""
    words = [f"{row_name(row)} reconstructs pixels with a mean error of {show.significant(error)} and has "
             f"{show.percent(row.accuracy)} %" for error, row in (sharp, useful)]
    return f"On {dataset_name(dataset)}, the best reconstruction is not the best latent: {', '.join(words)}."


def few_labels(dataset: str, curves: list[stats.Curve]) -> str:
    """The accuracy of each curve at a data set's lowest label fraction, and whether pre-training paid there."""
    lowest = min(curve.points[0][0] for curve in curves)
    at_lowest = [(curve.name, curve.points[0][1]) for curve in curves if curve.points[0][0] == lowest]
    found = show.listing([f"{show.percent(row.accuracy)} % ({name})" for name, row in at_lowest])
    sentence = f"With {100 * lowest:g} % of the labels of {dataset_name(dataset)}, test accuracy is {found}."
    scratch = next((row for name, row in at_lowest if name == "random initialisation, trained end to end"), None)
    tuned = [row for name, row in at_lowest if name.endswith("fine-tuned")]
    if scratch and tuned and max(row.accuracy for row in tuned) <= scratch.high:
        sentence += " Starting from a learned encoder does not beat random weights there by more than chance."
    return sentence


def exceeds(row: Row, control: Row, pairs: list[stats.Pair]) -> bool:
    """Whether a row is better than a control by more than chance, on the test images of the seed that they share."""
    for pair in pairs:
        if {id(pair.first), id(pair.second)} == {id(row), id(control)}:
            better = pair.only_first - pair.only_second if pair.first is row else pair.only_second - pair.only_first
            return better > 0 and pair.adjusted < stats.SIGNIFICANT
    return row.low > control.accuracy  # no seed in common


def points(difference: float) -> str:
    """A distance in percentage points, without its sign: '4.65 points'."""
    return f"{100 * abs(difference):.2f} points"


def side(difference: float) -> str:
    """'above' or 'below'."""
    return "above" if difference >= 0 else "below"


def left_out(results: Results, rejected: list[Rejected]) -> list[str]:
    """One sentence on the records that do not count; none when all do."""
    groups = {"quick run": len(results.quick), "failed run": len(results.failed), "repeat": len(results.repeats),
              "rejected file": len(rejected)}
    found = [show.plural(number, noun) for noun, number in groups.items() if number]
    return [f"Not counted, but listed at the end: {show.listing(found)}."] if found else []


def asked_rows(results: Results, default_methods: dict[tuple[str, str], str]) -> list[Row]:
    """The rows of the results that the coursework asks for: the default method's with the most seeds, else the best."""
    found = []
    for task, dataset in summary.REFERENCE:
        rows = [row for row in results.headline if (row.task, row.dataset) == (task, dataset)]
        method = default_methods.get((task, dataset))
        rows = [row for row in rows if row.method == method] or sorted(rows, key=lambda row: -row.accuracy)[:1]
        if rows:
            found.append(max(rows, key=lambda row: (len(row.runs), row.accuracy)))
    return found


def asked_table_lines(rows: Sequence[Row]) -> list[list[str]]:
    """One line a result: task, data set, method, accuracy, interval, over the best control, reference."""
    return [[task_name(row.task), dataset_name(row.dataset), row.method_and_recipe, show.percent(row.accuracy),
             show.interval(row.low, row.high), str(len(row.runs)), show.points(row.over_control),
             show.percent(row.reference)] for row in rows]
