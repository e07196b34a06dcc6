"""The command line of _report_evaluation.py."""

import subprocess
import sys
from pathlib import Path

import pytest

import _report_evaluation
from tests.factory import make_record
from tests.report.pages import SCRIPT, pdf_text
from utils.command_line import exit_code


def main(argv: list[str]) -> int:
    """The exit code of a command line."""
    return exit_code(lambda: _report_evaluation.main(argv), "")


def test_the_command_writes_both_files_and_reports_rejected_ones(tmp_path: Path,
                                                                 capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results"
    html, pdf = tmp_path / "out.html", tmp_path / "out.pdf"
    common = ["--results-dir", str(results), "--html", str(html), "--pdf", str(pdf)]
    assert main(common) == 1
    assert capsys.readouterr().err == (f"error: {results}: no such folder; --results-dir names the one "
                                       "with the records\n")
    results.mkdir()
    (results / "bad\x1b.json").write_text("{")
    assert main(common) == 0
    out, err = capsys.readouterr()
    assert str(html) in out and str(pdf) in out and "records used: 0, rejected: 1" in out
    assert err.startswith("rejected bad\\x1b.json: ") and err.count("\n") == 1
    assert "no record of a complete run yet" in " ".join(html.read_text().split())
    assert html.read_text().count("python _main.py --task") == 7  # six results, the toy set
    assert pdf.read_bytes().startswith(b"%PDF")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out.html", "out.pdf", "results"]


@pytest.mark.parametrize(("argv", "code", "reason"), [
    (["--no-such"], 2, "unrecognized arguments: --no-such"),
    (["--html", "a.pdf", "--pdf", "a.pdf"], 2, "--html a.pdf: the name must end in .html"),
    (["--html", "results/run.json"], 2, "--html results/run.json: the name must end in .html"),
    (["--html", "_main.py"], 2, "--html _main.py: the name must end in .html"),
    (["--readme", "README.md", "--html", "a"], 2, "--readme writes neither a page nor a PDF"),
    (["--readme", "README.md", "--author", "A"], 2, "--readme writes neither a page nor a PDF"),
    (["--date", "28.11.2025"], 2, "'28.11.2025' is not a date like 2025-11-28"),
    (["--html", "no/such/folder/a.html"], 1, "cannot be written: No such file or directory"),
    (["--pdf", "."], 2, "--pdf .: the name must end in .pdf"),
    (["--pdf", "results.pdf"], 1, "cannot be written"),
    (["--playground", "a.html", "--author", "A"], 2, "--playground only writes that page"),
    (["--html", "~no-such-user/a.html"], 2, "argument --html: ~no-such-user"),
    (["--readme", "absent.md"], 1, "cannot be read: No such file or directory"),
])
def test_an_error_is_one_line_with_its_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                 capsys: pytest.CaptureFixture[str], argv: list[str], code: int,
                                                 reason: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "results.pdf").mkdir()
    assert main(argv) == code
    err = capsys.readouterr().err
    assert reason in err and err.count("\n") == 1


def test_help_is_quick_and_begins_with_examples() -> None:
    code = f"import sys; sys.argv = ['x', '--help']; sys.path.insert(0, {str(SCRIPT.parent)!r})\n" \
           "import _report_evaluation\ntry: _report_evaluation.main(sys.argv[1:])\nexcept SystemExit: pass\n" \
           "heavy = {'torch', 'numpy', 'matplotlib', 'jinja2', 'typst', 'pydantic'} & set(sys.modules)\n" \
           "assert not heavy, heavy"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("examples:\n  python _report_evaluation.py")


def test_help_fits_a_terminal_of_80_columns(monkeypatch: pytest.MonkeyPatch,
                                            capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        _report_evaluation.parse(["--help"])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


@pytest.mark.usefixtures("undrawn")
def test_the_command_prints_the_first_finding_and_how_to_open_the_page(tmp_path: Path, synthetic: None,
                                                                       capsys: pytest.CaptureFixture[str]) -> None:
    make_record(tmp_path / "my results", "1.2.2", "mnist", "joint", accuracy=0.9, n=100)
    page = tmp_path / "a page.html"
    assert main(["--results-dir", str(tmp_path / "my results"), "--html", str(page), "--pdf", str(tmp_path / "a.pdf"),
                 "--author", "Ada <i>", "--date", "2024-02-29"]) == 0
    out = capsys.readouterr().out
    assert "found: With all labels, the best is 1.2.2 joint on MNIST (90.00 %, 1 seed).\n" in out
    assert f"open:  {page.as_uri()}\n" in out and "a%20page.html" in out
    text = pdf_text((tmp_path / "a.pdf").read_bytes())
    assert "Ada <i>" in text and "29 February 2024" in text
    assert "Ada &lt;i&gt;, 29 February 2024" in page.read_text()


@pytest.mark.parametrize("text", ["", "<!-- results:begin -->", "<!-- results:end --> <!-- results:begin -->",
                                  "<!-- results:begin --><!-- results:begin --><!-- results:end -->"])
def test_a_readme_without_markers_is_left_alone(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(text)
    assert main(["--results-dir", str(tmp_path), "--readme", str(readme)]) == 1
    assert "needs one line <!-- results:begin -->" in capsys.readouterr().err
    assert readme.read_text() == text
