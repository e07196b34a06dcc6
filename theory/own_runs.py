"""The report's own runs, with the scores that two of the answers show."""

from typing import NamedTuple

from report.summary import Results, dataset_name, mean_of, method_name, task_name


class OwnRun(NamedTuple):
    """A row of the headline table: names as shown, and means over seeds; None if a run does not have the score."""

    dataset: str
    task: str
    method: str
    name: str  # '1.2.3 simclr on MNIST'
    seeds: int
    linear: float
    alignment: float | None
    uniformity: float | None
    after_head: float | None  # linear probe on the projection head's output

    @property
    def head_loss(self) -> float | None:
        """Accuracy that the linear probe loses from before to after the projection head."""
        return None if self.after_head is None else self.linear - self.after_head


def own_runs(summary: Results) -> list[OwnRun]:
    """One per row of the headline table, in its order."""
    runs = []
    for row in summary.headline:
        dataset, method = dataset_name(row.dataset), method_name(row.task, row.method)
        scores = [mean_of(row.runs, f"test/{name}") for name in ("alignment", "uniformity", "projection_linear_top1")]
        runs.append(OwnRun(dataset, task_name(row.task), method, f"{row.task} {method} on {dataset}", len(row.runs),
                           row.linear, *scores))
    return runs
