"""Recipes: flags made from fields, ranges, and tables that are complete."""

import argparse
import dataclasses
import json
from pathlib import Path

import pytest

import _main
from training import contrastive_methods, contrastive_recipe
from training.control_recipe import OWN_ENCODER
from training.plan import Planned, check_divides, check_methods_have, described, plan
from training.tasks import TASKS
from utils.errors import UsageError
from utils.images.datasets import DATASETS
from utils.recipe import FIXED_ENCODERS, LatentRecipe, Recipe, add_flags, as_json, flag_values


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser()
    add_flags(p, {name: task.recipe for name, task in TASKS.items()}, set())
    return p


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_valid_default_recipe_for_every_data_set(task: str) -> None:
    for spec in DATASETS.values():
        for method in TASKS[task].all_methods:
            recipe = TASKS[task].default_recipe(spec.recipe_family, method)
            assert isinstance(recipe, LatentRecipe)
            assert recipe.method == method
            if isinstance(recipe, Recipe):  # a control has no loss to explain
                assert all(recipe.methods_in_words[method][:7])  # all texts
            for encoder in ("conv", "mlp", "resnet18", "vit") if method not in OWN_ENCODER else ():
                if method == "cmc":
                    with pytest.raises(UsageError, match=f"--encoder {encoder}: method cmc takes only conv_patches"):
                        TASKS[task].default_recipe(spec.recipe_family, method, encoder)
                    continue
                assert TASKS[task].default_recipe(spec.recipe_family, method, encoder).encoder == encoder
            if recipe.encoder not in FIXED_ENCODERS:
                assert TASKS[task].default_recipe(spec.recipe_family, method, recipe.encoder) == recipe


@pytest.mark.parametrize("task", TASKS)
def test_every_field_is_a_flag_that_comes_back(task: str) -> None:
    recipe = TASKS[task].default_recipe("cifar10")
    words = []
    for name, value in as_json(recipe).items():
        if name == "method":  # a flag of the run: it takes several methods
            continue
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        else:
            words += [flag, *map(str, value if isinstance(value, list) else [value])]
    given = flag_values(parser().parse_args(words), type(recipe))
    assert TASKS[task].recipe(method=recipe.method, **given) == recipe


def test_flags_not_given_are_absent() -> None:
    assert flag_values(parser().parse_args(["--epochs", "3"]), Recipe) == {"epochs": 3}


@pytest.mark.parametrize("field, value, word", [
    ("epochs", -1, "--epochs"), ("labels", 0.0, "above 0"), ("labels", 1.5, "at most 1"), ("subset", -5, "at least 0"),
    ("learning_rate", 0.0, "above 0"), ("learning_rate", float("nan"), "--learning-rate"),
    ("learning_rate", float("inf"), "finite"), ("warmup", 1.0, "at most"), ("crop_scale", 0.0, "at least 0.01"),
    ("crop_scale", 1.5, "at most"), ("widths", (8, 0), "--widths"),
    ("pooling", "average", "choose from max, mean, flatten"),
    ("batch_size", 1, "at least 2"),
])
def test_values_out_of_range_are_refused_by_flag(field: str, value: object, word: str) -> None:
    with pytest.raises(UsageError, match=word):
        dataclasses.replace(Recipe(), **{field: value})


CONTROLS_OWN = {(TASKS["control"].title, name) for name in ("encoder", "widths", "pooling")}


def test_shared_fields_mean_the_same_in_every_task() -> None:
    """One name for one concept: where two tasks share a field, its help text and bounds are the same object's."""
    seen: dict[str, dict] = {}
    for task in TASKS.values():
        for f in dataclasses.fields(task.recipe):
            # their choices differ by task
            if f.name not in ("method", "pooling") and (task.title, f.name) not in CONTROLS_OWN:
                assert seen.setdefault(f.name, dict(f.metadata)) == dict(f.metadata), f.name


def test_a_flag_of_another_method_is_refused() -> None:
    recipe = TASKS["1.2.3"].recipe
    with pytest.raises(UsageError, match="--temperature does not apply to method vicreg, only to simclr, dcl"):
        check_methods_have(recipe, ["vicreg"], {"temperature", "epochs"})
    check_methods_have(recipe, ["vicreg"], {"variance_weight", "epochs"})
    check_methods_have(recipe, ["vicreg", "dcl"], {"temperature"})  # one of several methods is enough
    assert TASKS["1.2.3"].default_recipe("mnist", "dcl").uses("temperature")
    assert not TASKS["1.2.3"].default_recipe("mnist", "vicreg").uses("temperature")


def test_a_control_refuses_the_other_controls_encoder() -> None:
    with pytest.raises(UsageError, match="--encoder"):
        dataclasses.replace(TASKS["control"].default_recipe("mnist", "random"), encoder="pca", widths=())
    with pytest.raises(UsageError, match="--encoder"):
        TASKS["control"].default_recipe("mnist", "pca", "vit")


@pytest.mark.parametrize("name", TASKS)
def test_every_pair_of_data_set_and_method_has_one_entry_and_no_key_is_misspelt(name: str) -> None:
    task = TASKS[name]
    families = {spec.recipe_family for spec in DATASETS.values()}
    assert set(task.recipes) == {(family, method) for family in families for method in task.all_methods}
    assert set(task.default_methods) <= set(task.all_methods)
    for key, values in task.recipes.items():
        defaults = {f.name: f.default for f in dataclasses.fields(task.recipe)}
        assert set(values) <= set(defaults) - {"method"}, key


def test_every_contrastive_method_has_its_class_and_its_texts() -> None:
    assert contrastive_methods.METHODS.keys() == contrastive_recipe.METHODS.keys()


EFFECTIVE = json.loads((Path(__file__).parents[1] / "data" / "effective_recipes.json").read_text())


@pytest.mark.parametrize("name", TASKS)
def test_effective_recipes_are_those_that_the_committed_records_were_trained_with(name: str) -> None:
    """Task x data set x method x encoder, and the long recipes; null: not a valid combination.

    What came later, a method or a flag, may be added to the file, but need not be.
    """
    entries = {key: value for key, value in EFFECTIVE.items() if key.split()[0] == name}
    assert len(entries) > 20
    for key, expected in entries.items():
        _, family, *rest = key.split()
        if not rest:
            assert list(TASKS[name].default_methods) == expected["default_methods"]
            continue
        method, encoder = rest
        try:
            recipe = TASKS[name].default_recipe(family, method, None if encoder in ("default", "long") else encoder,
                                                long=encoder == "long")
        except UsageError:
            assert expected is None, key
        else:
            assert {field: as_json(recipe)[field] for field in expected} == expected, key


def test_the_recipe_of_each_committed_record_is_frozen() -> None:
    found = [json.loads(path.read_text()) for path in (Path(__file__).parents[2] / "results").glob("*.json")]
    runs = [one["run"] for one in found if "run" in one]
    assert len(runs) > 20
    assert {f"{run['task']} {run['dataset']} {run['method']} default" for run in runs} <= EFFECTIVE.keys()


def planned(*words: str, dataset: str = "cifar10") -> list[Planned]:
    arguments = _main.build_parser().parse_args(["--dataset", dataset, *words])
    return plan(arguments, _main.choose_tasks(arguments.task), dataset, None)


LONG = [(task, method) for task, one in TASKS.items() for _, method in one.long]


@pytest.mark.parametrize("task, method", LONG)
def test_a_long_recipe_differs_from_the_default_in_name_hash_and_record(task: str, method: str) -> None:
    words = ["--task", task, "--method", method]
    (default,), (long,) = planned(*words), planned(*words, "--recipe", "long")
    assert default.overridden == [] and long.recipe.encoder == "resnet18"
    assert long.path != default.path and long.path.stem.startswith(default.path.stem + "_")
    before, after = as_json(default.recipe), as_json(long.recipe)
    assert long.overridden == sorted(name for name in before if before[name] != after[name])
    assert {"encoder", "epochs"} <= set(long.overridden)
    text = described({"cifar10": [long]})
    entry = TASKS[task].long["cifar10", method]
    assert f'--recipe long: training/long_recipes.py, ("cifar10", "{method}")' in text
    assert f"settings:  {entry.source}" in text and f"published: {entry.published}; not measured here" in text
    assert "published" not in described({"cifar10": [default]})


def test_flags_and_an_encoder_change_a_long_recipe_further() -> None:
    (long,), (further,) = (planned("--task", "1.2.3", "--recipe", "long", *words) for words in (
        [], ["--epochs", "800", "--encoder", "conv"]))
    assert (further.recipe.epochs, further.recipe.encoder, further.recipe.widths) == (800, "conv", (32, 64))
    assert further.recipe.batch_size == long.recipe.batch_size != Recipe().batch_size
    assert further.origins["epochs"] == "command line" and further.origins["widths"] == "set by encoder conv"
    assert further.origins["batch_size"].startswith("--recipe long") and further.path != long.path


@pytest.mark.parametrize("words, dataset, named", [
    (["--task", "1.2.2"], "digits", "1.2.2 joint on digits has none"),
    (["--task", "1.2.3", "--method", "all"], "cifar10", "1.2.3 vicreg on cifar10 has none"),
    (["--task", "all"], "cifar10", "rotation rotnet on cifar10 has none")])
def test_where_there_is_no_long_recipe_the_others_are_named(words: list[str], dataset: str, named: str) -> None:
    with pytest.raises(UsageError, match=f"--recipe long: {named}; there is one for .*1.2.3 simclr.* on cifar10"):
        planned(*words, "--recipe", "long", dataset=dataset)


def test_what_a_long_recipe_leaves_out_is_the_recipe_s_own_default_and_no_key_is_misspelt() -> None:
    for task in TASKS.values():
        for key, entry in task.long.items():
            assert key in task.recipes
            assert set(entry.values) <= {f.name for f in dataclasses.fields(task.recipe)} - {"method"}, key


@pytest.mark.parametrize("size, fits", [(6, True), (12, True), (3, False), (10, False)])
def test_a_batch_that_cannot_be_shared_is_refused(size: int, fits: bool) -> None:
    check_divides(size, 1)
    if fits:
        check_divides(size, 3)
        return
    with pytest.raises(UsageError, match=f"--batch-size {size}: is shared by 3 processes, so give a multiple of 3"):
        check_divides(size, 3)


def test_fine_tuning_in_several_processes_is_refused_where_its_batches_cannot_be_shared(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.plan.processes", lambda: 8)
    words = ["--task", "1.2.3", "--batch-size", "256"]
    planned(*words, dataset="mnist")
    with pytest.raises(UsageError, match="--finetune: its batch size 250: is shared by 8 processes"):
        planned(*words, "--finetune", dataset="mnist")


def test_a_default_given_as_a_flag_changes_neither_name_nor_record() -> None:
    for words in (["--rotate-degrees", "15"], ["--rotate-degrees", "15.0"], ["--translate", "0"]):
        (default,), (given,) = (planned("--task", "1.2.3", *more, dataset="mnist") for more in ([], words))
        assert given.path == default.path and given.overridden == []
        assert json.dumps(as_json(given.recipe)) == json.dumps(as_json(default.recipe))


def test_quick_shortens_fine_tuning_too() -> None:
    (run,) = planned("--task", "1.2.3", "--quick", "--finetune", dataset="digits")
    assert (run.recipe.epochs, run.recipe.finetune_epochs) == (1, 1)
    assert run.origins["finetune_epochs"] == "--quick"
