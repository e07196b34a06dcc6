"""The training loop and one whole run, on the embedded digits."""

import dataclasses
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.decomposition import PCA
from torch import nn

from evaluation import figure_arrays, scores
from models.encoders import MLPEncoder, build_encoder
from tests.training.helpers import CPU, FEW_FILTERS, short_recipe, train
from training import loop
from training.contrastive_methods import MomentumEncoder
from training.loop import Diverged, Loop, Setup
from training.run import train_and_score
from training.tasks import TASKS
from utils.compute.convolution import forward_flops
from utils.compute.optimiser import MasterOptimiser, schedule
from utils.compute.precision import cast
from utils.images import on_device
from utils.images.on_device import DeviceData, evenly_spaced
from utils.records.arrays import read_arrays
from utils.records.schema import Epoch, Record, read_record


@pytest.fixture(scope="module", autouse=True)
def no_tsne() -> Iterator[None]:
    """Nor a wide classifier: they take most of a small run's time, and the tests of evaluation/ look at them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figure_arrays, "tsne", figure_arrays.first_components)
        patch.setattr(scores, "CLASSIFIER_HIDDEN", 128)
        yield


def short_run(task: str, dataset, folder: Path, setup: Setup = CPU, **given) -> Record:
    recipe = short_recipe(task, given.pop("method", None), **given)
    return train_and_score(task, dataset, recipe, sorted(given), setup, folder / "run.json",
                           ["_main.py", "--seed", str(setup.seed)])[0]


@pytest.mark.parametrize("task", TASKS)
def test_same_seed_same_bytes_and_another_seed_others(task: str, digits, tmp_path: Path) -> None:
    outputs = []
    for name in "ab":
        (tmp_path / name).mkdir()
        record = short_run(task, digits, tmp_path / name)
        rows = [(row.train_loss, row.val_loss, row.lr, row.step) for row in record.history]
        weights = load_file(tmp_path / name / "run.safetensors")
        outputs.append((rows, read_arrays(record, tmp_path / name), weights, record.metrics))
    (rows_a, arrays_a, weights_a, metrics_a), (rows_b, arrays_b, weights_b, metrics_b) = outputs
    other = train(task, None, DeviceData.load(digits, CPU.device), dataclasses.replace(CPU, seed=1))
    assert rows_a == rows_b
    assert rows_b != [(row.train_loss, row.val_loss, row.lr, row.step) for row in other.history] or task == "control"
    assert metrics_a == metrics_b
    assert all(np.array_equal(arrays_a[name], arrays_b[name]) for name in arrays_a)
    assert all(torch.equal(weights_a[name], weights_b[name]) for name in weights_a)


METHODS = [(name, method) for name, task in TASKS.items() for method in task.all_methods if name != "control"]
# one method for each set of modules that is scored
SCORED = [("1.2.1", "plain"), ("1.2.1", "patches"), ("1.2.2", "joint"), ("1.2.3", "simclr"), ("1.2.3", "cmc"),
          ("rotation", "rotnet")]


def check_history(history: list[Epoch], method: str) -> None:
    assert [row.epoch for row in history] == [1, 2, 3, 4, 5, 6]
    if method != "moco":  # its first queue is random, and so easier than the later ones
        assert history[-1].train_loss < history[0].train_loss


@pytest.mark.parametrize("task, method", SCORED)
def test_record_is_valid_and_the_loss_falls(task: str, method: str, digits, tmp_path: Path) -> None:
    small = FEW_FILTERS if method == "patches" else {}
    record = short_run(task, digits, tmp_path, method=method, epochs=6, **small)
    check_history(record.history, method)
    assert read_record(tmp_path / "run.json") == record
    assert record.derived.steps == record.history[-1].step == 6 * (400 // min(400, record.recipe.fields["batch_size"]))
    assert record.recipe.overridden == sorted(["epochs", *small])
    assert record.headline.n == 120
    assert ("test/reconstruction_mae" in record.metrics) == (task == "1.2.1")
    assert ("test/projection_linear_top1" in record.metrics) == (method == "simclr")
    assert ("test/learned_top1" in record.metrics) == (method == "cmc")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("task, method", [one for one in METHODS if one not in SCORED])
def test_the_loss_of_every_other_method_falls(task: str, method: str, digits) -> None:
    """What is scored of them is what is scored of plain or simclr, so that their records would hold the same."""
    trained = train(task, method, DeviceData.load(digits, CPU.device), epochs=6)
    check_history(trained.history, method)
    batch_size = short_recipe(task, method).batch_size
    assert trained.objective and trained.steps == trained.history[-1].step == 6 * (400 // batch_size)
    assert set(trained.modules) - {"prediction_head"} == {
        "encoder", "decoder" if task == "1.2.1" else "projection_head"}


def test_bfloat16_training_ends_in_float32_close_to_float32(digits, tmp_path: Path) -> None:
    half = dataclasses.replace(CPU, precision="bfloat16", conv_gflops={"float32": 1.0, "bfloat16": 1.0})
    losses = {}
    for setup in (CPU, half):
        losses[setup.precision] = short_run("1.2.2", digits, tmp_path, setup, epochs=4).history[-1].val_loss
        assert all(t.dtype != torch.bfloat16 for t in load_file(tmp_path / "run.safetensors").values())
    assert losses["bfloat16"] == pytest.approx(losses["float32"], rel=0.25)


def test_latents_of_unsupervised_tasks_do_not_depend_on_the_labels(digits) -> None:
    """Training with shuffled labels must give the same encoder, or a label has leaked into it."""
    shuffled = dataclasses.replace(digits, train_labels=np.random.RandomState(0).permutation(digits.train_labels))
    for task, same in (("1.2.1", True), ("1.2.3", True), ("rotation", True), ("control", True), ("1.2.2", False)):
        one, other = (train(task, None, DeviceData.load(dataset, CPU.device)).modules["encoder"].state_dict()
                      for dataset in (digits, shuffled))
        assert all(torch.equal(one[name], other[name]) for name in one) == same, task


def test_a_weight_decay_that_diverges_is_named(digits, tmp_path: Path) -> None:
    with pytest.raises(Diverged, match="try a lower --learning-rate or --weight-decay"):
        short_run("1.2.3", digits, tmp_path, learning_rate=1e30, weight_decay=100.0, epochs=3)


def test_a_record_that_was_renamed_keeps_its_files(digits, tmp_path: Path) -> None:
    before = read_arrays(short_run("control", digits, tmp_path, method="pca"), tmp_path)
    best = (tmp_path / "run.json").rename(tmp_path / "best.json")
    short_run("control", digits, tmp_path, dataclasses.replace(CPU, seed=1), method="pca")
    after = read_arrays(read_record(best), tmp_path)  # raises where they are another run's
    assert all(np.array_equal(after[name], before[name]) for name in before)
    assert sorted(path.name for path in tmp_path.glob("*.json")) == ["best.json", "run_run2.json"]


def test_nan_loss_stops_and_leaves_a_failed_record(digits, tmp_path: Path) -> None:
    with pytest.raises(Diverged, match="step"):
        short_run("1.2.3", digits, tmp_path, learning_rate=1e30, epochs=3)
    record = read_record(tmp_path / "run_failed.json")
    assert record.run.status == "failed"
    assert record.failure is not None
    assert record.failure.step >= 1
    assert f"step {record.failure.step}" in record.failure.reason
    assert not (tmp_path / "run.json").exists()


def test_linear_autoencoder_with_squared_loss_finds_the_subspace_of_pca() -> None:
    """Baldi and Hornik 1989, through the project's encoder without hidden layers and its optimiser."""
    generator = torch.Generator().manual_seed(0)
    scales = torch.tensor([5.0, 4.0, 3.0, 0.3, 0.2, 0.1, 0.1, 0.1])
    mix = torch.linalg.qr(torch.randn(8, 8, generator=generator))[0]
    x = (torch.randn(2000, 8, generator=generator) * scales) @ mix
    x -= x.mean(0)
    encoder, decoder = MLPEncoder((8, 1, 1), (), 3, "flatten"), nn.Linear(3, 8)
    optimiser = MasterOptimiser(nn.Sequential(encoder, decoder), 2e-2, 0.0)
    for step in range(800):
        optimiser.scale_learning_rate(schedule(step, 800, 0.1))
        optimiser.step((decoder(encoder(x[:, :, None, None])) - x).square().mean())
    ours = torch.linalg.qr(decoder.weight.detach())[0]  # (8, 3)
    pca = torch.from_numpy(PCA(3).fit(x.numpy()).components_.T.copy())
    cosines = torch.linalg.svdvals(ours.T @ pca)  # of the principal angles: all 1 when the subspaces are one
    assert cosines.min() > 0.999


def test_learning_rate_rises_peaks_and_ends_at_0() -> None:
    rates = [schedule(step, 100, 0.2) for step in range(100)]
    assert rates[:20] == sorted(rates[:20])
    assert rates[20] == max(rates) == 1
    assert rates[20:] == sorted(rates[20:], reverse=True)
    assert rates[60] == pytest.approx(0.5)  # half-way down the cosine
    assert 0 <= rates[-1] < 0.002


def test_flops_are_counted_by_hand() -> None:
    encoder = build_encoder("mlp", (1, 8, 8), (32,), 128, "max")
    assert forward_flops(encoder, 1, 8, 8) == 2 * (64 * 32 + 32 * 128)


def test_flops_of_convolutions_are_those_of_direct_ones() -> None:
    encoder = build_encoder("conv", (1, 8, 8), (64,), 128, "max")  # 2 x 2 whitening leaves 7 x 7, of 8 channels
    multiplications = 49 * 8 * 4 + 49 * 64 * 8 * 9 + 9 * 64 * 64 * 9 + 64 * 128
    assert forward_flops(encoder, 1, 8, 8) == 2 * multiplications


def test_an_epoch_visits_every_image_once(digits) -> None:
    data = DeviceData.load(digits, torch.device("cpu"))
    data = dataclasses.replace(data, train=data.train[:360])  # a whole number of batches
    recipe = dataclasses.replace(TASKS["1.2.2"].default_recipe("digits"), batch_size=40, epochs=1)
    loop = Loop(recipe, data, CPU, {"encoder": nn.Linear(2, 2)})
    seen = torch.cat(list(loop.batches()))
    assert sorted(seen.tolist()) == sorted(data.train.tolist())
    assert not set(seen.tolist()) & set(data.val.tolist())


def test_a_batch_is_read_from_the_disk_while_the_one_before_is_trained_on(digits, monkeypatch) -> None:
    asked: list[tuple[str, list[int]]] = []
    monkeypatch.setattr(on_device, "read_ahead", lambda images, rows: asked.append(("ahead", rows.tolist())))
    data = DeviceData.load(digits, CPU.device)
    recipe = dataclasses.replace(TASKS["1.2.2"].default_recipe("digits"), batch_size=80)
    orders = []
    for mapped in (data, dataclasses.replace(data, mapped=None)):
        batches = Loop(recipe, mapped, CPU, {"head": nn.Linear(2, 2)}).batches()
        orders.append([asked.append(("used", index.tolist())) or index.tolist() for index in batches])
    first, second, third, fourth = orders[0]
    assert orders[1] == orders[0]  # the shuffle does not depend on where the images are
    assert asked[:8] == [("ahead", first), ("ahead", second), ("used", first), ("ahead", third), ("used", second),
                         ("ahead", fourth), ("used", third), ("used", fourth)]
    assert all(kind == "used" for kind, _ in asked[8:])


def test_large_images_are_scored_in_smaller_batches() -> None:
    assert [loop.evaluation_batch((3, side, side)) for side in (8, 32, 64, 256)] == [500, 500, 125, 7]


def test_random_chance_is_ln_of_the_classes_at_the_start(digits, tmp_path: Path) -> None:
    """Before it has learned anything a four-way rotation loss is near ln 4."""
    record = short_run("rotation", digits, tmp_path, epochs=1, learning_rate=1e-9)
    assert record.history[0].train_loss == pytest.approx(math.log(4), abs=0.4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_momentum_encoder_is_the_exponential_average_of_its_path(dtype: torch.dtype) -> None:
    """Against the closed sum of weights; a step of a thousandth must not be lost in bfloat16."""
    torch.manual_seed(0)
    online = cast(nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), dtype)
    optimiser = MasterOptimiser(online, 1e-3, 0.0)
    target = MomentumEncoder(online, optimiser, 0.9, batch_statistics=False)
    master = optimiser.masters_of(online)[0]
    path, buffers = [master.detach().clone()], [online[1].running_mean.clone()]
    for _ in range(20):
        optimiser.step(online(torch.randn(8, 4).to(dtype)).float().square().sum())
        target.follow()
        path.append(master.detach().clone())
        buffers.append(online[1].running_mean.clone())
    for seen, average in ((path, target.masters[0]), (buffers, target.network[1].running_mean)):
        expected = 0.9**20 * seen[0] + sum(0.1 * 0.9 ** (20 - k) * seen[k] for k in range(1, 21))
        torch.testing.assert_close(average, expected, rtol=1e-4, atol=1e-6)
    assert torch.equal(target.network[0].weight, target.masters[0].to(dtype))
    assert not any(p.requires_grad for p in target.network.parameters())
    assert not target.network.training


def test_a_pca_control_is_scored_like_any_other_latent(digits, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(scores, "CLASSIFIER_HIDDEN", 1024)  # as it is: a narrow one learns little in five steps
    record = short_run("control", digits, tmp_path, method="pca")
    assert (record.history, record.derived.steps, record.derived.training_flops) == ([], 0, 0.0)
    assert record.headline.value > 0.8  # principal components of digits are good; a random encoder is not
    assert short_run("control", digits, tmp_path).headline.value < record.headline.value


def test_statistics_of_the_data_see_every_class() -> None:
    """A folder is stored class by class; a sample must reach its end however the counts divide."""
    for n, count in ((3999, 2000), (4001, 2000), (10, 3), (3, 10)):
        index = evenly_spaced(n, count)
        assert len(index) == min(n, count)
        gaps = (index[1:] - index[:-1]).float()
        assert index[0] == 0
        assert n - 1 - index[-1] <= gaps.max()
        assert gaps.max() - gaps.min() <= 1


def test_validation_counts_the_images_it_judged(digits) -> None:
    """A single image left over for the last batch has no contrast, and is not counted as a wrong one either."""
    data = dataclasses.replace(DeviceData.load(digits, torch.device("cpu")), val=torch.arange(11))
    recipe = dataclasses.replace(TASKS["1.2.2"].default_recipe("digits"), batch_size=5)
    loop = Loop(recipe, data, CPU, {"encoder": nn.Linear(2, 2)})
    assert loop.validate(lambda index, _: (torch.tensor(1.0), torch.ones(len(index), dtype=torch.bool))) == (1.0, 1.0)


def test_a_latent_is_scored_with_the_labels_of_its_recipe_and_the_seed_of_its_run(digits, tmp_path: Path) -> None:
    record, other = (short_run("control", digits, tmp_path, dataclasses.replace(CPU, seed=seed), method="pca",
                               labels=0.01) for seed in (0, 1))
    assert record.metrics["test/knn_top1"].protocol.startswith("k = 10 nearest labelled")  # one of each class
    assert other.metrics["test/knn_top1"] == record.metrics["test/knn_top1"]  # the components are the same
    assert other.confusion != record.confusion
