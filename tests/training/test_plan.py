"""Planned runs: which recipe a command line asks for, and what --show-recipe says of it."""

import dataclasses

import _main
from tests.commands import call, stdout_without_torch
from tests.factory import make_record
from training import contrastive_recipe
from training.tasks import TASKS, setting_of
from utils.recipe import as_json
from utils.records.schema import read_record, setting_hash


def test_with_task_all_the_controls_ignore_flags_they_lack(capsys, tmp_path) -> None:
    arguments = _main.build_parser().parse_args(["--task", "all", "--dataset", "digits", "--epochs", "3", "--encoder",
                                                 "mlp", "--widths", "32"])
    _main.check_flags_fit(arguments, _main.TASKS)
    runs = {(run.task, run.recipe.method): run.recipe for run in _main.plan(arguments, _main.TASKS, "digits", None)}
    assert runs["control", "random"].encoder == "mlp"
    assert runs["control", "pca"].encoder == "pca"
    assert runs["1.2.3", "simclr"].epochs == 3


def test_show_recipe_prints_values_and_origins_and_trains_nothing(capsys, tmp_path) -> None:
    code, out, err = call(capsys, "--task", "1.2.3", "--dataset", "cifar10", "--show-recipe", "--encoder", "mlp",
                          "--method", "simclr", "--epochs", "5", "--results-dir", str(tmp_path / "results"))
    assert (code, err) == (0, [])
    rows = {name: " ".join(words) for name, *words in map(str.split, out[1:])}
    recipe = TASKS["1.2.3"].default_recipe("cifar10", "simclr", "mlp")
    assert list(rows) == [f.name for f in dataclasses.fields(recipe)]
    assert len({line.index("default, ") for line in out if "default, " in line}) == 1  # aligned
    for name, row in (("method", "simclr command line"), ("epochs", "5 command line"), ("encoder", "mlp command line"),
                      ("crop_scale", '0.2 training/contrastive_recipe.py, ("cifar10", "simclr")'),
                      ("view_scale", "1.0 set by encoder mlp"), ("warmup", "0.1 default, utils/recipe.py"),
                      ("temperature", "0.2 default, training/contrastive_recipe.py"),
                      ("queue_size", "4096 default, training/contrastive_recipe.py; not used by simclr")):
        assert rows[name] == row
    assert not (tmp_path / "results").exists()


def test_show_recipe_has_one_block_per_method_and_lists_its_seeds(capsys, tmp_path) -> None:
    code, out, _ = call(capsys, "--task", "1.2.3", "--dataset", "mnist", "--method", "all", "--show-recipe",
                        "--seed", "0", "1", "--results-dir", str(tmp_path / "results"))
    heads = [line for line in out if line.startswith("1.2.3")]
    assert code == 0 and len(heads) == len(TASKS["1.2.3"].all_methods)
    assert all("seed 0, 1 ->" in line for line in heads)


def test_show_recipe_has_a_block_per_data_set_even_where_recipes_are_equal(capsys) -> None:
    code, out, _ = call(capsys, "--task", "control", "--dataset", "all", "--method", "pca", "--show-recipe")
    heads = [line for line in out if line.startswith("control")]
    assert code == 0
    assert [line.split(" on ")[1].split(",")[0] for line in heads] == ["digits", "mnist", "cifar10"]
    assert all(" seed 0 ->" in line for line in heads)


def test_show_recipe_loads_no_torch() -> None:
    assert "simclr" in stdout_without_torch("--task", "1.2.3", "--dataset", "mnist", "--show-recipe")


def test_a_method_without_defaults_of_its_own_takes_those_of_the_recipe(capsys, monkeypatch) -> None:
    monkeypatch.delitem(contrastive_recipe.RECIPES, ("mnist", "moco"))
    code, out, _ = call(capsys, "--task", "1.2.3", "--dataset", "mnist", "--method", "moco", "--show-recipe")
    assert code == 0 and any("epochs" in line and "default, utils/recipe.py" in line for line in out)


def test_a_record_older_than_a_field_counts_as_trained_with_its_default(tmp_path) -> None:
    fields = as_json(TASKS["1.2.3"].default_recipe("mnist", "simclr"))
    older = {name: value for name, value in fields.items() if name not in ("blur_probability", "widths")}
    record = read_record(make_record(tmp_path, "1.2.3", "mnist", "simclr", n=50, fields=older, epochs=fields["epochs"]))
    lacking = {name for name in fields if name not in record.recipe.fields}
    assert "blur_probability" in lacking and setting_hash(record.recipe.fields) != setting_of(record)
    assert setting_of(record) == setting_hash(record.recipe.fields | {
        name: value for name, value in as_json(contrastive_recipe.ContrastiveRecipe()).items() if name in lacking})
