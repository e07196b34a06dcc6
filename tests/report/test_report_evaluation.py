"""The command line of _report_evaluation.py."""

import subprocess
import sys
from pathlib import Path

import pytest

import _report_evaluation
from tests.report.pages import SCRIPT
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
    assert html.read_text().count("python _main.py --task") == 9  # six results, the toy set, two with fewer labels
    assert pdf.read_bytes().startswith(b"%PDF")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out.html", "out.pdf", "results"]


@pytest.mark.parametrize(("argv", "code", "reason"), [
    (["--no-such"], 2, "unrecognized arguments: --no-such"),
    (["--html", "a", "--pdf", "a"], 2, "name the same file"),
    (["--html", "results/run.json"], 2, "that is the name of a record"),
    (["--readme", "README.md", "--html", "a"], 2, "--readme writes neither a page nor a PDF"),
    (["--html", "no/such/folder/a.html"], 1, "cannot be written: No such file or directory"),
    (["--pdf", "."], 1, "cannot be written"),
    (["--readme", "absent.md"], 1, "cannot be read: No such file or directory"),
])
def test_an_error_is_one_line_with_its_exit_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                 capsys: pytest.CaptureFixture[str], argv: list[str], code: int,
                                                 reason: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
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


@pytest.mark.parametrize("text", ["", "<!-- results:begin -->", "<!-- results:end --> <!-- results:begin -->",
                                  "<!-- results:begin --><!-- results:begin --><!-- results:end -->"])
def test_a_readme_without_markers_is_left_alone(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(text)
    assert main(["--results-dir", str(tmp_path), "--readme", str(readme)]) == 1
    assert "needs one line <!-- results:begin -->" in capsys.readouterr().err
    assert readme.read_text() == text
