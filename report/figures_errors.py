"""Where a run's classifier errs: misclassified images, and how far its confidence can be trusted."""

import numpy as np

from report import show
from report.columns import WIDTH, narrow, styled
from report.drawing import BLUE, MUTED, ORANGE, Drawing, save
from report.pictures import NOT_SAME, Arrays, class_names, drawable, grid, svg, word
from report.summary import wilson_interval
from utils.records.schema import Record

COLUMNS, MOST_ERRORS = 5, 10
BINS = 10  # of equal width


def misclassified(record: Record, arrays: Arrays) -> Drawing | None:
    """Images on the maps with true and predicted class, the most confident errors first; None without any."""
    if not drawable(arrays, "map_images"):
        return None
    true, predicted = (arrays[name][arrays["map_index"]] for name in ("test_labels", "test_predictions"))  # (M,)
    wrong = np.flatnonzero(true != predicted)
    if not len(wrong):
        return None
    confidence = arrays["test_confidence"][arrays["map_index"]] if "test_confidence" in arrays else None
    shown = (wrong if confidence is None else wrong[np.argsort(-confidence[wrong], kind="stable")])[:MOST_ERRORS]
    names, (height, width) = class_names(record, 8), arrays["map_images"].shape[1:3]
    cell, lines = WIDTH / COLUMNS - 8, 2 if confidence is None else 3  # lines of words below an image
    drawn = grid([[arrays["map_images"][i] for i in shown[k:k + COLUMNS]] for k in range(0, len(shown), COLUMNS)],
                 cell, (round(8 / cell * width), round((4 + 9 * lines) / cell * width)))
    words = []
    for k, i in enumerate(shown):
        x, y = k % COLUMNS * drawn.right, k // COLUMNS * drawn.down + cell * height / width
        words += [word(names[true[i]], x, y + 9, 7.5), word(NOT_SAME + names[predicted[i]], x, y + 18, 7.5, ORANGE)]
        if confidence is not None:
            words.append(word(f"{confidence[i]:.2f}", x, y + 27, 7.5, MUTED))
    text = (f"{len(shown)} of {show.plural(len(wrong), 'misclassified image')} among the "
            f"{show.count(len(true))} test images on the maps")
    below = "Below each are its true class and the predicted one"
    if confidence is not None:
        below += " with its probability"
        text += (f", the most confident first: {names[true[shown[0]]]} taken for {names[predicted[shown[0]]]} with "
                 f"{confidence[shown[0]]:.2f}")
    return Drawing(svg(WIDTH, drawn.height + 2 + 9 * lines, drawn, words), f"{text}.", f"{text}. {below}.")


@styled
def reliability(record: Record, arrays: Arrays) -> Drawing | None:
    """Accuracy against confidence in BINS bins, and the expected calibration error: the mean distance of the two
    (Guo 2017, arXiv:1706.04599); None where the record has no confidences.
    """
    if "test_confidence" not in arrays:
        return None
    confidence = arrays["test_confidence"].astype(np.float64)  # (N,)
    correct = arrays["test_labels"] == arrays["test_predictions"]
    place = np.minimum((confidence * BINS).astype(int), BINS - 1)  # (N,), its bin
    total, gap = len(confidence), 0.0
    figure, axes = narrow("accuracy (%) against confidence (%)", 150)
    axes.plot([0, 100], [0, 100], color=MUTED, linewidth=1, linestyle="--")
    for own in (place == i for i in np.unique(place)):
        images, sure, right = own.sum(), confidence[own].mean(), correct[own].mean()
        low, high = wilson_interval(right, images)
        axes.bar(100 * sure, 100 * images / total, width=4, color=MUTED, alpha=0.35)
        axes.plot([100 * sure] * 2, [100 * low, 100 * high], color=BLUE, linewidth=1.6)
        axes.plot([100 * sure], [100 * right], "o", color=BLUE, markersize=5)
        gap += images * abs(right - sure) / total
    axes.set(xlim=(0, 102), ylim=(0, 102), xlabel="probability of the predicted class (%)")
    axes.grid()
    mean, accuracy = confidence.mean(), correct.mean()
    verdict = "too low" if mean < accuracy else "too high"
    text = (f"The expected calibration error is {100 * gap:.2f} points: the mean confidence, "
            f"{show.percent(mean)} %, is {verdict} for an accuracy of {show.percent(accuracy)} %.")
    return Drawing(save(figure), text, f"{text} Calibrated dots would be on the dashed line; lines are Wilson "
                   f"95 % intervals, grey bars the share of the {show.count(total)} test images.")
