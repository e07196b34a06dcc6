"""What holds the project together: pins, README commands, the one-way imports, what must not be committed."""

import ast
import re
import shlex
import subprocess
from pathlib import Path

import pytest

import _main
import _report_evaluation
from grading import command

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def pins(text: str) -> set[str]:
    return set(re.findall(r"^[\s-]*([A-Za-z0-9_-]+==[\w.]+)$", text, re.MULTILINE))


def test_conda_users_get_the_same_pins() -> None:
    requirements = pins((ROOT / "requirements.txt").read_text())
    assert requirements == pins((ROOT / "environment.yml").read_text())
    assert len(requirements) >= 10


def test_every_requirement_is_pinned_and_has_its_reason_in_the_readme() -> None:
    for name in ("requirements.txt", "requirements-test.txt"):
        for line in (ROOT / name).read_text().splitlines():
            if line.strip() and not line.startswith(("#", "-r ")):
                assert "==" in line, line
                assert f"`{line.split('==')[0]}`" in README, f"{line} has no reason in the README"


def commands(script: str) -> list[list[str]]:
    """Every `python script ...` and `torchrun ... script ...` in the README's code blocks, without its comment."""
    blocks = re.findall(r"```(?:sh|bash)\n(.*?)```", README, re.DOTALL)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    found = [re.match(rf"(?:python|torchrun .*) {re.escape(script)}( .*|$)", line) for line in lines]
    return [shlex.split(match[1], comments=True) for match in found if match]


@pytest.mark.parametrize("argv", commands("_main.py"), ids=" ".join)
def test_every_training_command_in_the_readme_parses(argv: list[str], tmp_path: Path) -> None:
    arguments = _main.build_parser().parse_args(argv)
    if arguments.embed:
        assert arguments.images and arguments.out
        return
    tasks = _main.choose_tasks(arguments.task)
    _main.check_flags_fit(arguments, tasks)
    for name in _main.DATASETS if arguments.dataset == "all" else [arguments.dataset]:
        _main.check_dataset(name)
        if arguments.init is None:  # what it brings along is known once it was trained
            assert _main.plan(arguments, tasks, name, None)


@pytest.mark.parametrize("argv", commands("_report_evaluation.py"), ids=" ".join)
def test_every_report_command_in_the_readme_parses(argv: list[str]) -> None:
    if argv[:1] == ["grade"]:
        command.parse(argv[1:])
    else:
        _report_evaluation.parse(argv)


def test_the_readme_shows_commands_of_both_scripts_and_both_targets() -> None:
    assert len(commands("_main.py")) >= 5
    assert commands("_report_evaluation.py")
    targets = set(re.findall(r"^make (\w+)$", README, re.MULTILINE))
    assert {"report", "test"} <= targets
    makefile = (ROOT / "Makefile").read_text()
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def imported(path: Path) -> set[str]:
    """Top-level packages that a file imports, anywhere in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("folder, forbidden", [
    ("evaluation", {"report", "theory", "_main", "argparse"}),
    ("models", {"training", "report", "argparse", "_main"}),
    ("utils", {"training", "models", "report", "_main"}),
    ("training", {"report", "theory", "_main", "argparse"}),
    ("theory", {"report", "_main", "argparse"}),
    ("report", {"training", "models", "grading", "torch", "torchvision", "_main"}),
    ("grading", {"_main", "_report_evaluation"}),
])
def test_imports_point_one_way(folder: str, forbidden: set[str]) -> None:
    for path in (ROOT / folder).glob("*.py"):
        assert not imported(path) & forbidden, path.name


def test_nothing_large_or_generated_is_tracked() -> None:
    try:
        listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    for name in listing.splitlines():
        path = ROOT / name
        assert not re.search(r"__pycache__|\.pyc$|\.safetensors$|^data/|^\.venv/", name), name
        assert not path.exists() or path.stat().st_size < 5_000_000, name
