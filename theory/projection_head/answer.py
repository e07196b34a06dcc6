"""The answer: what is known, with its equation, and what the experiment measured."""

from typing import Any

from report import show
from report.elements import table
from report.summary import Row, dataset_name, mean_of, method_name
from theory.projection_head.figure import draw
from theory.projection_head.form import ProjectionHead
from theory.section import Section, Start, make


def answer(found: ProjectionHead | None, rows: list[Row]) -> Section:
    """Question 7, with the project's own runs."""
    start = Start(
        id="projection-head", title="Why is the projection head thrown away?",
        answer=
            "The contrastive loss asks the head's output g(h) to be the same for all views of an image, so it "
            "pays to forget whatever the augmentation changes: position, colour, or here the turn. The encoder's "
            "output h, one step earlier, is not compared itself and keeps more of it, because the head can do the "
            "forgetting (Chen et al. 2020, section 4.2). A later task may need what was forgotten, so h is kept and g "
            "dropped. That no function of h can hold more about the image than h does is certain; how much less a "
            "linear probe reads from it is what the experiment shows.",
        equations=[
            (r'cal(L) = "NT-Xent"(g(h(v)), g(h(v^prime))), quad I(x; g(h)) <= I(x; h)',
             "The loss is the NT-Xent of g of h of the two views; the information on x in g of h is at most that in "
             "h")])
    own = [row for row in rows if mean_of(row.runs, "test/projection_linear_top1") is not None
           and row.linear is not None]
    tables = [head_table(own)] if own else []
    if own:
        ahead = [row for row in own if gain(row) > 0]
        measured = [f"In {len(ahead)} of {len(own)} of this report's own rows with a projection head the linear probe "
                    "is more accurate before the head than after it (table below)."]
    else:
        measured = ["No counted record holds a score behind its projection head yet."]
    if found is None:
        return make(start, measured=measured, tables=tables)
    before, after = found.trained[1], found.trained[2]
    raw_before, raw_after = found.untrained[1], found.untrained[2]
    measured.append(
        f"A small encoder and head, both {found.width} wide, trained for {found.steps} steps by NT-Xent on digits that "
        f"each view turns by a random number of quarter turns; probes read {show.count(found.test_images)} turned test "
        f"digits. They predict the turn with {show.percent(before.turn_accuracy)} % accuracy before the head and "
        f"{show.percent(after.turn_accuracy)} % after it (chance {show.percent(1 / found.turns)} %), the class with "
        f"{show.percent(before.class_accuracy)} % and {show.percent(after.class_accuracy)} %. That this is the loss's "
        f"doing, and not that of one more layer, shows before training: there the accuracies for the turn are "
        f"{show.percent(raw_before.turn_accuracy)} % and {show.percent(raw_after.turn_accuracy)} %, the class with "
        f"{show.percent(raw_before.class_accuracy)} % and {show.percent(raw_after.class_accuracy)} %. For the class, "
        "then, an untrained head costs something as well; for the turn nearly all of the loss comes with training.")
    return make(start, measured=measured, figures=[draw(found)],
                tables=[*tables, probe_table(found)])


def gain(row: Row) -> float:
    """Linear accuracy before the head minus that after it; both are in the row's records."""
    after = mean_of(row.runs, "test/projection_linear_top1")
    assert row.linear is not None and after is not None
    return row.linear - after


def head_table(rows: list[Row]) -> dict[str, Any]:
    """Linear probe before and after the projection head, the project's runs, means over seeds."""
    cells = []
    for row in rows:
        after = mean_of(row.runs, "test/projection_linear_top1")
        cells.append([dataset_name(row.dataset), method_name(row.task, row.method), str(len(row.runs)),
                      show.percent(row.linear), show.percent(after), show.points(gain(row))])
    return table("Linear probe before and after the projection head, this report's runs (default recipes), means over "
                 "n seeds.", ["Data set", "Method", "n", "Before %", "After %", "Difference (points)"], cells,
                 right=[2, 3, 4, 5])


def probe_table(found: ProjectionHead) -> dict[str, Any]:
    """All probes of the experiment."""
    rows = [[row.features, when, show.percent(row.class_accuracy), show.percent(row.turn_accuracy)]
            for when, part in (("before training", found.untrained), ("after training", found.trained)) for row in part]
    return table("What a linear probe reads of turned digits.", ["Features", "When", "Class %", "Turn %"], rows,
                 right=[2, 3])
