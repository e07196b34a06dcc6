"""What makes each method what it is, taken apart: labels that are hidden, corruption, crossed targets, the queue."""

import contextlib
import dataclasses
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from evaluation import figure_arrays
from evaluation.scores import encode
from evaluation.scoring import score
from models.encoders import Encoder, build_encoder
from models.patches import PatchComponents
from tests.training.helpers import CPU, FEW_FILTERS, check_same, train
from training import autoencoding, classification, contrastive, contrastive_methods, losses
from training.classification_recipe import ClassificationRecipe
from training.contrastive_recipe import ContrastiveRecipe
from training.loop import Loop, Trained
from training.tasks import TASKS
from utils.compute.precision import round_as_saved
from utils.errors import UsageError
from utils.images.datasets import Dataset
from utils.images.on_device import DeviceData, to_float
from utils.recipe import check_fits


@pytest.fixture(scope="module")
def data(digits: Dataset) -> DeviceData:
    return DeviceData.load(digits, torch.device("cpu"), labels=0.2)


@pytest.fixture(scope="module")
def trained(data: DeviceData) -> Callable[[str, str], Trained]:
    """One epoch of a task's method, trained once for all tests that look at it."""
    return cache(lambda task, method: train_briefly(task, method, data))


def train_briefly(task: str, method: str, data: DeviceData) -> Trained:
    return train(task, method, data, epochs=1, **(FEW_FILTERS if method == "patches" else {}))


def weights(module: nn.Module) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in module.parameters()])


def with_other_labels(data: DeviceData) -> DeviceData:
    """The same data, where every label that may not be used is another one."""
    labels = (data.labels + 1) % 10
    for part in (data.labelled, data.selection):
        labels[part] = data.labels[part]
    assert (labels != data.labels).float().mean() > 0.7
    return dataclasses.replace(data, labels=labels)


def test_only_the_labels_that_may_be_used_are_used(data: DeviceData, monkeypatch: pytest.MonkeyPatch) -> None:
    """Joint training, fine-tuning, MLP, linear probe and kNN: the same weights and predictions whatever the others."""
    monkeypatch.setattr(figure_arrays, "tsne", figure_arrays.first_components)  # slow, and tested on its own
    recipe = dataclasses.replace(TASKS["1.2.2"].default_recipe("digits"), epochs=1, labels=0.2)
    frozen = dataclasses.replace(TASKS["1.2.3"].default_recipe("digits"), epochs=1, labels=0.2, finetune_epochs=1)
    outcomes = []
    for version in (data, with_other_labels(data)):
        joint = classification.train(recipe, version, CPU)
        encoder = build_encoder("conv", (1, 8, 8), (32, 64), 128, "max")
        encoder.load_state_dict(joint.modules["encoder"].state_dict())
        tuned = classification.finetune(encoder, frozen, version, CPU)
        tuned.modules.pop("classifier")  # so that the MLP scores it
        scores = score(tuned.modules, version, lambda images, _: to_float(images), 0, "float32", quick=True)
        probes = [torch.tensor(scores.metrics[f"test/{name}"].correct) for name in ("linear_top1", "knn_top1")]
        outcomes.append((weights(joint.modules["encoder"]), weights(tuned.modules["encoder"]),
                         torch.from_numpy(scores.arrays["test_predictions"].astype(int)), *probes))
    for one, two in zip(*outcomes, strict=True):
        assert torch.equal(one, two)


def test_few_labels_fill_an_epoch_by_repetition(data: DeviceData) -> None:
    few = data.of_labelled()
    assert len(few.train) == len(data.train)
    times = torch.bincount(few.train, minlength=len(data.images))
    assert set(torch.nonzero(times).flatten().tolist()) == set(data.labelled.tolist())
    assert times[data.labelled].max() - times[data.labelled].min() <= 1
    labels = (torch.arange(1000) // 100).to(data.labels.device)  # a folder comes class by class
    by_class = dataclasses.replace(data, labels=labels, train=torch.arange(1000),
                                   labelled=torch.arange(1000)[torch.arange(1000) % 10 != 0])
    counts = torch.bincount(labels[by_class.of_labelled().train])
    assert counts.tolist() == [100] * 10


def test_corruption_is_what_the_recipe_says(data: DeviceData) -> None:
    images = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    colour = torch.tensor([0.3])
    recipe = TASKS["1.2.1"].default_recipe("digits", "denoising")
    noise = autoencoding.corrupt(images, colour, recipe, torch.Generator().manual_seed(0)) - images
    assert noise.std().item() == pytest.approx(recipe.noise_std, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    recipe = dataclasses.replace(TASKS["1.2.1"].default_recipe("digits", "masked"), mask_ratio=0.75)
    seen = autoencoding.corrupt(images, colour, recipe, torch.Generator().manual_seed(0))
    missing = (seen != images)[:, 0]
    assert missing.float().mean().item() == pytest.approx(recipe.mask_ratio, abs=0.02)
    assert (seen[:, 0][missing] == 0.3).all()
    squares = missing.unfold(1, 2, 2).unfold(2, 2, 2).flatten(3).float().mean(3)
    assert set(squares.unique().tolist()) == {0.0, 1.0}  # whole squares of mask_patch pixels
    plain = TASKS["1.2.1"].default_recipe("digits", "plain")
    assert autoencoding.corrupt(images, colour, plain, torch.Generator()) is images


def test_what_is_missing_is_0_to_the_network_and_no_encoder_need_have_it(data: DeviceData) -> None:
    recipe = dataclasses.replace(TASKS["1.2.1"].default_recipe("digits", "masked"), epochs=1)
    normalise = autoencoding.train(recipe, data, CPU).modules["encoder"].normalise
    assert normalise(data.mean_colour().view(1, -1, 1, 1)).abs().max() < 1e-5
    recipe = TASKS["1.2.1"].default_recipe("digits", "masked", "patches")
    autoencoding.train(dataclasses.replace(recipe, epochs=1, widths=(32, 64)), data, CPU)


@pytest.mark.parametrize("method", ["plain", "denoising", "masked", "augmented"])
def test_the_encoder_sees_the_corrupted_image_and_the_target_is_intact(method: str, data: DeviceData,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    """Where corruption blanks everything, the decoder can only learn one image: the median of the intact ones."""
    monkeypatch.setattr(autoencoding, "corrupt", lambda images, *_: torch.zeros_like(images))
    recipe = dataclasses.replace(TASKS["1.2.1"].default_recipe("digits", method), epochs=1, translate=0)
    blind = autoencoding.train(recipe, data, CPU).history[-1].train_loss
    monkeypatch.undo()
    assert autoencoding.train(dataclasses.replace(recipe, epochs=6), data, CPU).history[-1].train_loss < 0.8 * blind


@pytest.mark.parametrize("method, intact", [("plain", False), ("augmented", True)])
def test_augmented_reconstructs_the_image_before_its_augmentation(method: str, intact: bool, data: DeviceData,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    images, targets, error = to_float(data.images), [], autoencoding.pixel_error

    def keep(decoded: torch.Tensor, target: torch.Tensor, loss: str) -> torch.Tensor:
        targets.append(target)
        return error(decoded, target, loss)

    monkeypatch.setattr(autoencoding, "pixel_error", keep)
    recipe = dataclasses.replace(TASKS["1.2.1"].default_recipe("digits", method), epochs=1, translate=2)
    autoencoding.train(recipe, data, CPU)
    first = targets[1]  # after the step that counts FLOPs
    assert any((images - target).abs().amax((1, 2, 3)).min() > 0 for target in first) is not intact


def test_an_autoencoder_read_at_every_depth_decodes_the_latent_that_is_read(
        data: DeviceData, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = dataclasses.replace(TASKS["1.2.1"].default_recipe("digits", "plain", "conv_depths"), epochs=10)
    decode, errors, trained_without = autoencoding.train_decoder, [], []

    def error(encoder: torch.nn.Module, decoder: torch.nn.Module) -> float:
        with torch.no_grad():
            return (decoder(encode(encoder, data.images)) - to_float(data.images)).abs().mean().item()

    def measured(encoder: Encoder, decoder: torch.nn.Module, *rest: Any) -> float:
        trained_without.append({name: value.clone() for name, value in encoder.state_dict().items()})
        errors.append(error(encoder, decoder))
        flops = decode(encoder, decoder, *rest)
        errors.append(error(encoder, decoder.eval()))
        return flops

    monkeypatch.setattr(autoencoding, "train_decoder", measured)
    trained = autoencoding.train(recipe, data, CPU)
    assert len(trained.history) == 10 and errors[1] < 0.8 * errors[0]
    encoder = trained.modules["encoder"]
    assert isinstance(encoder, Encoder)
    torch.testing.assert_close(encoder.state_dict(), trained_without[0], rtol=0, atol=0)
    before = encoder.state_dict()["components"].clone()
    encoder.fit_readout(data.train_batches())  # of the trained network, and not of the untrained one
    torch.testing.assert_close(encoder.state_dict()["components"], before)


@pytest.fixture
def uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the pass that counts FLOPs, so that a test sees only the calls of the training."""
    monkeypatch.setattr(Loop, "count_flops", lambda *_, **__: None)


@pytest.mark.parametrize("task, method", [(task, method) for task in ("1.2.1", "1.2.2", "1.2.3", "rotation")
                                          for method in TASKS[task].all_methods])
def test_counting_flops_changes_neither_weights_nor_losses(trained: Callable[[str, str], Trained], data: DeviceData,
                                                           monkeypatch: pytest.MonkeyPatch, task: str,
                                                           method: str) -> None:
    counted = trained(task, method)
    assert counted.flops > 0
    monkeypatch.setattr(Loop, "count_flops", lambda *_, **__: None)
    check_same(counted, train_briefly(task, method, data))


def test_flops_are_those_of_the_layers_with_a_backward_pass_where_gradients_flow(data: DeviceData) -> None:
    """A fully connected autoencoder: three products per layer and image, two for the first, whose input needs none."""
    recipe = dataclasses.replace(TASKS["1.2.1"].default_recipe("digits", "plain"), epochs=2, batch_size=100)
    trained = autoencoding.train(recipe, data, CPU)
    layers = [(64, 256), (256, 256), (256, 128), (128, 256), (256, 256), (256, 64)]
    per_image = sum(2 * i * o * (2 if (i, o) == layers[0] else 3) for i, o in layers)
    assert trained.flops == per_image * 100 * trained.steps


@pytest.mark.usefixtures("uncounted")
def test_byol_predicts_the_other_view_s_target_which_follows(data: DeviceData, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, followed, wanted = [], [], []

    def target(self, views: torch.Tensor) -> torch.Tensor:
        wanted.append(self.network.training)
        half = len(views) // 2
        return torch.cat([torch.zeros(half, 128), torch.ones(half, 128)])  # of view 0, of view 1

    def loss(predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        calls.append((predictions, float(targets.mean())))
        return predictions.sum() * 0 + 1.0

    monkeypatch.setattr(contrastive_methods.MomentumEncoder, "__call__", target)
    monkeypatch.setattr(contrastive_methods.MomentumEncoder, "follow", lambda self: followed.append(1))
    monkeypatch.setattr(contrastive_methods, "byol_regression", loss)
    monkeypatch.setattr(contrastive, "random_view", lambda images, *_: to_float(images))
    recipe = dataclasses.replace(TASKS["1.2.3"].default_recipe("digits", "byol"), epochs=1, projection_dim=128)
    trained = contrastive.train(recipe, data, CPU)
    assert all(wanted)  # the target's norms use their batch
    assert len(followed) == trained.steps
    assert [mean for _, mean in calls] == [1.0, 0.0] * (len(calls) // 2)  # view 0 against target 1, then crossed


@pytest.mark.usefixtures("uncounted")
def test_moco_s_queue_is_first_in_first_out_and_validation_leaves_it_unchanged(data: DeviceData,
                                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def loss(queries: torch.Tensor, keys: torch.Tensor, queue: torch.Tensor, temperature: float) -> torch.Tensor:
        seen.append((queries.requires_grad, keys.clone(), queue.clone()))
        assert not keys.requires_grad
        return queries.sum() * 0 + 1.0

    monkeypatch.setattr(contrastive_methods, "info_nce", loss)
    recipe = dataclasses.replace(TASKS["1.2.3"].default_recipe("digits", "moco"), epochs=2, queue_size=300,
                                 batch_size=100)
    contrastive.train(recipe, data, CPU)
    for (learning, keys, queue), (_, _, following) in zip(seen, seen[1:], strict=False):
        expected = torch.cat([keys, queue])[:300] if learning else queue
        assert torch.equal(following, expected)
    assert {learning for learning, _, _ in seen} == {True, False}


@pytest.mark.usefixtures("uncounted")
def test_cmc_contrasts_two_views_with_each_other_and_with_the_intact_image_s_features_whatever_the_labels(
        data: DeviceData, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss without a gradient leaves the weights as they were, so that what came to it can be computed again."""
    asked, with_features, with_views = [], [], []
    view = contrastive.random_view

    def random_view(images: torch.Tensor, *others) -> torch.Tensor:
        asked.append((images, view(images, *others)))
        return asked[-1][1]

    def loss(seen: list, worth: float, z0: torch.Tensor, z1: torch.Tensor, temperature: float) -> torch.Tensor:
        seen.append((z0, z1))
        return (z0.sum() + z1.sum()) * 0 + worth

    monkeypatch.setattr(contrastive, "random_view", random_view)
    monkeypatch.setattr(contrastive_methods, "cross_view_info_nce", partial(loss, with_features, 1.0))
    monkeypatch.setattr(contrastive_methods, "dcl", partial(loss, with_views, 10.0))
    recipe = dataclasses.replace(TASKS["1.2.3"].default_recipe("digits", "cmc"), epochs=1, projection_dim=16,
                                 batch_size=80, weight_decay=0.0, view_scale=0.75)
    trained = contrastive.train(recipe, data, CPU)
    assert trained.history[0].train_loss == pytest.approx(11.0)
    names = ("encoder", "pair_head", "view_head", "feature_head")
    encoder, pair_head, view_head, feature_head = (trained.modules[name].train() for name in names)
    whitened = PatchComponents(data.image_shape, 128, 128)
    whitened.fit_to_data(data.sample(10_000))
    assert len(with_features) == len(asked) == 2 * len(with_views)
    for step in range(len(data.train) // 80):
        (images, view0), (again, view1) = asked[2 * step : 2 * step + 2]
        assert torch.equal(images, again) and not torch.equal(view0, view1) and view0.shape[2:] == (6, 6)
        latents = encoder.conv(torch.cat([view0, view1]))
        features = feature_head(whitened(to_float(images)))
        expected = [pair_head(latents).chunk(2), *((z, features) for z in view_head(latents).chunk(2))]
        for ours, pair in zip(expected, [with_views[step], *with_features[2 * step : 2 * step + 2]], strict=True):
            for mine, given in zip(ours, pair, strict=True):
                assert given.requires_grad  # so both sides learn
                torch.testing.assert_close(given, mine, rtol=1e-4, atol=1e-4)
    features = whitened(to_float(data.images[data.train]))
    assert (features.std(0) > 0.5).sum() == min(128, len(data.train) // 10)


def test_every_method_trains_in_its_own_way(trained: Callable[[str, str], Trained]) -> None:
    """No two methods end with the same weights, so none is another under a second name."""
    ends = [weights(trained(task, method).modules["encoder"]).numpy()
            for task in ("1.2.3", "1.2.1") for method in TASKS[task].all_methods]
    for i, one in enumerate(ends):
        assert not any(len(one) == len(other) and np.array_equal(one, other) for other in ends[:i])


def test_constant_training_features_are_ignored(data: DeviceData) -> None:
    from evaluation.scores import Standardised

    z = torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    z[:, 1] = 0.25
    scaled = Standardised(nn.Identity(), z.shape[1]).fit_to_data(z)(z + torch.tensor([0.0, 1e-3, 0.0]))
    assert (scaled[:, 1] == 0).all()
    torch.testing.assert_close(scaled[:, [0, 2]].std(0), torch.ones(2))


def joint_views(data: DeviceData, **given) -> list[list[tuple[torch.Tensor, torch.Tensor | None, tuple[int, int]]]]:
    """Epoch by epoch, what a joint training asks of the augmentation: indices, those to mirror, the size."""
    recipe = TASKS["1.2.2"].default_recipe("digits")
    recipe = dataclasses.replace(recipe, epochs=4, batch_size=80, widths=(16,), **given)
    data = dataclasses.replace(data, train=data.train[:320], labelled=data.train[:320])  # every image once an epoch
    asked: list[list] = [[] for _ in range(4)]
    whole, plain = Loop.step, classification.augmented

    def step(loop: Loop, loss_function, index, *constants) -> None:
        asked[loop.progress.epoch - 1].append([index])
        whole(loop, loss_function, index, *constants)

    def augmented(images, recipe, generator, mirrored, size) -> torch.Tensor:
        next(batches for batches in reversed(asked) if batches)[-1].extend([mirrored, size])
        out = plain(images, recipe, generator, mirrored, size)
        assert out.shape[2:] == size
        return out
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Loop, "step", step)
        patch.setattr(classification, "augmented", augmented)
        patch.setattr(Loop, "count_flops", lambda *_, **__: None)
        classification.train(recipe, data, CPU)
    return asked


def test_fine_tuning_does_not_mirror_where_the_training_must_not(data: DeviceData,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    recipes: list[ClassificationRecipe] = []
    monkeypatch.setattr(classification, "train_jointly", lambda encoder, recipe, *_: recipes.append(recipe))
    version = dataclasses.replace(data, recipe_family="cifar10")
    for flip in (True, False):
        frozen = dataclasses.replace(TASKS["1.2.3"].default_recipe("cifar10"), flip=flip, finetune=True)
        classification.finetune(torch.nn.Identity(), frozen, version, CPU)
    assert [recipe.alternating_flip for recipe in recipes] == [True, False]


def test_alternating_flip_mirrors_every_image_in_every_other_epoch(data: DeviceData) -> None:
    mirrored = []
    for epoch in joint_views(data, alternating_flip=True):
        of_image = torch.zeros(len(data.images), dtype=torch.bool)
        for index, named, _ in epoch:
            of_image[index] = named
        mirrored.append(of_image[data.train[:320]])
    first, second, third, fourth = mirrored
    assert torch.equal(second, ~first) and torch.equal(third, first) and torch.equal(fourth, second)
    assert abs(first.sum().item() - len(first) / 2) < 5 * len(first) ** 0.5 / 2  # five standard deviations of a coin


def test_images_grow_to_their_full_size_in_three_quarters_of_the_steps(data: DeviceData) -> None:
    sizes = [size for epoch in joint_views(data, resize_from=0.5) for _, _, size in epoch]
    assert len(sizes) == 16
    assert sizes == sorted(sizes) and sizes[0] == (4, 4) and sizes[12:] == [(8, 8)] * 4 and sizes[11] == (8, 8)
    assert set(sizes) == {(4, 4), (6, 6), (8, 8)}
    assert {size for epoch in joint_views(data) for _, _, size in epoch} == {(8, 8)}


@pytest.mark.parametrize("start", [0.25, 0.625, 0.9, 1.0])
def test_the_work_that_growing_images_leave_is_their_mean_area(start: float) -> None:
    steps = 100_000
    sides = [classification.size_after(step / steps, (2000, 1000), start) for step in range(0, steps, 10)]
    assert np.mean([h * w for h, w in sides]) / 2e6 == pytest.approx(classification.mean_area(start), rel=1e-3)


@pytest.mark.parametrize(("task", "method"), [("control", "depths"), ("1.2.3", "simclr")])
def test_a_readout_fits_the_weights_that_are_rounded_for_the_file(task: str, method: str, digits: Dataset) -> None:
    """Components of low variance amplify what rounding changes; MNIST's control was off by many deviations."""
    data = DeviceData.load(digits, CPU.device)
    given = {"encoder": "conv_depths"} if task == "1.2.3" else {}
    encoder = train(task, method, data, **given).modules["encoder"].float()
    round_as_saved(encoder)
    z = encode(encoder, data.images[data.train])
    assert (z.std(0) > 0.5).sum() > 5  # or there is no offset to see
    offset = z.mean(0).abs() / z.std(0).clamp(min=1e-6)
    assert offset.max() < 1e-4


def test_a_vision_transformer_refuses_images_that_its_patches_do_not_tile() -> None:
    recipe = ClassificationRecipe(encoder="vit", widths=(32, 32))
    for shape in ((1, 28, 28), (1, 8, 10)):
        check_fits(recipe, shape)
    for shape, patch in (((1, 30, 28), 4), ((1, 8, 9), 2)):
        with pytest.raises(UsageError, match=f"multiples of {patch}, not {shape[1]} x {shape[2]}"):
            check_fits(recipe, shape)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 17, 40)])
def test_views_and_small_images_are_refused_exactly_where_the_encoder_fails(shape: tuple[int, int, int]) -> None:
    outcomes = set()
    for blocks in (1, 2, 3):
        with torch.device("meta"):  # shapes alone
            encoder = build_encoder("conv", shape, (4,) * blocks, 8, "max") if 2**blocks < min(shape[1:]) - 1 else None
        for fraction in (0.1, 0.2, 0.3, 0.5, 0.625, 0.75, 0.9) if encoder else ():
            views = ContrastiveRecipe(widths=(4,) * blocks, view_scale=fraction)
            small = ClassificationRecipe(widths=(4,) * blocks, resize_from=fraction)
            for recipe, size in ((views, tuple(map(views.view_side, shape[1:]))),
                                 (small, classification.size_after(0, shape[1:], fraction))):
                refused = works = False
                try:
                    check_fits(recipe, shape)
                except UsageError:
                    refused = True
                with contextlib.suppress(RuntimeError), torch.no_grad():
                    works = encoder(torch.empty(2, shape[0], *size, device="meta")).shape == (2, 8)
                assert refused == (not works or min(size) < 4), (recipe, size)
                outcomes.add(refused)
    assert outcomes == {True, False}


@pytest.mark.parametrize("method, given, expected", [
    ("simclr", {"temperature": 0.37}, lambda z0, z1: losses.nt_xent(z0, z1, 0.37)),
    ("dcl", {"temperature": 0.37}, lambda z0, z1: losses.dcl(z0, z1, 0.37)),
    ("vicreg", {"invariance_weight": 2.0, "variance_weight": 30.0, "covariance_weight": 500.0},
     lambda z0, z1: losses.vicreg(z0, z1, 2.0, 30.0, 500.0))])
def test_two_views_are_compared_by_the_method_s_own_loss(method: str, given: dict, expected: Callable,
                                                         data: DeviceData) -> None:
    recipe = dataclasses.replace(TASKS["1.2.3"].default_recipe("digits", method), **given)
    encoder = build_encoder("mlp", (1, 8, 8), (16,), recipe.latent_dim, "max")
    compared = contrastive_methods.METHODS[method](encoder, recipe, data, CPU)
    views = torch.rand(2, 9, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    z0, z1 = compared.head(encoder(torch.cat([*views]))).chunk(2)
    assert compared.loss(*views, torch.arange(9)).item() == pytest.approx(expected(z0, z1).item(), rel=1e-5)


SMALL = {"epochs": 4, "batch_size": 64, "widths": (8,), "latent_dim": 8}
CONTRAST = SMALL | {"encoder": "conv", "projection_dim": 8, "projection_hidden_dim": 8, "queue_size": 99}
DECODING = SMALL | {"encoder": "mlp", "decoder_widths": (8,)}
OTHER_VALUES = [
    ("1.2.2", "joint", SMALL | {"encoder": "conv"}, {
        "learning_rate": 0.02, "muon_learning_rate": 0.2, "weight_decay": 0.9, "warmup": 0.6, "label_smoothing": 0.4,
        "crop_scale": 0.5, "rotate_degrees": 25.0, "translate": 2, "flip": True, "cutout": 3, "resize_from": 0.5}),
    ("1.2.3", "simclr", CONTRAST, {
        "crop_scale": 0.9, "rotate_degrees": 25.0, "view_scale": 0.75, "colour_strength": 0.8,
        "colour_probability": 0.3, "blur_probability": 0.7}),
    ("1.2.3", "moco", CONTRAST, {"temperature": 0.7, "queue_size": 31, "target_momentum": 0.5}),
    ("1.2.1", "denoising", DECODING, {"noise_std": 0.1}),
    ("1.2.1", "masked", DECODING, {"mask_ratio": 0.75, "mask_patch": 4}),
    ("1.2.1", "augmented", DECODING, {"colour_noise": 0.9, "crop_scale": 0.8, "flip": True})]


@pytest.mark.parametrize("task, method, base, others", OTHER_VALUES, ids=[f"{row[0]} {row[1]}" for row in OTHER_VALUES])
def test_every_field_of_a_recipe_reaches_the_training(task: str, method: str, base: dict, others: dict,
                                                      data: DeviceData) -> None:
    """Four steps on 64 images end elsewhere with any other value."""
    few = dataclasses.replace(data, train=data.train[:64], labelled=data.train[:64], val=data.val[:9])

    def trained_with(**given) -> torch.Tensor:
        trained = train(task, method, few, **(base | given))
        assert trained.steps == 4
        return weights(trained.modules["encoder"])

    end = trained_with()
    assert torch.equal(trained_with(), end)
    recipe = TASKS[task].default_recipe("digits", method)
    for field, value in others.items():
        assert getattr(recipe, field) != value and not torch.equal(trained_with(**{field: value}), end), field


def test_the_error_of_pixels_is_absolute_or_squared() -> None:
    black, grey = torch.zeros(2, 1, 3, 3), torch.full((2, 1, 3, 3), 0.5)
    assert autoencoding.pixel_error(black, grey, "l1") == 0.5 == autoencoding.pixel_error(grey, black, "l1")
    assert autoencoding.pixel_error(black, grey, "mse") == 0.25


def test_pixels_do_not_train_the_encoder_of_patches(data: DeviceData, monkeypatch: pytest.MonkeyPatch) -> None:
    ends = []
    for factor in (1.0, 100.0):
        monkeypatch.setattr(autoencoding, "pixel_error", lambda decoded, target, loss, factor=factor: factor * (
            decoded - target).square().mean())
        ends.append(train_briefly("1.2.1", "patches", data).modules)
    assert torch.equal(*(weights(modules["encoder"]) for modules in ends))
    assert not torch.equal(*(weights(modules["decoder"]) for modules in ends))


def test_the_target_of_a_mirrored_crop_is_mirrored_with_it(data: DeviceData, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs, targets, indices, step = [], [], [], Loop.step
    monkeypatch.setattr(autoencoding, "corrupt", lambda images, *_: inputs.append(images) or images)
    monkeypatch.setattr(autoencoding, "pixel_error", lambda decoded, target, loss: targets.append(target) or
                        decoded.mean())
    monkeypatch.setattr(Loop, "count_flops", lambda *_, **__: None)
    monkeypatch.setattr(Loop, "step", lambda loop, loss, index: indices.append(index) or step(loop, loss, index))
    given = DECODING | {"epochs": 1, "crop_scale": 1.0, "rotate_degrees": 0.0, "flip": True}
    train("1.2.1", "augmented", data, **given)
    for index, seen, target in zip(indices, inputs, targets, strict=False):  # validation comes after the steps
        assert torch.equal(seen, target)
        whole = to_float(data.images[index])
        mirrored = (target == whole.flip(3)).flatten(1).all(1)
        assert 10 < mirrored.sum() < len(index) - 10
        assert torch.equal(target[~mirrored], whole[~mirrored])
    assert len(indices) == 400 // 64


@pytest.mark.parametrize("method", ["random", "calibrated", "depths", "hybrid"])
def test_the_norms_of_a_control_are_calibrated_where_its_name_says_so(method: str, data: DeviceData) -> None:
    encoder = train("control", method, data).modules["encoder"]
    norms = [module for module in encoder.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    found = [(norm.running_mean.clone(), norm.running_var.clone()) for norm in norms]
    if method == "random":
        assert all((mean == 0).all() and (variance == 1).all() for mean, variance in found)
        return
    inputs: list[torch.Tensor] = []
    for norm in norms:
        norm.register_forward_pre_hook(lambda _, given: inputs.append(given[0].transpose(0, 1).flatten(1)))
    encoder.train()(to_float(data.images[data.train]))  # where each norm sees what the ones before have normalised
    for (mean, variance), values in zip(found, inputs, strict=True):
        torch.testing.assert_close(mean, values.mean(1), rtol=1e-2, atol=1e-2)
        torch.testing.assert_close(variance, values.var(1), rtol=1e-2, atol=1e-2)
