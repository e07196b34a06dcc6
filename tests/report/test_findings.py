"""Sentences of abstract and discussion at the borders of their words; most others are tested with what shows them."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from report import findings
from report.load import load_results
from report.stats import Pair
from report.summary import Results, summarise
from tests.factory import edit, make_record


def results_of(folder: Path) -> Results:
    return summarise(load_results(folder)[0])


def test_a_difference_must_be_significant_after_the_correction() -> None:
    good, control = (SimpleNamespace(accuracy=accuracy, low=accuracy, high=accuracy) for accuracy in (0.9, 0.8))
    for adjusted, sure in ((0.051, False), (0.049, True)):
        assert findings.exceeds(good, control, [Pair(good, control, 0, 30, 10, 0.002, adjusted)]) == sure


def test_two_seeds_are_fewer_than_three(tmp_path: Path) -> None:
    for method, seeds, accuracy in (("simclr", 3, 0.8), ("dcl", 2, 0.9)):
        for seed in range(seeds):
            make_record(tmp_path, "1.2.3", "mnist", method, seed, accuracy=accuracy, n=100, epochs=2)
    assert findings.best_latents([("mnist", results_of(tmp_path).headline)]) == [
        "By test accuracy, the best latent learned without labels is that of 1.2.3 simclr on MNIST (80.00 %); guessing "
        "gives 10 %.", "Higher, but with fewer than three seeds: 1.2.3 dcl on MNIST (90.00 %)."]


@pytest.mark.parametrize("control, accuracies, said", [
    (0.97, {"1.2.1": 0.99}, ""),
    (0.98, {"1.2.1": 0.99}, " The best control exceeds this reference, too."),
    (0.98, {"1.2.1": 0.9}, " The best control exceeds this reference."),
    (0.98, {"1.2.1": 0.99, "1.2.2": 0.9}, " The best control exceeds 1 of these 2 references, too."),
    (0.98, {"1.2.1": 0.9, "1.2.2": 0.9, "1.2.3": 0.9}, " The best control exceeds 2 of these 3 references.")])
def test_references_below_the_best_control_are_counted(control: float, accuracies: dict[str, float], said: str,
                                                       tmp_path: Path) -> None:
    make_record(tmp_path, "control", "mnist", "pca", accuracy=control, n=1000, epochs=0)
    make_record(tmp_path, "control", "mnist", "random", accuracy=0.5, n=1000, epochs=0)
    for task, accuracy in accuracies.items():
        method = {"1.2.1": "plain", "1.2.2": "joint", "1.2.3": "simclr"}[task]
        make_record(tmp_path, task, "mnist", method, accuracy=accuracy, n=1000)
    text = findings.coverage(results_of(tmp_path)).partition(" Missing:")[0]
    assert text.endswith(f".{said}") and ("The best control" in text) == bool(said)


@pytest.mark.parametrize("latents, said", [
    ((0.8, 0.7), "2 of 2 latents have"), ((0.8, 0.4), "1 of 2 latents has"), ((0.5, 0.4), "none of 2 latents has")])
def test_latents_whose_maps_are_purer_than_those_of_the_pixels_are_counted(latents: tuple[float, float], said: str,
                                                                           tmp_path: Path) -> None:
    """A latent as pure as the pixels, 0.5, is not purer."""
    for method, agreement in zip(("simclr", "dcl"), latents, strict=True):
        path = make_record(tmp_path, "1.2.3", "mnist", method, n=100)
        for name, value in (("tsne_agreement", agreement), ("pixel_tsne_agreement", 0.5)):
            edit(path, "metrics", f"test/{name}", "value", value=value)
    text = findings.clusters("mnist", results_of(tmp_path).headline)
    assert f"{said} more neighbours of their own class than the pixels" in text
    assert f"{100 * latents[0]:.2f} % for 1.2.3 simclr, {100 * latents[1]:.2f} % for 1.2.3 dcl and 50.00 %" in text


def test_the_two_classes_confused_most_are_counted_in_both_directions() -> None:
    def confused(*errors: tuple[int, int, int]) -> str:
        counts = [[9 * (i == j) for j in range(4)] for i in range(4)]
        for true, predicted, number in errors:
            counts[true][predicted] = number
        record = SimpleNamespace(confusion=SimpleNamespace(counts=counts),
                                 data=SimpleNamespace(classes=["cat", "dog", "frog", "ship"]))
        return findings.most_confused(SimpleNamespace(runs=[SimpleNamespace(record=record)]))

    assert confused((0, 1, 3), (1, 0, 4), (2, 3, 5)) == "cat and dog"
    assert confused((1, 0, 4), (2, 3, 5)) == "frog and ship"
    assert confused((3, 2, 5), (0, 1, 4)) == "frog and ship"
    assert confused((0, 1, 2), (1, 0, 3), (2, 3, 5)) == confused() == ""
