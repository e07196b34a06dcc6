"""No tensor is left on another device: every task, encoder and score with fake CUDA tensors, on any machine.

A fake tensor has a shape, a format and a device, but no values, and an operation on two devices raises.  Everything
runs as on a GPU without a graph, except what needs values or a CUDA context: PretendCuda lists those.  It also ensures
that nothing inside a step waits for the GPU.
"""

import copy
import dataclasses
import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

from benchmarks.contestants import random_data
from benchmarks.same_numbers import CpuGenerator
from evaluation import embed, figure_arrays, scores, scoring
from models import saved
from models.decoders import build_decoder
from models.encoders import ENCODERS, Normalise, build_encoder
from training import contrastive_methods
from training.contrastive import random_view
from training.loop import Loop, Setup, Trained
from training.tasks import TASKS
from utils.images import on_device
from utils.images.on_device import DeviceData, StreamedImages
from utils.recipe import ENCODER_WIDTHS, LatentRecipe

CUDA = torch.device("cuda")
SHAPE = (1, 8, 8)  # as the digits
MIXED = "same device|different devices|another device"
VALUES = {"item": 1.0, "__int__": 1, "__float__": 1.0, "__bool__": True}
WAITS = {*VALUES, "tolist", "numpy", "cpu"}  # each waits for the GPU


class PretendCuda(TorchFunctionMode):
    """Answers that fake tensors cannot give, and three rules of torch that they do not have.

    A value that Python reads is 1, an array is random, and a gradient is 0.  The rules: an index on the GPU cannot
    select from a tensor on the CPU, only one on the CPU becomes an array, and a generator on the CPU draws for the CPU.
    in_step: refuse to read from the GPU, as each such read would hold up the steps; see within().
    """

    in_step = False

    def within(self, method: Callable[..., Any], in_step: bool) -> Callable[..., Any]:
        """The method, inside of which in_step has this value."""
        def call(*arguments: Any, **options: Any) -> Any:
            before, self.in_step = self.in_step, in_step
            try:
                return method(*arguments, **options)
            finally:
                self.in_step = before
        return call

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        if self.in_step and name in WAITS and args[0].device.type != "cpu":
            raise RuntimeError(f"{name} waits for the GPU inside a step")
        if func is Tensor.__getitem__:
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            if args[0].device.type == "cpu" and any(isinstance(i, Tensor) and i.device.type != "cpu" for i in index):
                raise RuntimeError("the index is on another device than the tensor")
        elif kwargs.get("generator") is not None:
            if torch.device(kwargs.get("device") or "cpu").type not in ("cpu", kwargs["generator"].device.type):
                raise RuntimeError("generator and tensor are on different devices")
        elif name == "pin_memory":  # asks for a context
            assert args[0].device.type == "cpu"
            return args[0]
        elif name in VALUES:
            return VALUES[name]
        elif name == "tolist":
            return np.ones(args[0].shape).tolist()
        elif name == "numpy":
            if args[0].device.type != "cpu":
                raise TypeError("only a tensor on the device cpu becomes an array")
            return np.random.default_rng(0).random(args[0].shape).astype(str(args[0].dtype).removeprefix("torch."))
        elif func is Tensor.backward:
            assert args[0].device.type == "cuda"
            for weight in leaves(args[0].grad_fn):
                weight.grad = torch.zeros_like(weight)
            return None
        elif func is Tensor.cov:  # compares values
            return args[0] @ args[0].T
        elif func is torch._fused_adamw_:  # has no fake form
            if any(tensor.device.type != "cuda" for part in args for tensor in part):
                raise RuntimeError("AdamW got tensors of another device")
            return None
        return func(*args, **kwargs)


def leaves(node: Any) -> set[Tensor]:
    """The weights that a result depends on.  node: its grad_fn."""
    found, seen, waiting = set[Tensor](), set[Any](), [node]
    while waiting:
        node = waiting.pop()
        if hasattr(node, "variable"):
            found.add(node.variable)
        new = {following for following, _ in node.next_functions if following is not None} - seen
        seen |= new
        waiting += new
    return found


def moved(module: nn.Module, convert: Callable[[Tensor], Tensor]) -> nn.Module:
    """nn.Module._apply, which cannot move fake weights from one device to another."""
    for child in module.modules():
        for name, weight in child._parameters.items():
            if weight is not None:
                child._parameters[name] = nn.Parameter(convert(weight.detach()), weight.requires_grad)
        for name, buffer in child._buffers.items():
            if buffer is not None:
                child._buffers[name] = convert(buffer)
    return module


def copied(network: nn.Module) -> nn.Module:
    """copy.deepcopy, which reads memory that fake tensors do not have."""
    memo: dict[int, Any] = {id(weight): nn.Parameter(weight.detach().clone()) for weight in network.parameters()}
    memo |= {id(buffer): buffer.clone() for buffer in network.buffers()}
    return copy.deepcopy(network, memo)


@contextmanager
def pretended_cuda() -> Iterator[None]:
    """A machine with a GPU whose tensors have no values."""
    with pytest.MonkeyPatch.context() as patch, FakeTensorMode(allow_non_fake_inputs=True), PretendCuda() as cuda:
        patch.setattr(Loop, "step", cuda.within(Loop.step, True))
        validate = Loop.validate
        patch.setattr(Loop, "validate", lambda self, loss: validate(self, cuda.within(loss, True)))
        patch.setattr(Loop, "_read", cuda.within(Loop._read, False))  # of the losses, once in READ_EVERY steps
        patch.setattr("training.loop.Generator", CpuGenerator)
        patch.setattr("evaluation.scores.Generator", CpuGenerator)
        patch.setattr(nn.Module, "_apply", moved)
        patch.setattr(Loop, "count_flops", lambda *arguments, **options: None)  # the same loss and its gradient
        patch.setattr(nn.init, "dirac_", lambda weight: weight)  # element by element: half of the time
        patch.setattr("training.contrastive_methods.copy", SimpleNamespace(deepcopy=copied))
        yield


def data_on(device: torch.device) -> DeviceData:
    """Forty images to train on, ten for validation, and the same as test images."""
    data = random_data(40, SHAPE, device)
    return dataclasses.replace(data, recipe_family="digits", test_images=data.images, test_labels=data.labels)


def streamed_data() -> DeviceData:
    """The same, with images that stay on the CPU."""
    images = StreamedImages(random_data(40, SHAPE, torch.device("cpu")).images, CUDA)
    return dataclasses.replace(data_on(CUDA), images=images, test_images=images)


def train(task: str, method: str | None = None, precision: str = "float32", data: DeviceData | None = None,
          **changes: Any) -> Trained:
    """One epoch of one step, and its validation.  changes: of the recipe."""
    recipe = TASKS[task].default_recipe("digits", method, changes.get("encoder"))
    recipe = dataclasses.replace(recipe, **({} if task == "control" else {"epochs": 1}) | changes)
    return run(task, recipe, data or data_on(CUDA), precision)


def run(task: str, recipe: LatentRecipe, data: DeviceData, precision: str = "float32") -> Trained:
    """A task's own training, on CUDA without a graph."""
    setup = Setup(CUDA, precision, {"float32": 1.0, "bfloat16": 1.0}, seed=0, cuda_graph=False)
    return importlib.import_module(TASKS[task].script).train(recipe, data, setup)


def on_cuda(trained: Trained) -> bool:
    """Whether every weight and buffer of the result is there."""
    return all(tensor.device.type == "cuda" for module in trained.modules.values()
               for tensor in [*module.parameters(), *module.buffers()])


# everything that a default recipe of another data set uses
EXTRAS = {"1.2.2": {"muon_learning_rate": 0.05, "alternating_flip": True, "cutout": 3, "resize_from": 0.75,
                    "rotate_degrees": 10.0}, "1.2.3": {"muon_learning_rate": 0.05, "blur_probability": 0.5}}
RUNS = [(task, method) for task, one in TASKS.items() for method in one.all_methods]


@pytest.mark.parametrize("task, method", RUNS)
def test_every_method_trains_and_validates_on_its_device(task: str, method: str) -> None:
    with pretended_cuda():
        assert on_cuda(train(task, method, **EXTRAS.get(task, {})))


@pytest.mark.parametrize("kind", ENCODER_WIDTHS)
def test_every_encoder_trains_in_bfloat16_on_its_device(kind: str) -> None:
    with pretended_cuda():
        assert on_cuda(train("1.2.1", "masked", "bfloat16", encoder=kind))


@pytest.mark.parametrize("task, method", [(task, method) for task, one in TASKS.items() for _, method in one.long])
def test_every_long_recipe_trains_on_its_device(task: str, method: str) -> None:
    recipe = dataclasses.replace(TASKS[task].default_recipe("cifar10", method, long=True), epochs=1, batch_size=40)
    with pretended_cuda():
        trained = run(task, recipe, random_data(40, (3, 32, 32), CUDA))
    assert on_cuda(trained) and trained.steps == 1


@pytest.mark.parametrize("task, method", [("1.2.1", "plain"), ("1.2.1", "patches"), ("1.2.2", "joint"),
                                          ("1.2.3", "simclr"), ("rotation", "rotnet"), ("control", "random")])
def test_streamed_images_are_copied_to_the_device(task: str, method: str) -> None:
    with pretended_cuda():
        assert on_cuda(train(task, method, data=streamed_data()))


def test_augmentation_of_colours_stays_on_its_device() -> None:
    recipe = dataclasses.replace(TASKS["1.2.3"].default_recipe("cifar10"), blur_probability=0.5, translate=2,
                                 rotate_degrees=5.0)
    with pretended_cuda():
        images = random_data(4, (3, 32, 32), CUDA).images
        assert random_view(images, recipe, CpuGenerator(CUDA), (24, 24)).device.type == "cuda"


def score(data: DeviceData) -> None:
    """What scoring computes with tensors."""
    encoder = build_encoder("conv", SHAPE, (8, 8), 128, "max").to(CUDA)
    decoder = build_decoder("conv", SHAPE, (8, 8, 8), 128).to(CUDA).eval()
    latents = scores.encode_splits(encoder, data)
    classifier, _ = scores.train_classifier(latents, 10, 0, 1)
    assert scores.confidence(classifier, latents["val"].z).device.type == "cuda"
    for predict in (lambda z: scores.predict(classifier, z), lambda z: scores.knn_predict(latents["labelled"], z, 10)):
        assert predict(latents["val"].z).device.type == "cuda"
        scores.accuracy_metrics("accuracy", "", predict, latents, ("val", "test"))
    views = TASKS["1.2.3"].default_recipe("digits")
    scores.geometry_metrics(encoder, latents["test"].z, data, lambda images, generator: random_view(
        images, views, generator))
    scoring.learned_metrics(SimpleNamespace(conv_dim=48), latents, data, 0, 1, "float32")
    scores.reconstruction_metrics(decoder, latents, data)
    figure_arrays.maps(latents["test"].z, data)
    figure_arrays.principal_axes(decoder, latents["test"].z)
    figure_arrays.reconstructions(decoder, latents["test"].z, data)
    figure_arrays.neighbours(latents, data)


def index_left_on_the_gpu(self: StreamedImages, index: Tensor) -> Tensor:
    return on_device.queued_copy(self.stored[index.to(CUDA)], self.device)


def images_left_on_the_cpu(self: StreamedImages, index: Tensor) -> Tensor:
    return self.stored[index]


@pytest.mark.parametrize("broken", [index_left_on_the_gpu, images_left_on_the_cpu])
def test_streamed_images_or_indices_on_the_wrong_device_are_noticed(
        broken: Callable[[StreamedImages, Tensor], Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    with pretended_cuda():
        data = streamed_data()
        monkeypatch.setattr(StreamedImages, "fetch", broken)
        with pytest.raises(RuntimeError, match=MIXED):
            train("1.2.2", "joint", data=data)


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores that are made of values: 1 is not one of theirs.  And the maps without t-SNE, which takes seconds."""
    monkeypatch.setattr(scores, "Metric", lambda **values: values)
    monkeypatch.setattr(figure_arrays, "tsne", figure_arrays.first_components)


def test_scores_are_computed_on_their_device(unread: None) -> None:
    with pretended_cuda():
        score(data_on(CUDA))
        score(streamed_data())


def test_images_are_embedded_on_the_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "a.png")
    used: list[str] = []
    with pretended_cuda():
        encoder = build_encoder("conv", SHAPE, (8, 8), 128, "max")
        record = SimpleNamespace(data=SimpleNamespace(image_shape=SHAPE))
        monkeypatch.setattr(saved, "load_saved", lambda path: SimpleNamespace(encoder=encoder, record=record))
        whole = scores.encode
        monkeypatch.setattr(scores, "encode", lambda encoder, images: used.append(images.device.type) or whole(
            encoder, images))
        assert embed.embed_folder(tmp_path / "run.json", tmp_path, tmp_path / "latents.npz", CUDA) == 1
    assert used == ["cuda"]
    assert np.load(tmp_path / "latents.npz")["latents"].shape == (1, 128)


# ------------------------------------------------------------------------------------------- broken variants

def loss_with_weights_on_the_cpu(patch: pytest.MonkeyPatch) -> None:
    whole = contrastive_methods.nt_xent
    patch.setattr(contrastive_methods, "nt_xent",
                  lambda z0, z1, temperature: whole(z0 * torch.ones(len(z0), 1), z1, temperature))


def statistics_on_the_cpu(patch: pytest.MonkeyPatch) -> None:
    def fit(self: Normalise, images: Tensor) -> None:
        self.mean = images.cpu().mean((0, 2, 3), keepdim=True)
    patch.setattr(Normalise, "fit_to_data", fit)


def queue_on_the_cpu(patch: pytest.MonkeyPatch) -> None:
    whole = contrastive_methods.MoCo.start

    def start(self: contrastive_methods.MoCo, loop: Any) -> None:
        whole(self, loop)
        self.queue = torch.randn(self.recipe.queue_size, self.recipe.projection_dim)
    patch.setattr(contrastive_methods.MoCo, "start", start)


def generator_on_the_cpu(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("utils.compute.distributed.draw", lambda sampler, shape, generator: sampler(
        list(shape), generator=generator, device="cpu"))


@pytest.mark.parametrize("harm, method", [(loss_with_weights_on_the_cpu, "simclr"), (statistics_on_the_cpu, "dcl"),
                                          (queue_on_the_cpu, "moco"), (generator_on_the_cpu, "vicreg")])
def test_a_tensor_left_on_the_cpu_is_noticed(harm: Callable[[pytest.MonkeyPatch], None], method: str,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    with pretended_cuda():
        harm(monkeypatch)
        with pytest.raises(RuntimeError, match=MIXED):
            train("1.2.3", method)


@pytest.mark.parametrize("read", [Tensor.item, Tensor.tolist, Tensor.numpy, Tensor.cpu, bool])
def test_a_loss_that_waits_for_the_gpu_is_noticed(read: Callable[[Tensor], Any],
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    whole = contrastive_methods.nt_xent

    def loss(*arguments: Any) -> Tensor:
        value = whole(*arguments)
        read(value)
        return value

    monkeypatch.setattr(contrastive_methods, "nt_xent", loss)
    with pretended_cuda(), pytest.raises(RuntimeError, match="waits for the GPU inside a step"):
        train("1.2.3", "simclr")


def test_a_step_may_read_the_losses_that_it_has_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.loop.READ_EVERY", 1)
    with pretended_cuda():
        assert on_cuda(train("1.2.3", "simclr"))


@pytest.mark.parametrize("left", ["labels", "images", "test_images", "train"])
def test_data_left_on_the_cpu_are_noticed_by_the_scores(left: str, unread: None) -> None:
    with pretended_cuda():
        data = data_on(CUDA)
        with pytest.raises(RuntimeError, match=MIXED):
            score(dataclasses.replace(data, **{left: getattr(data, left).cpu()}))


def test_every_encoder_has_a_fake_run() -> None:
    controls = {TASKS["control"].default_recipe("digits", method).encoder for method in TASKS["control"].all_methods}
    assert set(ENCODERS) == set(ENCODER_WIDTHS) | controls
