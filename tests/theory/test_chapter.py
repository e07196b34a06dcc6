"""The chapter: every number in its words comes from the file, and an invalid file is named."""

import copy
import json
import math
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typst

from report.load import load_results
from report.summary import summarise
from tests.factory import edit, make_record
from tests.theory.measured import COMMITTED
from theory import chapter
from theory.chapter import answer
from theory.results import Experiments, read_theory
from utils.records.schema import RecordError


@pytest.fixture
def results_dir(tmp_path: Path) -> Path:
    """A results folder with only the committed theory.json."""
    (tmp_path / "theory.json").write_bytes(COMMITTED.read_bytes())
    return tmp_path


@pytest.fixture
def without_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures take a tenth of a second each; these tests check only words."""
    monkeypatch.setattr(chapter, "draw", lambda *_: b"")


def words(results_dir: Path) -> str:
    return json.dumps(chapter.theory_chapter(results_dir, summarise([])), ensure_ascii=False,
                      default=lambda drawing: [drawing.alt, drawing.caption])


def test_eight_sections_with_equations_that_compile_and_drawn_figures(results_dir: Path) -> None:
    sections = chapter.theory_chapter(results_dir, summarise([]))
    assert len(sections) == len({section["id"] for section in sections}) == 8
    for section in sections:
        assert set(section) == {"id", "title", "paragraphs", "equations", "tables", "figures"}
        assert section["title"].endswith("?") and len(section["paragraphs"]) >= 2
        assert section["equations"] and all(set(one) == {"typst", "alt"} for one in section["equations"])
        assert len(section["figures"]) == 1
        for figure in section["figures"]:
            assert any(c.isdigit() for c in figure.alt)
            assert 1 <= len(re.findall(r"\.(?= [A-Z]|$)", figure.caption)) <= 2, figure.caption
            assert figure.data.startswith(b"<?xml")
        for table in section["tables"]:
            assert len(re.findall(r"\.(?= [A-Z]|$)", table["caption"])) == 1, table["caption"]
            assert {"caption", "head", "rows", "right", "code", "heads", "anchors"} <= set(table)
            assert all(len(row) == len(table["head"]) and all(isinstance(cell, str) for cell in row)
                       for row in table["rows"])
    source = "\n\n".join(f"$ {one['typst']} $" for section in sections for one in section["equations"])
    assert typst.compile(source.encode(), format="svg", ignore_system_fonts=True)
    assert "not been run" not in words(results_dir)


def leaves(value: Any, path: tuple = ()) -> Iterator[tuple]:
    """Paths of all numbers."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*path, key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


def changed(raw: dict, path: tuple) -> dict:
    """A copy with one number moved by enough to be seen and little enough to be valid."""
    inner = raw = copy.deepcopy(raw)
    for key in path[:-1]:
        inner = inner[key]
    value = inner[path[-1]]
    inner[path[-1]] = value + 1 if isinstance(value, int) else value * 0.83 + 0.011
    return raw


# numbers that only figures draw, or of which the text names one of several
NOT_IN_WORDS = ("traced", "path", "image", "cosines", "random_cosines", "axis_cosines", "other_seed_cosines",
                "other_seed_axis_cosines", "pixels", "images", "patterns", "first", "directions")


@pytest.mark.usefixtures("without_drawing")
def test_every_number_in_the_words_comes_from_the_file() -> None:
    seen, hidden = 0, []
    for name, raw in json.loads(COMMITTED.read_text())["experiments"].items():
        form: Any = Experiments.model_fields[name].annotation
        before = answer(name, form.model_validate(raw), [])
        for path in leaves(raw):
            if not any(key in path for key in NOT_IN_WORDS):
                seen += 1
                if answer(name, form.model_validate(changed(raw, path)), []) == before:
                    hidden.append((name, *path))
    assert seen > 200 and not hidden


@pytest.mark.usefixtures("without_drawing")
@pytest.mark.parametrize("path, value, shown", [
    (("linear_autoencoder", "cosines", 9), 0.543219, "0.543219"),
    (("linear_autoencoder", "axis_cosines", 0), 0.98765, "0.9877"),
    (("linear_autoencoder", "latent"), 17, "latent of 17"),
    (("reconstruction_loss", "l1", "found"), 0.70717, "0.7072"),
    (("variance_directions", "backgrounds", "splits", 3, "leading", "accuracy"), 0.4567, "45.67"),
    (("variance_directions", "digits", "splits", 2, "others", "missed"), 0.7654, "76.54"),
    (("temperature", "same_class_hardest"), 0.0123, "1.23 %"),
    (("collapse", "threshold"), 0.9, "below 0.9000"),
])
def test_numbers_are_shown_as_they_are(path: tuple, value: float, shown: str, results_dir: Path) -> None:
    raw = json.loads(COMMITTED.read_text())
    inner = raw["experiments"]
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (results_dir / "theory.json").write_text(json.dumps(raw))
    assert shown in words(results_dir)


@pytest.mark.usefixtures("without_drawing")
def test_words_follow_the_numbers(results_dir: Path) -> None:
    """Which methods collapsed, and whether a bound was exceeded, are read from the file."""
    raw = json.loads(COMMITTED.read_text())
    assert "No bound is more than three standard errors above I" in words(results_dir)
    rows = raw["experiments"]["collapse"]["rows"]
    next(row for row in rows if row["name"] == "BYOL without the predictor")["spread"] = 0.7771
    next(row for row in rows if row["name"] == "SimCLR (NT-Xent)")["spread"] = 0.01
    raw["experiments"]["mutual_information"]["gaussian"][0]["bound"] = 3.0
    for row in raw["experiments"]["mutual_information"]["one_bit"]:
        row["estimate"] = 0.5
    (results_dir / "theory.json").write_text(json.dumps(raw))
    text = words(results_dir)
    assert "4 of 5 unmodified methods" in text
    exceptions = text.partition("the exceptions: ")[2].partition("). Each")[0]
    assert "5 of 8 methods" in text and "BYOL without the predictor" in exceptions
    assert "1 of 20 bounds are more than" in text and "stays below I" in text


def test_without_the_file_the_answers_appear_without_numbers(tmp_path: Path) -> None:
    sections = chapter.theory_chapter(tmp_path, summarise([]))
    assert len(sections) == 8
    for section in sections:
        assert section["equations"] and not section["figures"]
        assert "python _theory.py" in section["paragraphs"][-1]


def edited(edit: Callable[[dict], Any]) -> Callable[[], bytes]:
    def data() -> bytes:
        raw = json.loads(COMMITTED.read_text())
        edit(raw)
        return json.dumps(raw).encode()
    return data


HOSTILE: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"", "no JSON": lambda: b"{", "binary": lambda: bytes(range(256)), "a list": lambda: b"[]",
    "cut off": lambda: COMMITTED.read_bytes()[:9000], "deep": lambda: b"[" * 100_000,
    "huge": lambda: b" " * 21_000_000 + COMMITTED.read_bytes(),
    "long number": lambda: b'{"seed": ' + b"9" * 10_000 + b"}",
    "key twice": lambda: COMMITTED.read_bytes().replace(b'"seed": 0', b'"seed": 0, "seed": 0', 1),
    "NaN": lambda: COMMITTED.read_bytes().replace(b'"pca_error": 0', b'"pca_error": NaN, "x": 0', 1),
    "infinite": edited(lambda raw: raw["experiments"]["temperature"].update(same_class_all=math.inf)),
    "unknown key": edited(lambda raw: raw["experiments"].update(more=1)),
    "missing experiment": edited(lambda raw: raw["experiments"].pop("collapse")),
    "missing variant": edited(lambda raw: raw["experiments"]["collapse"]["rows"].pop()),
    "missing corner": edited(lambda raw: raw["experiments"]["alignment_uniformity"]["corners"].pop()),
    "text for a number": edited(lambda raw: raw["experiments"]["collapse"].update(steps="many")),
    "true for a number": edited(lambda raw: raw["experiments"]["collapse"].update(steps=True)),
    "lists of two lengths": edited(lambda raw: raw["experiments"]["linear_autoencoder"]["cosines"].pop()),
    "accuracy above 1": edited(lambda raw: raw["experiments"]["projection_head"]["trained"][0].update(
        class_accuracy=1.5)),
    "split beyond the directions": edited(lambda raw: raw["experiments"]["variance_directions"]["digits"]["splits"][
        6].update(first=99)),
    "another schema": edited(lambda raw: raw.update(schema=2)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_an_invalid_file_is_named_and_not_used(name: str, tmp_path: Path) -> None:
    (tmp_path / "theory.json").write_bytes(HOSTILE[name]())
    with pytest.raises(RecordError, match="^theory.json: ") as caught:
        read_theory(tmp_path / "theory.json")
    assert "\n" not in str(caught.value)
    sections = chapter.theory_chapter(tmp_path, summarise([]))
    assert all("cannot be trusted: theory.json" in section["paragraphs"][-1] and not section["figures"]
               for section in sections)
    assert all(len(section["paragraphs"][-1]) < 500 for section in sections)


def test_folders_links_and_pipes_in_place_of_the_file_are_errors(tmp_path: Path) -> None:
    for make in (lambda path: path.mkdir(), os.mkfifo, lambda path: path.symlink_to(tmp_path / "nowhere")):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        make(folder / "theory.json")
        with pytest.raises(RecordError, match="no regular file"):
            read_theory(folder / "theory.json")


def test_extreme_but_valid_numbers_are_drawn(results_dir: Path) -> None:
    raw = json.loads(COMMITTED.read_text())
    for number, path in enumerate(leaves(raw["experiments"])):
        inner = raw["experiments"]
        for key in path[:-1]:
            inner = inner[key]
        if isinstance(inner[path[-1]], float) and not any("accuracy" in str(key) for key in path):
            inner[path[-1]] = 1e-6 if number % 2 else 1.0
    (results_dir / "theory.json").write_text(json.dumps(raw))
    sections = chapter.theory_chapter(results_dir, summarise([]))
    assert [len(section["figures"]) for section in sections] == [1] * 8


def test_scores_of_the_project_s_own_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alignment and uniformity are drawn, and the head's loss counted, as means over the seeds of complete runs."""
    monkeypatch.setattr("report.load.check_known", lambda *_: None)  # the factory's images are not MNIST's
    for task, dataset, method, seed in (("1.2.3", "mnist", "simclr", 0), ("1.2.3", "mnist", "simclr", 1),
                                        ("1.2.3", "cifar10", "vicreg", 0), ("1.2.1", "mnist", "plain", 0)):
        path = make_record(tmp_path, task, dataset, method, seed, n=500)
        if task == "1.2.3":
            correct = 499 if method == "vicreg" else 300 + seed
            edit(path, "metrics", "test/projection_linear_top1", value={
                "value": correct / 500, "n": 500, "correct": correct, "split": "test", "protocol": "drawn"})
    make_record(tmp_path, "1.2.3", "cifar10", "simclr", 0, n=500, status="quick", name="quick")
    loaded, _ = load_results(tmp_path)
    results, losses = summarise(loaded), []
    for run, row in zip(chapter.own_runs(results), results.headline, strict=True):
        scores = [[one.record.metrics[f"test/{name}"].value for one in row.runs if f"test/{name}" in one.record.metrics]
                  for name in ("alignment", "uniformity", "linear_top1", "projection_linear_top1")]
        alignment, uniformity, before, after = (sum(values) / len(values) if values else None for values in scores)
        assert (run["alignment"], run["uniformity"]) == pytest.approx((alignment, uniformity))
        assert run["head_loss"] == (None if after is None else pytest.approx(before - after))
        losses += [before - after] if after is not None else []
    assert len(losses) == 2
    (tmp_path / "theory.json").write_bytes(COMMITTED.read_bytes())
    sections = {section["id"]: section for section in chapter.theory_chapter(tmp_path, results)}
    assert f"In {sum(loss > 0 for loss in losses)} of 2 rows" in " ".join(sections["projection-head"]["paragraphs"])
    [figure] = sections["alignment-uniformity"]["figures"]
    assert "runs of this report: 3." in figure.alt and all(f">{name}<".encode() in figure.data
                                                           for name in ("MNIST", "CIFAR-10"))
