"""What is shown of a single run."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

import _main
from report import run_section, summary
from report.load import load_results
from report.summary import summarise
from tests.factory import make_record
from tests.report.pages import close, committed, expected_rows, parse, pdf_text, render, squeeze, table_of
from training.plan import plan
from utils.recipe import as_json
from utils.records.schema import HEADLINE


def test_a_row_shows_its_lowest_seed_in_full(folder: Path, html: str) -> None:
    text = " ".join("".join(parse(html).text).split())
    for runs in expected_rows(folder).values():
        metric = runs[0]["metrics"][HEADLINE]
        words = f"Test accuracy {100 * metric['value']:.2f} % ({metric['correct']} of {metric['n']} images;"
        assert words in text
        for digest in (runs[0]["artifacts"]["arrays"]["sha256"], runs[0]["recipe"]["hash"]):
            assert digest in html
    assert "Other seeds of this row: 1 and 2." in text
    assert "Thin lines are the other seeds." in text
    assert "1.2.3_mnist_simclr_seed3.json (1.2.3 simclr, seed 3, recipe" in text  # where an encoder came from


@pytest.mark.usefixtures("undrawn")
def test_the_confusion_matrix_follows_from_the_predictions(tmp_path: Path) -> None:
    path = make_record(tmp_path, "1.2.2", "mnist", "joint", n=200, accuracy=0.7)
    html, pdf = render(tmp_path)
    rows = table_of(html, "Confusion matrix")
    with np.load(path.with_suffix(".npz")) as file:
        labels, predictions = file["test_labels"], file["test_predictions"]
    counts = [[int(((labels == i) & (predictions == j)).sum()) for j in range(10)] for i in range(10)]
    assert rows[1:] == [[str(i), *[str(number) if number else "" for number in row]] for i, row in enumerate(counts)]
    for i, row in enumerate(counts):
        assert squeeze(f"{i}" + "".join(str(number) for number in row if number)) in squeeze(pdf_text(pdf))
    caption = next(caption for caption in parse(html).tables if caption.startswith("Confusion"))
    off = max(number for i, row in enumerate(counts) for j, number in enumerate(row) if i != j)
    assert f"{sum(counts[i][i] for i in range(10))} of 200 test images are on the diagonal" in caption
    assert f"{off} image" in caption
    head, *classes = table_of(html, "Accuracy by class")
    for i, (name, images, accuracy) in enumerate(classes):
        assert (name, int(images)) == (str(i), sum(counts[i])) and close(accuracy, 100 * counts[i][i] / sum(counts[i]))


def test_the_most_frequent_confusions_are_named_with_their_ties() -> None:
    errors = {(4, 9): 7, (7, 2): 5, (0, 6): 3, (3, 5): 3, (5, 3): 2, (8, 1): 2, (9, 4): 2}
    names = [f"<{i}>" for i in range(10)]
    assert run_section.confused(errors, names) == (
        " Most frequent confusions: <4> predicted as <9> (7 images), <7> predicted as <2> (5 images), <0> predicted as "
        "<6> (3 images), <3> predicted as <5> (3 images) and <5> predicted as <3> (2 images); 2 other pairs also have "
        "2.")
    assert run_section.confused({}, names) == ""
    assert run_section.confused({(0, 1): 1}, names) == (
        " Most frequent confusions: <0> predicted as <1> (1 image).")


def test_off_the_diagonal_a_confusion_matrix_has_a_scale_of_its_own(tmp_path: Path) -> None:
    make_record(tmp_path, "1.2.2", "mnist", "joint", n=200, accuracy=0.7)
    (run,), _ = load_results(tmp_path)
    counts = run.record.confusion.counts
    most = max(number for i, row in enumerate(counts) for j, number in enumerate(row) if i != j)
    for i, row in enumerate(run_section.confusion(run.record)["rows"]):
        for j, cell in enumerate(row["cells"]):
            wanted = "" if i == j or not counts[i][j] else f"{counts[i][j] / most:.2f}"
            assert cell["error"] == wanted and cell["text"] == str(counts[i][j])


def test_the_command_that_repeats_a_row_asks_for_what_the_row_records(folder: Path) -> None:
    for row in summarise(load_results(folder)[0]).rows:
        *before, command = run_section.repeat_commands(row)
        record = row.runs[0].record
        python, script, *words = shlex.split(command)
        asked = _main.build_parser().parse_args(words)
        assert (python, script, asked.task, asked.dataset) == ("python", "_main.py", row.task, row.dataset)
        assert asked.method == [row.method] and asked.seed == [run.record.run.seed for run in row.runs]
        assert asked.fresh == (len(row.runs) > 1)  # a command of several runs skips those that are complete
        for name in summary.overridden(record):
            assert getattr(asked, name) == record.recipe.fields[name]
        if record.run.init is None:
            assert before == [] and asked.init is None
        else:
            assert asked.init == Path("results") / record.run.init.record
            assert before == ["python _main.py --task 1.2.3 --dataset mnist --method simclr --seed 3"]
            assert not set(summary.overridden(record)) - set(vars(asked))


def test_a_row_whose_seeds_start_from_different_encoders_has_a_command_for_each(tmp_path: Path) -> None:
    for i in range(2):
        init = {"record": f"s{i}.json", "task": "1.2.3", "dataset": "folder-a", "method": "simclr", "seed": i,
                "recipe_hash": "0" * 8, "labels": 0.0, "sha256": str(i) * 64}
        make_record(tmp_path, "1.2.3", "folder-a", n=60, init=init, name=f"from{i}")
    (row,) = summarise(load_results(tmp_path)[0]).rows
    size = row.runs[0].record.data.image_shape[-1]
    plain = "python _main.py --task 1.2.3 --dataset folder:PATH --method simclr --seed"
    commands = run_section.repeat_commands(row)
    assert commands[::2] == [f"{plain} {i} --image-size {size}" for i in range(2)]
    assert [command.startswith(f"{plain} 0 --image-size {size} --init results/s{i}.json")
            for i, command in enumerate(commands[1::2])] == [True, True]


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("classes", [2, 25, 60])
def test_any_number_of_classes_can_be_reported(tmp_path: Path, classes: int) -> None:
    make_record(tmp_path, "1.2.2", "folder-plants", "joint", n=300, epochs=1,
                classes=[f"a plant with a long name {i}" for i in range(classes)])
    html, _ = render(tmp_path)
    assert ("Confusion matrix, true class down" in html) == (classes <= 30)
    assert ("classes cannot be read there" in " ".join(html.split())) == (classes > 30)
    assert "t-SNE of the latents" in html


@pytest.mark.usefixtures("undrawn")
def test_scores_that_a_record_lacks_are_shown_as_dashes(tmp_path: Path) -> None:
    path = make_record(tmp_path, "1.2.1", "mnist", "plain", n=100, epochs=2, reconstructions=1)
    raw = json.loads(path.read_text())
    needed = ("classifier_top1", "linear_top1", "knn_top1", "reconstruction_mae")
    raw["metrics"] = {name: metric for name, metric in raw["metrics"].items() if name.split("/")[1] in needed}
    path.write_text(json.dumps(raw))
    make_record(tmp_path, "1.2.1", "mnist", "masked", n=100, epochs=2, reconstructions=5)
    html, pdf = render(tmp_path)
    assert load_results(tmp_path)[1] == [] and pdf.startswith(b"%PDF")
    lines = {line[0]: line[1:] for line in table_of(html, "1.2.1 autoencoding: methods side by side on MNIST")}
    assert lines["Mean over seeds"] == ["plain", "masked"]
    assert lines["Effective rank (of 128)"] == ["–", "47.31"] and lines["Reconstruction MAE, test"][0] == "0.05230"
    assert "Labelled" not in html


def test_the_command_of_each_committed_row_gives_the_recipe_that_its_records_hold() -> None:
    """Defaults may have changed since a run: its command must name every field that differs from today's."""
    checked = 0
    for row in summarise(committed()).rows:
        record = row.runs[0].record
        if record.run.init is None:
            (command,) = run_section.repeat_commands(row)
            arguments = _main.build_parser().parse_args(shlex.split(command)[2:])
            planned, *_ = plan(arguments, _main.choose_tasks(arguments.task), arguments.dataset, None)
            given = as_json(planned.recipe)
            unused = {name for name in given if not planned.recipe.uses(name)}
            if not record.recipe.fields.get("finetune"):
                unused |= {"finetune_epochs", "finetune_learning_rate"}
            shared = (set(record.recipe.fields) & set(given)) - unused
            assert {name: record.recipe.fields[name] for name in shared} == {name: given[name] for name in shared}
            checked += 1
    assert checked > 20
