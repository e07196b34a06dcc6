"""Both files: complete, offline, accessible, reproducible, and safe from the text of records."""

import json
import os
import re
import subprocess
import sys
from io import BytesIO
from itertools import takewhile
from pathlib import Path

import pytest
from markupsafe import Markup
from pypdf import PdfReader

import _report_evaluation
from report import prose, show
from report.drawing import INK, Drawing
from report.load import load_results
from report.page_content import make_page
from report.render import build_html, build_pdf, draw_equations, share_shapes, unbreakable, write_readme
from report.summary import summarise
from tests.browser import browse
from tests.factory import edit, make_record
from tests.report.pages import SCRIPT, Reader, headline, headline_of, parse, pdf_text, render, squeeze, table_of


def test_both_files_are_complete_and_stand_alone(html: str, pdf: bytes) -> None:
    reader = parse(html)
    assert reader.open == []
    names = [tag for tag, _ in reader.tags]
    assert names.count("h1") == 1 and "link" not in names
    assert [attributes for tag, attributes in reader.tags if tag == "script"] == [{}]
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in reader.tags:
        for key in ("src", "href", "xlink:href"):
            value = attributes.get(key) or ""
            assert value.startswith(("#", "data:image/webp;base64,")) or key not in attributes, (tag, value)
            assert not value.startswith("#") or value[1:] in ids
        if tag in ("img", "svg") and attributes.get("aria-hidden") != "true":
            assert len(attributes.get("alt") or attributes.get("aria-label") or "") > 20
        if tag == "th":
            assert attributes.get("scope") in ("col", "row", "rowgroup")
    assert "url(http" not in html and "@import" not in html
    assert names.count("table") == names.count("caption")
    document = PdfReader(BytesIO(pdf))
    assert document.metadata.title == prose.TITLE
    assert document.metadata.creation_date is None


@pytest.mark.usefixtures("undrawn")
def test_the_pdf_is_accessible(tmp_path: Path) -> None:
    """Typst checks PDF/UA-1: a title, a language, alternative text for each image, headings in order."""
    for method in ("plain", "masked"):
        make_record(tmp_path, "1.2.1", "mnist", method, n=100, reconstructions=6, epochs=3)
    for share in (0.1, 0.5):
        make_record(tmp_path, "1.2.2", "mnist", "joint", n=100, epochs=3, fields={"labels": share})
    loaded, rejected = load_results(tmp_path)
    assert build_pdf(*make_page(summarise(loaded), rejected, a_theory()), check=True).startswith(b"%PDF")


def a_theory() -> list[dict]:
    """A chapter as render.write_report receives it, with one of everything."""
    square = b'<svg xmlns="http://www.w3.org/2000/svg" width="9pt" height="9pt"><path d="M 1 1 L 3 3"/></svg>'
    return [{"id": "pca", "title": "A linear <autoencoder>", "paragraphs": ["First words #let.", "Last words."],
             "equations": [{"typst": "x^2 / y", "alt": "x squared over y"}],
             "tables": [{"caption": "Angles <i>.", "head": ["What", "Degrees"], "rows": [["largest", "0.1234"]],
                         "right": [1], "code": []}],
             "figures": [Drawing(square, "A square of one unit.", "A square.")]}]


@pytest.mark.usefixtures("undrawn")
def test_html_and_pdf_have_the_theory_chapter(tmp_path: Path) -> None:
    make_record(tmp_path, n=60, epochs=2)
    (tmp_path / "theory.json").write_text('{"not": "a record"}')
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "theory.json").write_text('{"not": "a record"}')
    loaded, rejected = load_results(tmp_path)
    assert len(loaded) == 1 and [item.name for item in rejected] == ["deeper/theory.json"]
    content = make_page(summarise(loaded), rejected, a_theory())
    html, pdf = build_html(*content).decode(), build_pdf(*content)
    assert table_of(html, "Angles <i>") == [["What", "Degrees"], ["largest", "0.1234"]]
    labels = [attributes.get("aria-label") for tag, attributes in parse(html).tags if tag == "svg"]
    assert "x squared over y" in labels and "A square of one unit." in labels
    for words in ("Theory, with experiments", "A linear <autoencoder>", "First words #let.", "Last words.", "0.1234"):
        assert words in "".join(parse(html).text) and squeeze(words) in squeeze(pdf_text(pdf))
    without = build_html(content[0] | {"theory": []}, content[1]).decode()
    assert "Theory, with experiments" not in without


@pytest.mark.usefixtures("undrawn")
def test_the_explorer_is_in_the_page_only_if_there_is_one(tmp_path: Path) -> None:
    make_record(tmp_path, n=60, epochs=2)
    loaded, rejected = load_results(tmp_path)
    content = make_page(summarise(loaded), rejected)
    there = build_html(*content, Markup("<p>an explorer</p>")).decode()
    assert there.index("</head>") < there.index("<p>an explorer</p>") < there.index("Bokeh")
    assert '<a href="#explore">' in there
    without = build_html(*content).decode()
    assert "Bokeh" not in without and 'href="#explore"' not in without


def test_each_equation_is_drawn_once_in_the_page_s_colours(html: str, pdf: bytes) -> None:
    methods = [method._asdict() for method in prose.METHODS.values()]
    drawn = draw_equations(methods)
    assert len(drawn) == len(methods) > 5
    assert draw_equations(methods[:2] + methods[:1]) == {
        method["typst"]: drawn[method["typst"]] for method in methods[:2]}
    for method in methods:
        svg = drawn[method["typst"]]
        assert svg in html and "currentColor" in svg and INK not in svg
        assert f'aria-label="{method["alt"]}"' in svg and re.search(r'width="\d+\.\d+em"', svg)
    assert draw_equations([]) == {}


PAYLOADS = ["<script>alert(1)</script>",
            "\"><img src=x onerror=alert(1)>", "#panic(\"x\") *b* _i_ $x_1$ @here <l> // c",
            "$\\frac{1", "]]> --> {{ 7 * 7 }} {% raw %}", "\x00\x1b[31m\u202eevil\u2028\ud7ff", "a|b`c`[d](e)"]


def test_text_of_a_record_is_shown_and_never_interpreted(html: str, tmp_path: Path) -> None:
    for i in range(3):
        a, b, c, *_ = PAYLOADS[2 * i:] + PAYLOADS
        make_record(tmp_path, f"1.2.3{a}", f"folder-{b}", c, i, n=60, epochs=2, name=f"bad{i}", source=b, objective=c,
                    classes=[a, b, f"{c} again"], argv=["--seed", str(i), "--x", *PAYLOADS], device=a,
                    fields={f"field {a}": b, c: a})
    for i, payload in enumerate(PAYLOADS):
        make_record(tmp_path, payload, payload, payload, i, status="failed", failure=payload, name=f"failed{i}")
    (tmp_path / "<img src=x>.json").write_text('{"<script>alert(2)</script>": 1}')
    page, pdf = render(tmp_path)
    reader = parse(page)
    harmless = {tag for tag, _ in parse(html).tags}
    assert {tag for tag, _ in reader.tags} <= harmless
    assert not [key for _, attributes in reader.tags for key in attributes if key.startswith("on")]
    text = "".join(reader.text)
    for payload in PAYLOADS:
        assert show.plain(payload) in text
    assert "\x1b" not in text and "\u202e" not in text and "\\x1b[31m\\u202eevil" in text
    squeezed = re.sub(r"[\s\u200b]", "", pdf_text(pdf))
    for payload in PAYLOADS[:5]:
        assert re.sub(r"\s", "", payload) in squeezed


def test_an_image_shown_in_several_drawings_is_embedded_once() -> None:
    one, two = '<svg><image x="0" href="data:A" /></svg>', '<svg><image x="0" href="data:B" /></svg>'
    shared = share_shapes({"a": one, "b": two, "c": one, "d": one})
    assert shared["a"] == '<svg><image id="image-0" x="0" href="data:A" /></svg>'
    assert shared["b"] == two
    assert shared["c"] == shared["d"] == '<svg><use href="#image-0" /></svg>'


def test_dots_shown_on_several_maps_are_embedded_once() -> None:
    dots = "m1 1h0" * 100
    one, two = (f'<defs><path id="{name}-c0" d="{dots}" /></defs>' for name in "ab")
    assert share_shapes({"a": one, "b": two}) == {"a": one, "b": '<defs><use id="b-c0" href="#a-c0" /></defs>'}


def test_tables_and_figures_are_numbered_and_text_refers_to_them(html: str) -> None:
    for kind, tag in (("Table", "caption"), ("Figure", "(?:figcaption|small)")):
        numbers = re.findall(rf"<{tag}[^>]*>(?:<span>)?\s*<b>{kind} (\d+)\.</b>", html)
        assert numbers == [str(i) for i in range(1, 1 + len(numbers))] and len(numbers) > 5
    for name in ("asked", "headline", "variations"):
        number = re.search(rf'<caption id="{name}"><span>\s*<b>(Table \d+)\.</b>', html)[1]
        assert set(re.findall(rf'<a href="#{name}">([^<]*)</a>', html)) == {number}


def test_a_number_and_its_unit_stay_on_one_line_but_what_is_copied_stays_as_it_is(html: str, folder: Path,
                                                                                tmp_path: Path) -> None:
    words = "99.31 % (seed 0) in epoch 3, 4.65 points, 12 min 3 s; seeds 3 and 4 of 10 images"
    bound = words.replace(" ", "\xa0").replace("\xa0(", " (").replace("\xa0in\xa0epoch", " in epoch")
    bound = bound.replace(",\xa0", ", ").replace(";\xa0seeds\xa03\xa0and\xa04\xa0of\xa010\xa0images",
                                                "; seeds 3 and 4 of 10 images").replace("min\xa03", "min 3")
    assert unbreakable(words) == bound
    page = {"head": ["Command", "Score"], "code": [0], "rows": [["x --seed 0", "5 %"]], "commands": ["--seed 1"]}
    assert unbreakable(page) == page | {"rows": [["x --seed 0", "5\xa0%"]]}
    body = re.sub(r"<(style|script|code|svg).*?</\1>|<(t[dh]) class=\"code.*?</\2>", "", html, flags=re.DOTALL)
    visible = re.sub("<[^>]*>", "", body)
    assert not re.findall(r"\d %|epoch \d|\bseed \d", visible) and "%" in visible
    assert "\xa0" not in "".join(re.findall("<code>.*?</code>", html, flags=re.DOTALL))
    (tmp_path / "README.md").write_text("<!-- results:begin --><!-- results:end -->")
    write_readme(folder, tmp_path / "README.md")
    assert "\xa0" not in (tmp_path / "README.md").read_text(encoding="utf-8")


def test_the_marks_of_rows_are_explained_once_per_table(tmp_path: Path) -> None:
    make_record(tmp_path, "1.2.3", "mnist", "byol", n=60, epochs=2)
    for seed in range(2):
        make_record(tmp_path, "1.2.2", "mnist", "joint", seed, n=60, epochs=2)
        edit(make_record(tmp_path, "1.2.3", "mnist", "simclr", seed, n=60, epochs=2), "environment", "threads",
             value=seed + 1)
    loaded, rejected = load_results(tmp_path)
    results = summarise(loaded)
    content = make_page(results, rejected)
    html, text = build_html(*content).decode(), pdf_text(build_pdf(*content))
    rows = {row[2]: row for row in headline(html) if not row[2].startswith("missing")}
    assert [rows[name][4].rpartition(")")[2] for name in ("joint", "simclr", "byol")] == ["", "†", "‡"]
    assert {row[2]: row[6] for row in table_of(html, "The results")[1:]} == {"joint": "2", "simclr": "2†"}
    for mark, tables in (("†", 3), ("‡", 2)):  # all results, the contrastive methods side by side, those asked for
        assert html.count(show.MARKS[mark]) == sum(mark in str(rows) for rows in parse(html).tables.values()) == tables
        assert squeeze(text).count(squeeze(show.MARKS[mark])) == 3
    (tmp_path / "README.md").write_text("<!-- results:begin --><!-- results:end -->")
    write_readme(tmp_path, tmp_path / "README.md")
    readme = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert all(readme.count(meaning) == 1 for meaning in show.MARKS.values())


def test_the_same_records_give_the_same_bytes_in_another_process(tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    make_record(tmp_path / "results", "1.2.1", "folder-toy", "plain", n=80, epochs=2, reconstructions=2)
    make_record(tmp_path / "results", "1.2.2", "folder-toy", "joint", n=80, epochs=2)
    code = f"import sys; sys.path.insert(0, {str(SCRIPT.parent)!r}); import _report_evaluation as report\n" \
           "report.main([])\nassert 'torch' not in sys.modules and 'matplotlib.pyplot' not in sys.modules"
    written = []
    for seed in ("", "1"):  # in this process, whose hashes have a random seed, and in another
        if seed:
            subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ | {"PYTHONHASHSEED": seed},
                           check=True, capture_output=True)
        else:
            monkeypatch.chdir(tmp_path)
            _report_evaluation.main([])
        written.append([(tmp_path / name).read_bytes() for name in ("report.html", "report.pdf")])
    assert written[0] == written[1]


def test_only_the_readme_s_block_is_rewritten(folder: Path, html: str, tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    before, after = b"# Title\r\n\xc3\xa9 <!-- results:begin -->", b"<!-- results:end -->\ntail without newline"
    readme.write_bytes(before + b" old numbers 99.99 " + after)
    write_readme(folder, readme)
    written = readme.read_bytes()
    assert written.startswith(before) and written.endswith(after) and b"99.99" not in written
    block = written[len(before):-len(after)].decode().strip().splitlines()
    lines = list(takewhile(bool, block))
    assert len({line.count("|") for line in lines}) == 1
    assert len([line for line in block if line.startswith("- On MNIST, ") and "the best control" in line]) == 1
    shown = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]
    for mine, theirs in zip(shown, headline(html), strict=True):
        if theirs[2].startswith("missing"):
            assert mine[2] == "missing: python \\_main.py --task 1.2.3 --dataset cifar10 (reference 74.99 %)"
            assert mine[3:] == ["–"] * 13
        else:
            assert mine[3:] == theirs[3:]
    write_readme(folder, readme)
    assert readme.read_bytes() == written


def test_a_browser_sorts_the_headline_table_within_each_data_set(html: str, tmp_path: Path) -> None:
    clicks = ("<script>{ const heads = document.querySelectorAll('.headline thead button');"
              "heads[2].click(); heads[11].click(); heads[11].click(); }</script></body>")
    (tmp_path / "report.html").write_text(html.replace("</body>", clicks))
    sorted_page = Reader(browse(tmp_path / "report.html").replace("&nbsp;", " "))
    rows = headline_of(sorted_page)
    before = headline(html)
    assert rows != before and sorted(map(tuple, rows)) == sorted(map(tuple, before))
    for dataset in {row[0] for row in rows}:
        group = [row for row in rows if row[0] == dataset]
        linear = [float(row[12]) for row in group if not row[2].startswith("missing")]
        assert linear == sorted(linear)
        assert not any(row[2].startswith("missing") for row in group[:len(linear)])
    marked = [attributes["aria-sort"] for _, attributes in sorted_page.tags if "aria-sort" in attributes]
    assert marked == ["ascending"]


def test_a_browser_shows_the_page_without_sideways_scrolling(html: str, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(html)
    widths = (390, 1280)
    frames = "".join(f'<iframe src="report.html" style="width:{width}px;height:900px;border:0;flex:none"></iframe>'
                     for width in widths)
    (tmp_path / "frame.html").write_text(
        f'<div style="display:flex">{frames}</div><p id="out"></p>'
        "<script>onload = () => setTimeout(() => {"
        "const found = [...document.querySelectorAll('iframe')].map((one) => {"
        "const d = one.contentDocument.documentElement, count = (selector) => d.querySelectorAll(selector).length;"
        "const over = [...d.querySelectorAll('.scroll')].filter((one) => one.scrollWidth > one.clientWidth + 1"
        " && one.checkVisibility({contentVisibilityAuto: true}));"  # the rest is not laid out yet
        "return [d.scrollWidth, d.clientWidth, count('svg'), count('.scroll'), over.length,"
        " over.filter((one) => one.matches('[tabindex][role=region][aria-label]')).length, count('[tabindex]')]; });"
        "out.textContent = JSON.stringify(found); }, 1500)</script>")
    assert "tabindex" not in html.partition("<script>")[0]  # without the script no stop that leads nowhere
    dom = browse(tmp_path / "frame.html", window="1700,1000")
    found = re.search(r'<p id="out">(.+?)</p>', dom)
    assert found, dom[-500:]
    for width, counts in zip(widths, json.loads(found[1]), strict=True):
        whole, seen, drawn, boxes, scrolling, named, stops = counts
        assert whole <= seen == width
        assert drawn == html.count("<svg")
        assert named == stops == scrolling < boxes and (width > 390 or scrolling > 0)
