"""What holds the project together: pins, documented commands and files, one-way imports, sizes, the gate."""

import ast
import graphlib
import importlib
import io
import os
import re
import shlex
import shutil
import subprocess
import tokenize
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import yaml

import _main
import _report_evaluation
from grading import command
from tests import browser
from tests.conftest import UNIX_ONLY
from training.tasks import TASKS
from utils.images import datasets

ROOT = Path(__file__).parent.parent
SOURCES = [path for path in sorted(ROOT.rglob("*.py"))
           if not path.relative_to(ROOT).parts[0].startswith((".", "data", "results"))]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = "\n".join(path.read_text(encoding="utf-8") for path in DOCUMENTS)
BLOCKS = "\n".join(re.findall(r"```(?:sh|bash)\n(.*?)```", TEXT, re.DOTALL))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_conda_users_get_the_same_pins() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert {"pip": ["-r requirements.txt"]} in environment["dependencies"]


def test_every_requirement_is_pinned_and_has_its_reason_in_the_documents() -> None:
    for name in ("requirements.txt", "requirements-test.txt"):
        for line in (ROOT / name).read_text().splitlines():
            if line.strip() and not line.startswith(("#", "-r ")):
                assert "==" in line, line
                assert f"`{line.split('==')[0]}`" in TEXT, f"{line} has no reason in README.md or docs/"


def commands(script: str) -> list[list[str]]:
    """Arguments of every `python script ...` and `torchrun ... script ...` in the documents' code blocks."""
    found = [re.match(rf"(?:python|torchrun .*) {re.escape(script)}( .*|$)", line) for line in BLOCKS.splitlines()]
    return [shlex.split(match[1], comments=True) for match in found if match]


@pytest.mark.parametrize("argv", commands("_main.py"), ids=" ".join)
def test_every_training_command_in_the_documents_is_accepted(argv: list[str], tmp_path: Path,
                                                             monkeypatch: pytest.MonkeyPatch) -> None:
    run_all, embed_folder = Mock(), Mock(return_value=0)
    monkeypatch.chdir(ROOT)  # --init names committed records
    monkeypatch.setattr("training.run.run_all", run_all)
    monkeypatch.setattr(_main, "embed_folder", embed_folder)
    for name in ("_main.check_embedding", "_main.check_folder", "_main.fetch", "training.plan.checkpoint_file"):
        monkeypatch.setattr(name, Mock())  # neither the images nor the weights of the examples are here
    _main.main(argv if "--embed" in argv else [*argv, "--results-dir", str(tmp_path)])
    assert run_all.call_count + embed_folder.call_count == ("--show-recipe" not in argv)


@pytest.mark.parametrize("argv", commands("_report_evaluation.py"), ids=" ".join)
def test_every_report_command_in_the_documents_parses(argv: list[str]) -> None:
    if argv[:1] == ["grade"]:
        command.parse(argv[1:])
    else:
        _report_evaluation.parse(argv)


@pytest.mark.parametrize("name", [path.stem for path in (ROOT / "benchmarks").glob("*.py")])
def test_every_benchmark_command_in_the_documents_parses(name: str, tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for argv in commands(f"benchmarks/{name}.py"):
        importlib.import_module(f"benchmarks.{name}").parse(argv)


def test_the_readme_shows_commands_of_both_scripts_and_both_targets() -> None:
    assert len(commands("_main.py")) >= 5
    assert commands("_report_evaluation.py")
    targets = re.findall(r"^make (\w+)$", BLOCKS, re.MULTILINE)
    assert {"report", "test"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


def test_the_notebook_example_runs_as_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    noise = np.random.default_rng(0).integers(0, 256, (120, 32, 32, 3), np.uint8)
    monkeypatch.setattr(datasets, "load_dataset", lambda name, folder: Mock(test_images=noise))
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    assert names["z"].shape == (100, 128) and np.isfinite(names["z"]).all() and names["z"].std() > 0


# ------------------------------------------------------------------------------------------------ names of files

def prose(path: Path) -> str:
    """Docstrings and comments of a Python file, the whole text of another."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return text
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    parts = [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(text)) if isinstance(node, documented)]
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    return "\n".join([*parts, *(token.string for token in tokens if token.type == tokenize.COMMENT)])


@pytest.mark.parametrize("path", [*SOURCES, *DOCUMENTS, ROOT / "benchmarks" / "NOTES.md", ROOT / "Makefile",
                                  ROOT / "examples" / "slurm_array.sh"], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_file_that_is_mentioned_exists(path: Path) -> None:
    mentioned = set(re.findall(r"(?<![\w./<*-])[\w.-]+(?:/[\w.-]+)*\.(?:py|md|sh|yml|yaml|j2|toml)\b", prose(path)))
    for name in mentioned:
        if "/" in name:
            found = (path.parent / name).exists() or any((ROOT / part / name).exists() for part in ("", "utils"))
            assert found, f"{path.name} mentions {name}"
        elif name.endswith(".py") and path.name != "NOTES.md":  # the ledger may name what has moved since
            assert name in {source.name for source in SOURCES}, f"{path.name} mentions {name}"


@pytest.mark.parametrize("path", [*DOCUMENTS, ROOT / "CHANGELOG.md"], ids=lambda path: path.name)
def test_every_link_leads_to_a_file_and_a_heading(path: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text(encoding="utf-8")):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        linked = path.parent / name if name else path
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", linked.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {heading.lower().replace(" ", "-") for heading in headings}, target


def test_every_document_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in DOCUMENTS[1:]:
        assert f"({path.relative_to(ROOT).as_posix()}" in readme, path.name


# ---------------------------------------------------------------------------------------------------- imports

def module_name(path: Path) -> str:
    """`utils/files.py` -> `utils.files`; a package's __init__.py is the package."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in SOURCES}


def imports(tree: ast.AST, everywhere: bool) -> set[str]:
    """Full names that a module imports: everywhere, or only those that are imported when it is."""
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module and not node.level, "relative imports are not used here"
            # `from a.b import c` imports the module a.b.c if there is one, else a name of a.b
            found |= {f"{node.module}.{alias.name}" if f"{node.module}.{alias.name}" in MODULES else node.module
                      for alias in node.names}
        elif everywhere or not (isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
                                or isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")):
            found |= imports(node, everywhere)
    return found


@cache
def imported(name: str, everywhere: bool = False) -> frozenset[str]:
    return frozenset(imports(ast.parse(MODULES[name].read_text(encoding="utf-8")), everywhere))


def loaded_with(name: str) -> set[str]:
    """Everything that is imported, directly or not, when a module is."""
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        new = imported(waiting.pop()) - seen
        seen |= new
        waiting += [module for module in new if module in MODULES]
    return seen


ROOMS = {path.relative_to(ROOT).parts[0] for path in SOURCES if path.parent != ROOT}
# which of the project's rooms a room may import from, besides itself
BELOW = {
    "utils": set(),
    "models": {"utils"},
    "evaluation": {"models", "utils"},
    "training": {"evaluation", "models", "utils"},
    "report": {"training", "utils"},  # of training only the torch-free tables, as the test below ensures
    "theory": {"report", "training", "evaluation", "models", "utils"},
    "playground": {"report", "training", "evaluation", "models", "utils"},
    "grading": {"report", "evaluation", "training", "models", "utils"},
    "_main": {"training", "evaluation", "utils"},
    "_report_evaluation": {"theory", "grading", "playground", "report", "utils"},
    "_theory": {"theory", "utils"},
}


def test_imports_point_one_way() -> None:
    assert set(BELOW) == ROOMS - {"tests", "benchmarks"} | {path.stem for path in ROOT.glob("*.py")}
    for name in MODULES:
        room = name.split(".")[0]
        if room in BELOW:
            above = {module for module in imported(name, everywhere=True) if module in MODULES}
            above = {module for module in above if module.split(".")[0] not in BELOW[room] | {room}}
            assert not above, f"{name} imports {above}"


@pytest.mark.parametrize("below, above", [("compute", "images"), ("compute", "records"), ("images", "records")])
def test_imports_inside_utils_point_one_way(below: str, above: str) -> None:
    for name in MODULES:
        if name.startswith(f"utils.{below}."):
            higher = {module for module in imported(name, everywhere=True) if module.startswith(f"utils.{above}.")}
            assert not higher, f"{name} imports {higher}"


def test_no_two_modules_import_each_other() -> None:
    graph = {name: imported(name, everywhere=True) & MODULES.keys() for name in MODULES}
    graphlib.TopologicalSorter(graph).prepare()  # CycleError names the circle


def test_seven_files_lead_from_the_command_to_a_loss() -> None:
    """Those that _main.py names up to losses.py.  Each is imported by one before it, a task's script by its name."""
    before, last, _ = (_main.__doc__ or "").partition("losses.py")
    modules: list[str] = []
    for file in re.findall(r"([\w/]+)\.py", before + last):  # without a folder: that of the file before
        modules.append(file.replace("/", ".") if "/" in file or not modules else f"training.{file}")
    assert len(modules) <= 7
    for i, name in enumerate(modules[1:], 1):
        scripts = {task.script for task in TASKS.values()} if "training.tasks" in modules[:i] else set()
        assert name in scripts.union(*(imported(module, everywhere=True) for module in modules[:i])), name


def test_no_test_that_windows_collects_loads_a_module_of_unix() -> None:
    ignored = tuple(f"tests.{entry.removesuffix('.py').replace('/', '.')}" for entry in [*UNIX_ONLY, "faults"])
    for name in MODULES:
        if name.startswith("tests.") and not name.startswith(ignored):
            assert not {"fcntl", "grp", "pwd", "resource", "termios"} & loaded_with(name), name


def test_report_and_the_written_part_of_theory_load_no_torch() -> None:
    written = [ROOT / "theory" / "chapter.py", *(ROOT / "theory").glob("*/result.py")]
    assert len(written) == 9  # the chapter, and form and figure of eight questions
    report = [name for name in MODULES if name.startswith("report.")]
    for name in [*report, *map(module_name, written)]:
        assert not {"torch", "torchvision"} & {module.split(".")[0] for module in loaded_with(name)}, name
    for name in report:  # not even inside a function
        assert not {"torch", "torchvision"} & {module.split(".")[0] for module in imported(name, everywhere=True)}, name


def test_only_command_lines_parse_arguments() -> None:
    """The rooms can be used from a notebook: they take values, not a command line."""
    allowed = {"utils.command_line", "utils.recipe", "training.plan", "grading.command"}
    for name in MODULES:
        if "." in name and name.split(".")[0] in BELOW and name not in allowed:
            assert "argparse" not in imported(name, everywhere=True), name


# ------------------------------------------------------------------------------------------------------ sizes

def test_no_file_is_too_long_to_read() -> None:
    lines = {path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines())
             for path in [*SOURCES, *DOCUMENTS]}
    assert {name: count for name, count in lines.items() if name.endswith(".py") and count > 600} == {}
    assert lines["README.md"] <= 150
    assert lines["CONTRIBUTING.md"] < 40


@pytest.mark.parametrize("path", [*DOCUMENTS, ROOT / "CHANGELOG.md", ROOT / "benchmarks" / "NOTES.md"],
                         ids=lambda path: path.name)
def test_lines_of_documents_fit_into_an_editor(path: Path) -> None:
    text = re.sub(r"```.*?```|<!-- (\w+):begin.*?\1:end -->", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert not [line for line in text.splitlines() if len(line) > 120 and not line.startswith("|")]


def test_every_entry_of_the_ledger_fits_in_three_lines() -> None:
    text = (ROOT / "benchmarks" / "NOTES.md").read_text(encoding="utf-8")
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        question, _, body = section.partition("\n")
        assert question.rstrip("`").endswith("?"), question
        assert body.lstrip("\n").startswith("**"), f"{question} has no verdict"
    for entry in re.split(r"\n(?=- |\||\n)", text):
        assert len(entry.strip("\n")) <= 3 * 120 + 2, entry


def test_nothing_large_or_generated_is_tracked() -> None:
    try:
        listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    for name in listing.splitlines():
        path = ROOT / name
        shipped = re.fullmatch(r"results/\d\S*_seed0\S*\.safetensors", name)  # weights of headline rows
        assert shipped or not re.search(r"__pycache__|\.pyc$|\.safetensors$|^data/|^\.venv/", name), name
        assert not path.exists() or path.stat().st_size < (12_000_000 if shipped else 5_000_000), name


# ------------------------------------------------------------------------------------------------------- gate

def test_pre_commit_runs_what_make_check_runs() -> None:
    check = re.search(r"^check:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert check
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    hooks = [hook["entry"] for repository in config["repos"] for hook in repository["hooks"]]
    assert hooks == [line.strip().replace("$(BIN)", ".venv/bin") for line in check[1].splitlines()]


def test_tests_mirror_the_source_folder_by_folder() -> None:
    folders = {path.parent.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")}
    apart = {Path(), Path("faults")}
    assert Path("utils/images") in folders and all((ROOT / folder).is_dir() for folder in folders - apart)


def run_ci(folder: Path, make: str, programs: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    """A copy of `.ci/run` where `make` is a stub, with no other programs than those it needs, and no environment."""
    for name in ("bash", "dirname", "id"):
        (folder / name).symlink_to(shutil.which(name) or name)
    for name, script in [("make", make), *((name, "exit 0") for name in programs)]:
        (folder / name).write_text(f"#!{folder}/bash\n{script}\n")
        (folder / name).chmod(0o755)
    (folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", folder / ".ci" / "run")
    return subprocess.run([folder / "bash", folder / ".ci" / "run"], env={"PATH": str(folder)}, capture_output=True,
                          text=True)


def test_a_missing_browser_fails_a_test_only_where_it_is_required(tmp_path: Path,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("REQUIRE_BROWSER", "1")
    with pytest.raises(pytest.fail.Exception, match="chromium is not installed"):
        browser.command(tmp_path)
    monkeypatch.delenv("REQUIRE_BROWSER")
    with pytest.raises(pytest.skip.Exception):
        browser.command(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="a shell script")
def test_ci_checks_tests_and_needs_a_browser(tmp_path: Path) -> None:
    done = run_ci(tmp_path, 'echo "$1 REQUIRE_BROWSER=$REQUIRE_BROWSER"', ("chromium",))
    assert done.returncode == 0 and done.stderr.endswith("so no record was scored again\n")
    assert done.stdout.splitlines() == [f"{target} REQUIRE_BROWSER=1" for target in ("check", "test", "faults")]


@pytest.mark.skipif(os.name != "posix", reason="a shell script")
@pytest.mark.parametrize("target", ["check", "test", "faults"])
def test_ci_fails_when_a_step_fails(target: str, tmp_path: Path) -> None:
    assert run_ci(tmp_path, f'[ "$1" != {target} ]', ("chromium",)).returncode != 0


@pytest.mark.skipif(os.name != "posix", reason="a shell script")
def test_ci_fails_without_a_browser_that_it_cannot_install(tmp_path: Path) -> None:
    done = run_ci(tmp_path, "echo never")
    assert done.returncode == 1
    assert "chromium is missing" in done.stderr
    assert done.stdout == ""
