"""Recipes: flags made from fields, ranges, and tables that are complete."""

import argparse
import dataclasses

import pytest

from training.tasks import TASKS
from utils.errors import UsageError
from utils.images.datasets import DATASETS
from utils.recipe import LatentRecipe, Recipe, add_flags, as_json, check_methods_have, flag_values


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser()
    add_flags(p, {name: task.recipe for name, task in TASKS.items()})
    return p


@pytest.mark.parametrize("task", TASKS)
def test_every_task_has_a_valid_default_recipe_for_every_data_set(task: str) -> None:
    for spec in DATASETS.values():
        for method in TASKS[task].all_methods:
            recipe = TASKS[task].default_recipe(spec.recipes, method)
            assert isinstance(recipe, LatentRecipe)
            assert recipe.method == method
            for encoder in ("conv", "mlp", "resnet18", "vit") if method != "pca" else ():
                if method == "cmc":
                    with pytest.raises(UsageError, match=f"--encoder {encoder}: method cmc takes conv_patches"):
                        TASKS[task].default_recipe(spec.recipes, method, encoder)
                    continue
                assert TASKS[task].default_recipe(spec.recipes, method, encoder).encoder == encoder
            if recipe.encoder != "pca":
                assert TASKS[task].default_recipe(spec.recipes, method, recipe.encoder) == recipe


@pytest.mark.parametrize("task", TASKS)
def test_every_field_is_a_flag_that_comes_back(task: str) -> None:
    recipe = TASKS[task].default_recipe("cifar10")
    words = []
    for name, value in as_json(recipe).items():
        if name == "method":  # a flag of the run, which takes several
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
    ("learning_rate", float("inf"), "finite"), ("warmup", 1.0, "at most"), ("crop_scale", 0.0, "above"),
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
            # whose choices or reasons differ by task, and what a control has none of
            if f.name not in ("method", "pooling") and (task.title, f.name) not in CONTROLS_OWN:
                assert seen.setdefault(f.name, dict(f.metadata)) == dict(f.metadata), f.name


def test_a_flag_of_another_method_is_refused() -> None:
    recipe = TASKS["1.2.3"].recipe
    with pytest.raises(UsageError, match="--temperature has no part in method vicreg, only in simclr, dcl, moco, cmc"):
        check_methods_have(recipe, ["vicreg"], {"temperature", "epochs"})
    check_methods_have(recipe, ["vicreg"], {"variance_weight", "epochs"})
    check_methods_have(recipe, ["vicreg", "dcl"], {"temperature"})  # of several, those that have it use it
    assert TASKS["1.2.3"].default_recipe("mnist", "dcl").uses("temperature")
    assert not TASKS["1.2.3"].default_recipe("mnist", "vicreg").uses("temperature")


def test_a_control_cannot_be_called_what_it_is_not() -> None:
    with pytest.raises(UsageError, match="--encoder"):
        dataclasses.replace(TASKS["control"].default_recipe("mnist", "random"), encoder="pca", widths=())
    with pytest.raises(UsageError, match="--encoder"):
        TASKS["control"].default_recipe("mnist", "pca", "vit")


@pytest.mark.parametrize("name", TASKS)
def test_no_key_of_the_methods_tables_is_misspelt(name: str) -> None:
    # it would leave the values that it names at their defaults, without a word
    task = TASKS[name]
    for key in task.per_method:
        method, _, family = key.partition("/")
        assert method in task.all_methods and family in {"", *task.per_dataset}


def test_a_method_can_have_values_of_its_own_on_one_data_set() -> None:
    task = TASKS["1.2.1"]
    for dataset, values in (("mnist", task.per_method["patches/mnist"]), ("cifar10", task.per_method["patches"])):
        recipe = dataclasses.asdict(task.default_recipe(dataset, "patches"))
        assert recipe == recipe | values
