"""The PDF as a paper: its parts, legible letters, references in the text, sources, names in any script."""

import re
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import pytest
from pypdf import PdfReader

from report import discussion, findings, page_content, prose
from report.load import load_results
from report.page_content import make_page
from report.render import REFERENCES, build_pdf, with_drawable_classes, write_report
from report.stats import mcnemar_pairs
from report.summary import Results, summarise
from tests.factory import edit, make_record
from tests.report.pages import letters, pdf_text
from utils.images.datasets import DATASETS

INDEX_OF_INDEX = "NewCMMath"  # the font of formulas, whose second-order indices may be smaller
PLANTS = ["Tomato___Tomato_Yellow_Leaf_Curl_Virus", "Tomato___Tomato_mosaic_virus"]


def links(pdf: bytes) -> tuple[list[str], int]:
    """Addresses that the PDF links to, and how many links lead to a place within it."""
    actions = [note.get_object().get("/A", {}) for page in PdfReader(BytesIO(pdf)).pages
               for note in page.get("/Annots", [])]
    return [action["/URI"] for action in actions if "/URI" in action], sum("/URI" not in one for one in actions)


@pytest.fixture(scope="module")
def plants(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The PDF on a folder data set with long names and names in other scripts."""
    folder = tmp_path_factory.mktemp("plants")
    classes = ["猫", "狗", "قطة", "חתול", "🎉", *PLANTS, "x" * 250]
    for task, method in (("1.2.1", "masked"), ("1.2.2", "joint"), ("1.2.3", "simclr")):
        make_record(folder, task, "folder-a", method, n=200, classes=classes, reconstructions=16 * (task == "1.2.1"),
                    argv=["_main.py", "--dataset", "folder:花"])
    make_record(folder, "1.2.2", "folder-many", "joint", n=300, classes=[f"{PLANTS[i % 2]}_{i}" for i in range(29)])
    write_report(folder, folder / "a.html", folder / "a.pdf")
    assert "猫" in (folder / "a.html").read_text(encoding="utf-8")
    return (folder / "a.pdf").read_bytes()


def test_no_letter_is_smaller_than_seven_points(pdf: bytes, plants: bytes) -> None:
    for document in (pdf, plants):
        found = letters(document)
        assert len(found) > 1000
        assert [one for one in found if one[0] < 6.99 and INDEX_OF_INDEX not in one[1]] == []


def test_each_figure_and_table_has_a_number_and_is_referred_to(pdf: bytes, plants: bytes) -> None:
    for document in (pdf, plants):
        text = " ".join(pdf_text(document).split())
        for kind in ("Figure", "Table"):
            captions = [int(number) for number in re.findall(rf"{kind} (\d+)\. (?=[A-Za-z0-9])", text)]
            last = max(captions)
            assert set(captions) >= set(range(1, last + 1))
            for number in range(1, last + 1):
                assert len(re.findall(rf"{kind} {number}(?!\d)", text)) >= 2, (kind, number)
        assert links(document)[1] > 40


def test_the_paper_comes_first_and_is_at_most_twelve_pages(pdf: bytes) -> None:
    document = PdfReader(BytesIO(pdf))
    order = [entry for entry in document.outline if not isinstance(entry, list)]
    titles = [entry.title for entry in order]
    assert [title.lstrip("0123456789. ") for title in titles[:6]] == [
        "Introduction", "Method", "Results", "Discussion", "Limits", "References"]
    pages = [document.get_destination_page_number(entry) for entry in order]
    assert all(one <= other for one, other in pairwise(pages))
    assert pages[6] <= 12 and "All results" in titles[6]


def test_every_source_in_the_texts_is_in_the_references_and_linked(pdf: bytes) -> None:
    texts = [prose.PROBLEM, *(spec.cited for spec in DATASETS.values()), *prose.READING.values(),
             *(text for method in prose.METHODS.values() for text in (method.source, method.text)),
             *(path.read_text() for path in (Path(__file__).parents[2] / "theory").glob("*/answer.md.j2"))]
    cited = {name.lower() + year for text in texts
             for name, year in re.findall(r"(\w+)(?:\s+and\s+\w+|\s+et\s+al\.)?\s+((?:19|20)\d\d)", text)}
    keys = set(re.findall(r"^@\w+\{(\w+),", REFERENCES.read_text(encoding="utf-8"), re.MULTILINE))
    assert cited == keys
    addresses, _ = links(pdf)
    assert any("doi.org/10.1080/01621459.1927.10502953" in one for one in addresses)
    assert any("arxiv.org/abs/2002.05709" in one for one in addresses)


def test_names_that_the_fonts_lack_become_numbers_and_others_are_drawn(plants: bytes) -> None:
    text = pdf_text(plants)
    squeezed = "".join(text.split())
    assert "class0is\\u732b,class1is\\u72d7,class4is\\U0001f389" in squeezed  # in the limits
    assert "folder:\\u82b1" in squeezed  # any other text of a record
    assert "猫" not in text and ("חתול" in squeezed or "חתול"[::-1] in squeezed)
    assert not [font for _, font, _ in letters(plants) if "LastResort" in font]


def test_long_words_break_within_their_column_and_can_be_copied(plants: bytes) -> None:
    ends = []

    def visit(text: str, cm: list, tm: list, font: dict | None, size: float) -> None:
        if text.strip() and "Mono" in str((font or {}).get("/BaseFont", "")):  # whose letters are all 0.602 wide
            scale = abs(tm[0] * cm[0])
            ends.append(tm[4] * cm[0] + tm[5] * cm[2] + cm[4]
                        + size * scale * 0.602 * max(map(len, text.strip().split("\n"))))

    for page in PdfReader(BytesIO(plants)).pages:
        page.extract_text(visitor_text=visit)
    assert len(ends) > 300 and max(ends) < 545  # of 595 points
    assert "\u200b" not in pdf_text(plants)


def test_a_class_that_is_called_like_a_number_keeps_its_name_to_itself(tmp_path: Path) -> None:
    make_record(tmp_path, "1.2.2", "folder-a", "joint", n=60, classes=["class 1", "猫", "dog"])
    run, note = with_drawable_classes(load_results(tmp_path)[0][0])
    assert run.record.data.classes == ["class 0", "class 1", "class 2"] and "class 0 is class 1" in note
    assert "test/classifier_top1/class 2" in run.record.metrics


def results_of(folder: Path) -> Results:
    return summarise(load_results(folder)[0])


def test_the_run_shown_is_the_default_methods_or_else_the_best(tmp_path: Path) -> None:
    for task, dataset, method, accuracy in (
            ("1.2.1", "cifar10", "patches", 0.9), ("1.2.1", "cifar10", "plain", 0.5),  # plain is the default
            ("1.2.3", "cifar10", "dcl", 0.6), ("1.2.3", "cifar10", "vicreg", 0.7),  # neither is
            ("control", "cifar10", "random", 0.3), ("control", "cifar10", "pca", 0.4),  # both are
            ("1.2.1", "folder-a", "patches", 0.9), ("1.2.1", "folder-a", "plain", 0.6)):
        make_record(tmp_path, task, dataset, method, accuracy=accuracy, n=100, epochs=2)
    found = {(row.dataset, row.task): row.method for row in findings.shown_rows(results_of(tmp_path))}
    assert found == {("cifar10", "1.2.1"): "plain", ("cifar10", "1.2.3"): "vicreg", ("cifar10", "control"): "pca",
                     ("folder-a", "1.2.1"): "plain"}


def test_the_main_maps_are_those_of_the_rows_shown_whatever_their_recipes(tmp_path: Path) -> None:
    make_record(tmp_path, "control", "mnist", "random", n=100)
    for task, method, fields in (("1.2.2", "joint", {"labels": 0.5}), ("1.2.3", "simclr", {"subset": 5000})):
        make_record(tmp_path, task, "mnist", method, n=100, fields=fields)
    results = results_of(tmp_path)
    assert [row.task for row in results.headline] == ["control"]
    line, = page_content.main_maps(findings.shown_rows(results))
    assert [one.caption.split(":")[0].split(" (")[0] for one in line["maps"]] == [
        "pixels", "1.2.2 joint", "1.2.3 simclr"]


def test_no_best_is_named_where_rows_are_level(tmp_path: Path) -> None:
    """Synthetic autoencoders have one reconstruction error, too."""
    for task, method in (("1.2.1", "plain"), ("1.2.1", "masked"), ("1.2.2", "joint")):
        make_record(tmp_path, task, "mnist", method, accuracy=0.9, n=100, epochs=2, reconstructions=4)
    rows = results_of(tmp_path).headline
    assert findings.best_latents([("mnist", rows)], {"mnist": mcnemar_pairs(rows)})[0] == (
        "By test accuracy, the best latent learned without labels is that of 1.2.1 plain and 1.2.1 masked on MNIST "
        "(90.00 %, 1 seed); guessing gives 10 %.")
    assert discussion.label_gap("mnist", rows, mcnemar_pairs(rows)).endswith(
        "(1.2.2 joint) is level with the best latent learned without any (1.2.1 plain and 1.2.1 masked).")
    assert discussion.reconstruction("mnist", rows) == ""
    path = next(tmp_path.glob("*masked*.json"))
    edit(path, "metrics", "test/reconstruction_mae", "value", value=0.01)
    assert discussion.reconstruction("mnist", results_of(tmp_path).headline) == ""  # the latents are level still


def test_differences_within_chance_are_not_called_findings(tmp_path: Path) -> None:
    for joint, plain, sure in ((0.91, 0.9, False), (0.99, 0.6, True)):
        make_record(tmp_path, "1.2.2", "mnist", "joint", accuracy=joint, n=100, epochs=2)
        edit(make_record(tmp_path, "1.2.1", "mnist", "masked", accuracy=plain, n=100, epochs=2, reconstructions=4),
             "metrics", "test/reconstruction_mae", "value", value=0.01)  # the better reconstruction
        make_record(tmp_path, "1.2.1", "mnist", "plain", accuracy=joint, n=100, epochs=2, reconstructions=4)
        rows = [row for row in results_of(tmp_path).headline if row.method != "plain"]
        assert discussion.label_gap("mnist", rows, mcnemar_pairs(rows)).endswith(
            "(1.2.1 masked)." if sure else "(1.2.1 masked), which is not significant (one seed each).")
        assert bool(discussion.reconstruction("mnist", results_of(tmp_path).headline)) == sure


def test_references_that_a_control_exceeds_are_named(tmp_path: Path) -> None:
    for method, accuracy in (("pca", 0.98), ("random", 0.97), ("patch_pca", 0.9)):
        make_record(tmp_path, "control", "mnist", method, accuracy=accuracy, n=100, epochs=0)
    rows = results_of(tmp_path).headline
    assert discussion.against_references([("mnist", rows), ("cifar10", [])]) == (
        "Without a trained encoder, on MNIST the best control (PCA of pixels, 98.00 %) exceeds the references of 1.2.1 "
        "(97.35 %) and 1.2.3 (96.84 %). So exceeding these references does not show that an encoder learned anything.")
    assert discussion.against_references([("cifar10", [])]) == ""
    make_record(tmp_path, "control", "mnist", "pca", accuracy=0.97, n=100, epochs=0)
    rows = results_of(tmp_path).headline
    assert discussion.against_references([("mnist", rows)]).endswith(
        "exceeds the reference of 1.2.3 (96.84 %). So exceeding this reference does not show that an encoder learned "
        "anything.")
    assert discussion.against_control("mnist", rows, mcnemar_pairs(rows)) == ""


@pytest.mark.parametrize("above, said", [
    (0, ("none of 3 learned latents is", " 1.2.1 plain and 1.2.2 joint are significantly less accurate and 1.2.3 dcl "
         "is not shown to differ from that control.")),
    (1, ("1 of 3 learned latents is", " 1.2.2 joint is significantly less accurate and 1.2.3 dcl is not shown to "
         "differ from that control.", ": 1.2.1 plain")),
    (2, ("2 of 3 learned latents are", " 1.2.3 dcl is not shown to differ from that control.")),
    (3, ("3 of 3 learned latents are", ""))])
def test_the_rows_that_are_not_above_a_control_are_named(above: int, said: tuple[str, ...], tmp_path: Path) -> None:
    make_record(tmp_path, "control", "mnist", "pca", accuracy=0.6, n=1000, epochs=0)
    for i, (task, method) in enumerate((("1.2.1", "plain"), ("1.2.2", "joint"), ("1.2.3", "dcl"))):
        make_record(tmp_path, task, "mnist", method, accuracy=0.9 if i < above else 0.6 if method == "dcl" else 0.3,
                    n=1000)
    rows = results_of(tmp_path).headline
    assert discussion.against_control("mnist", rows, mcnemar_pairs(rows)) == (
        f"On MNIST, {said[0]} significantly more accurate than the best control, PCA of pixels (60.00 %)"
        f"{''.join(said[2:])}.{said[1]}")


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("records", [[], [("1.2.2", "digits", "joint")], [("control", "mnist", "pca")],
                                     [("1.2.1", "folder-a", "plain")], [("rotation", "mnist", "rotnet")]])
def test_a_paper_is_made_of_any_records(tmp_path: Path, records: list[tuple[str, str, str]]) -> None:
    for task, dataset, method in records:
        make_record(tmp_path, task, dataset, method, n=60, epochs=0 if task == "control" else 2)
    loaded, rejected = load_results(tmp_path)
    text = pdf_text(build_pdf(*make_page(summarise(loaded), rejected)))
    assert "Abstract." in text and "References" in text
    assert not re.search(r"On ,|\bNone\b|  ,|\(\)|\bof \.", text)


def test_the_date_is_that_of_the_newest_run_unless_given(tmp_path: Path) -> None:
    assert page_content.written(results_of(tmp_path), "") == ""
    make_record(tmp_path, "1.2.2", "mnist", "joint", 0, n=60, epochs=2, started="2025-11-03T09:30:00Z")
    make_record(tmp_path, "1.2.2", "mnist", "joint", 1, n=60, epochs=2, started="2025-12-24T00:00:00Z")
    assert page_content.written(results_of(tmp_path), "") == "24 December 2025"
    assert page_content.written(results_of(tmp_path), "2024-02-29") == "29 February 2024"


@pytest.mark.usefixtures("undrawn")
def test_the_pdf_is_accessible_with_an_author_and_maps(tmp_path: Path) -> None:
    make_record(tmp_path, "1.2.1", "mnist", "plain", n=100, reconstructions=4, epochs=2)
    loaded, rejected = load_results(tmp_path)
    content = make_page(summarise(loaded), rejected, author="Ada Example", date="2025-01-02")
    document = PdfReader(BytesIO(build_pdf(*content, check=True)))
    assert document.metadata.author == "Ada Example"


@pytest.mark.usefixtures("undrawn")
def test_the_toy_set_stands_in_the_appendix_of_a_paper_on_others(tmp_path: Path) -> None:
    make_record(tmp_path, "1.2.2", "digits", "joint", n=60)
    make_record(tmp_path, "1.2.2", "digits", "joint", n=60, fields={"labels": 0.1})
    make_record(tmp_path, "control", "digits", "pca", n=60, epochs=0)
    for other in (False, True):
        if other:
            make_record(tmp_path, "1.2.2", "mnist", "joint", n=60)
        page = make_page(summarise(load_results(tmp_path)[0]), [])[0]
        paper = page["paper"]
        assert {row[1] for row in paper["table"]["rows"]} == ({"MNIST"} if other else {"Digits"})
        assert len(page["overview"]) == 3  # with those that are missing
        assert (len(paper["overview"]), len(paper["toy"])) == ((2, 2) if other else (3, 0))  # 2: with the label curves
        assert len(paper["labels"]) == len(paper["mcnemar"]) == (0 if other else 1)
        assert ("Digits" in str(paper["introduction"])) != other
