"""Fill the two templates from one page dictionary, and rewrite the README's table.

The HTML is one file that fetches nothing, and whose scripts only sort tables and run the explorer.  The PDF is set by
Typst with the fonts in its package and matplotlib's DejaVu Sans, never those of the machine.  The same records give the
same bytes.
"""

import functools
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
import typst
from markupsafe import Markup
from matplotlib.ft2font import FT2Font

from report import show
from report.drawing import INK, Drawing, inline_svg
from report.explorer import TEMPLATES, explorer, scripts
from report.load import Loaded, Rejected, load_results
from report.page_content import PREFIX, make_page
from report.summary import Results, dataset_name, row_name, summarise
from report.tables import readme_table
from report.verification import Verdict
from utils.errors import RunError
from utils.files import with_block, write_file

REFERENCES = TEMPLATES / "references.bib"
FONTS = Path(matplotlib.get_data_path()) / "fonts" / "ttf"  # with DejaVu Sans, which draws what Typst's own fonts lack
DRAWN = frozenset(FT2Font(str(FONTS / "DejaVuSans.ttf")).get_charmap())  # its code points
EQUATION_SIZE = 11  # points
EQUATIONS = f"""#set page(width: auto, height: auto, margin: (x: 1pt, y: 2pt), fill: none)
#set text(size: {EQUATION_SIZE}pt, fill: rgb("{INK}"))
"""
# an image, the dots of a class on a map, and a glyph of an equation
SVG_SHAPE = re.compile('<image [^>]*>|<path id="[^"]+" d="[^"]{500,}" />|'
                       '<symbol id="[^"]+" overflow="visible">.*?</symbol>')
UNIT = re.compile(r"(?<=\d) (?=%|(?:points?|pixels|min|h|s)\b)|(?<=\bepoch) (?=\d)|(?<=\bseed) (?=\d)")
COPIED = ("typst", "commands", "recorded", "fields")  # texts that are code


def build_html(page: dict[str, Any], drawings: dict[str, Drawing], explore: str = "") -> bytes:
    """The page as one HTML file with its figures inside.  explore: the explorer of the runs (report.explorer)."""
    environment = jinja2.Environment(loader=jinja2.FileSystemLoader(TEMPLATES), autoescape=True,
                                     undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    shown = [(file, drawing) for file, drawing in drawings.items() if not file.startswith(PREFIX)]
    images = share_shapes({file: inline_svg(drawing.data, f"d{i}-", drawing.alt)
                           for i, (file, drawing) in enumerate(shown)})
    page = unbreakable(page)
    formulas = draw_equations([*page["methods"], *(one for part in page["theory"] for one in part["equations"])])
    template = environment.get_template("report.html.j2")
    given = {"page": page, "images": images, "formulas": formulas, "numbers": {}, "contents": [], "explore": explore,
             "scripts": scripts() if explore else "", "plural": show.plural}
    template.render(given)  # finds the sections and the numbers of tables, which text above them refers to
    return template.render(given).encode()


def draw_equations(equations: Sequence[dict[str, Any]]) -> dict[str, Markup]:
    """Every equation as an element of the page, by its Typst source, which is the PDF's source, too.

    equations: {"typst": source without dollar signs, "alt": the equation in words}, from this repository's own code.
    """
    unique = {one["typst"]: one["alt"] for one in equations}
    if not unique:
        return {}
    source = EQUATIONS + "\n#pagebreak()\n".join(f"$ {formula} $" for formula in unique)  # one page per equation
    compiled = typst.compile(source.encode(), format="svg", ignore_system_fonts=True)
    pages = compiled if isinstance(compiled, list) else [compiled]
    return share_shapes({formula: inline_svg(data, f"equation-{i}-", alt, keep_size=EQUATION_SIZE)
                         for i, (data, (formula, alt)) in enumerate(zip(pages, unique.items(), strict=True), start=1)})


def share_shapes(elements: dict[str, str]) -> dict[str, Markup]:
    """Embed images, dots and glyphs that several drawings show, such as a map of the pixels, only in the first of them.
    """
    bare = functools.partial(re.compile(' id="[^"]+"').sub, "", count=1)
    counts = Counter(bare(shape) for element in elements.values() for shape in SVG_SHAPE.findall(element))
    names: dict[str, str] = {}

    def shared(match: re.Match[str]) -> str:
        shape, own = bare(match[0]), re.match('<[a-z]+ id="([^"]+)"', match[0])
        if counts[shape] == 1:  # an image stays without an id, since a page may show the whole drawing twice
            return match[0]
        if shape in names:
            return f'<use id="{own[1]}" href="#{names[shape]}" />' if own else f'<use href="#{names[shape]}" />'
        names[shape] = own[1] if own else f"image-{len(names)}"
        return match[0] if own else match[0].replace("<image ", f'<image id="{names[shape]}" ', 1)

    return {key: Markup(SVG_SHAPE.sub(shared, element)) for key, element in elements.items()}


def unbreakable(part: Any) -> Any:
    """A part of the page's dictionary in which no line ends between a number and its unit, or "epoch" and its number.

    Commands, recipes, equations and columns of code stay as they are, to be copied.
    """
    if isinstance(part, str):
        return UNIT.sub("\N{NO-BREAK SPACE}", part)
    if isinstance(part, list):
        return [unbreakable(one) for one in part]
    if not isinstance(part, dict):
        return part
    found = {unbreakable(key): value if key in COPIED else unbreakable(value) for key, value in part.items()}
    if part.get("code"):  # a table
        found["rows"] = [[cell if i in part["code"] else unbreakable(cell) for i, cell in enumerate(row)]
                         for row in part["rows"]]
    return found


def build_pdf(page: dict[str, Any], drawings: dict[str, Drawing], check: bool = False) -> bytes:
    """The page as a PDF.  Text of records reaches Typst only through page.json, so none of it is read as markup; what
    the fonts cannot draw becomes an escape there, since two names of missing characters would look alike.

    check: whether it must conform to PDF/UA-1 (accessibility).  RunError where Typst refuses.
    """
    files = {"main.typ": (TEMPLATES / "report.typ").read_bytes(), REFERENCES.name: REFERENCES.read_bytes(),
             "page.json": drawable(json.dumps(unbreakable(page), ensure_ascii=False), r"\\").encode()}
    files |= {file: drawable(drawing.data.decode()).encode() for file, drawing in drawings.items()}
    try:
        return typst.compile(  # type: ignore[call-overload]  # its stub does not list dictionaries
            files, font_paths=[str(FONTS)], ignore_system_fonts=True, pdf_standards=["ua-1"] if check else [])
    except typst.TypstError as error:
        raise RunError(f"the PDF could not be typeset: {' '.join(str(error).split())}") from None


def drawable(text: str, backslash: str = "\\") -> str:
    """Text with each character that the PDF's fonts cannot draw as its escape, which begins with `backslash`."""
    return re.sub(r"[^\x00-\x7f]", lambda found: found[0] if ord(found[0]) in DRAWN else
                  backslash + found[0].encode("unicode_escape").decode()[1:], text)


def with_drawable_classes(run: Loaded) -> tuple[Loaded, str]:
    """The run with each class that the PDF's fonts cannot draw called by its position; and a sentence that says so."""
    record, classes = run.record, [show.plain(name) for name in run.record.data.classes]
    lacking = [i for i, name in enumerate(classes) if drawable(name) != name]
    if not lacking:
        return run, ""
    if {f"class {i}" for i in lacking} & set(classes):
        lacking = list(range(len(classes)))
    names = {record.data.classes[i]: f"class {i}" for i in lacking}
    data = record.data.model_copy(update={"classes": [names.get(name, name) for name in record.data.classes]})
    parts = {name: name.split("/", 2) for name in record.metrics}
    metrics = {"/".join([*part[:2], *(names.get(one, one) for one in part[2:])]): record.metrics[name]
               for name, part in parts.items()}
    note = (f"The fonts of this document lack characters of class names of {dataset_name(record.run.dataset)}. These "
            f"classes are called by their position in the record, from 0: "
            f"{', '.join(f'class {i} is {drawable(show.shorten(classes[i], 12))}' for i in lacking)}.")
    return Loaded(run.name, run.sha256, record.model_copy(update={"data": data, "metrics": metrics}), run.arrays), note


def write_report(results_dir: Path, html: Path, pdf: Path,
                 verify: Callable[[list[Loaded]], list[tuple[Loaded, Verdict]]] | None = None,
                 theory_chapter: Callable[[Path, Results], list[dict[str, Any]]] | None = None,
                 author: str = "", date: str = "") -> tuple[int, list[Rejected], str, int]:
    """Read the records and write both files.

    Returns the number of valid records, the rejected files, the first finding, and how many claims do not hold.

    verify: scores the checkpoints again (grading/verify.py); theory_chapter: makes the chapter on theory from the
    results folder and its summary; author, date: as for make_page.  Raises RunError where a folder is missing or a
    file cannot be written.
    """
    loaded, rejected = load_results(results_dir)
    verdicts = verify(loaded) if verify else None
    results = summarise(loaded)
    theory = theory_chapter(results_dir, results) if theory_chapter else None
    page, drawings = make_page(results, rejected, theory, verdicts, author, date)
    explore = explorer([(f"{dataset_name(row.dataset)}, {row_name(row)}", row.runs[0]) for row in results.headline])
    # both, before either is written
    page_bytes = build_html(page, drawings, explore)
    found = [with_drawable_classes(run) for run in loaded]
    notes = sorted({note for _, note in found if note})
    if notes:
        page, drawings = make_page(summarise([run for run, _ in found]), rejected, theory, verdicts, author, date)
        page["paper"]["renamed"] = notes
    pdf_bytes = build_pdf(page, drawings)
    write_file(html, page_bytes)
    write_file(pdf, pdf_bytes)
    broken = sum(verdict.verified is not None and not verdict.stands for _, verdict in verdicts or [])
    return len(loaded), rejected, page["verdict"][0] if results.rows else "", broken


def write_readme(results_dir: Path, readme: Path) -> tuple[int, list[Rejected]]:
    """Replace the headline table between a file's marks (utils/files.py).  Returns as write_report does."""
    loaded, rejected = load_results(results_dir)
    write_file(readme, with_block(readme, "results", readme_table(summarise(loaded))))
    return len(loaded), rejected
