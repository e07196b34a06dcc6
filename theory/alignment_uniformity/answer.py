"""The answer: what is known, with its equation, and what the experiment measured."""

from typing import Any

from report import show
from report.elements import table
from report.summary import Row, dataset_name, mean_of, method_name, task_name
from theory.alignment_uniformity.figure import draw
from theory.alignment_uniformity.form import AlignmentUniformity
from theory.section import Section, Start, make, run_name


def answer(found: AlignmentUniformity | None, rows: list[Row]) -> Section:
    """Question 6, with the project's own runs."""
    start = Start(
        id="alignment-uniformity", title="What do alignment and uniformity say of a latent?",
        answer=
            "Alignment is the mean squared distance of two views' normalised latents, uniformity the logarithm of the "
            "mean of exp(\N{MINUS SIGN}2 squared distance) over pairs of images; of both, lower is better. In the "
            "limit of many negatives, the contrastive loss splits into two such terms: the positives ask for "
            "alignment, the negatives for uniformity (Wang and Isola 2020). A collapsed latent has the best alignment "
            "there is, 0, and the worst uniformity, 0. The lowest uniformity is that of points spread evenly over the "
            "sphere; it depends on the dimension d and tends to \N{MINUS SIGN}4. Neither says anything of classes: "
            "evenly spread latents that know nothing of the image's content have the best uniformity too.",
        equations=[
            (r'"alignment" = EE norm(z - z^+)^2, quad "uniformity" = log EE exp(-2 norm(z - z^prime)^2) >= '
             r'-4 + log attach(F, bl: 0, br: 1)(; d\/2; 4)',
             "Alignment is the expected squared distance of z and its positive; uniformity is the log of the expected "
             "exponential of minus twice the squared distance of z and another z, at least minus 4 plus the log of the "
             "confluent hypergeometric limit function 0F1 of d over 2 at 4")])
    own = [row for row in rows if mean_of(row.runs, "test/alignment") is not None
           and mean_of(row.runs, "test/uniformity") is not None]
    tables = [geometry_table(own)] if own else []
    measured = [] if own else ["No counted record holds alignment and uniformity yet: runs made before these were "
                               "scored do not."]
    if own:
        even = min(own, key=lambda row: mean_of(row.runs, "test/uniformity") or 0.0)
        alike = min(own, key=lambda row: mean_of(row.runs, "test/alignment") or 0.0)
        measured = [f"Of this report's own runs {run_name(even)} is spread most evenly (uniformity "
                    f"{show.significant(mean_of(even.runs, 'test/uniformity'))}), and {run_name(alike)} has the "
                    f"closest views (alignment {show.significant(mean_of(alike.runs, 'test/alignment'))}). The table "
                    "below sets them beside the linear probe. The views are those of task 1.2.3 for every run, "
                    "whatever it was trained on."]
    if found is None:
        return make(start, measured=measured, tables=tables)
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
    points = [(dataset_name(row.dataset), mean_of(row.runs, "test/alignment") or 0.0,
               mean_of(row.runs, "test/uniformity") or 0.0) for row in own]
    return make(start, measured=measured, figures=[draw(found, points)], tables=tables)


def geometry_table(rows: list[Row]) -> dict[str, Any]:
    """Alignment and uniformity of the project's runs beside the linear probe, means over seeds."""
    cells = [[dataset_name(row.dataset), task_name(row.task), method_name(row.task, row.method), str(len(row.runs)),
              show.significant(mean_of(row.runs, "test/alignment")),
              show.significant(mean_of(row.runs, "test/uniformity")), show.percent(row.linear)] for row in rows]
    return table("Alignment and uniformity of this report's runs (default recipes) beside the linear probe, means over "
                 "n seeds.", ["Data set", "Task", "Method", "n", "Alignment", "Uniformity", "Linear %"], cells,
                 right=[3, 4, 5, 6])
