"""Images that are too many for a GPU's memory: the same bytes come out as when they are all on the device."""

import dataclasses
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from evaluation import figure_arrays, scores
from tests.training.helpers import CPU, FEW_FILTERS
from tests.training.test_loop import Elsewhere
from training import autoencoding, classification, contrastive
from training.loop import Trained
from training.tasks import TASKS
from utils.compute.cuda_graph import Batch, Outputs, Replayed
from utils.images import on_device
from utils.images.datasets import Dataset, load_dataset
from utils.images.on_device import DeviceData, StreamedImages

CUDA = torch.device("cuda")


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return load_dataset("digits", tmp_path_factory.mktemp("data")).head(train=400, val=80, test=60)


@pytest.fixture(scope="module")
def resident(digits: Dataset) -> DeviceData:
    return DeviceData.load(digits, CPU.device)


@pytest.fixture(scope="module")
def streamed(digits: Dataset) -> DeviceData:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(on_device, "fits", lambda size, device: False)
        data = DeviceData.load(digits, CPU.device)
    assert isinstance(data.images, StreamedImages) and isinstance(data.test_images, StreamedImages)
    return data


@pytest.mark.parametrize("size, device, resident", [(50, "cuda", True), (51, "cuda", False), (10**15, "cpu", True),
                                                    (10**15, "mps", True)])
def test_images_may_take_half_of_a_gpu_s_free_memory(size: int, device: str, resident: bool,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 1000))
    assert on_device.fits(size, torch.device(device)) == resident


def test_what_is_too_large_is_said_and_read_ahead_from_the_disk(digits: Dataset, streamed: DeviceData,
                                                                monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(on_device, "fits", lambda size, device: False)
    read: list[list[int]] = []
    monkeypatch.setattr(on_device, "read_ahead", lambda images, rows: read.append(rows.tolist()))
    data = DeviceData.load(digits, CPU.device)
    assert capsys.readouterr().err.startswith("digits: 0.0 GB of images stay in host memory")
    data.read_ahead(data.val[:3])
    assert (data.mapped is digits.train_images, read) == (True, [data.val[:3].tolist()])


def test_streamed_images_answer_as_the_tensor_does(resident: DeviceData, streamed: DeviceData) -> None:
    whole, images = resident.images, streamed.images
    assert (len(images), images.shape, images.device) == (len(whole), whole.shape, whole.device)
    for index in (torch.tensor([3, 1, 3]), torch.tensor([[5, 2], [0, 9]]), torch.tensor([3, 1, 3])):
        assert torch.equal(images[index], whole[index])
        assert images[index] is images[index]  # copied once for both views of a batch
    assert torch.equal(torch.cat(list(images.split(7))), whole)


def train(task: str, method: str, data: DeviceData, **changes: Any) -> Trained:
    recipe = TASKS[task].default_recipe("digits", method)
    recipe = dataclasses.replace(recipe, **({} if task == "control" else {"epochs": 1}) | changes)
    return importlib.import_module(TASKS[task].script).train(recipe, data, CPU)


def assert_same(one: Trained, other: Trained) -> None:
    """The same history and weights, bit for bit."""
    assert [row.model_dump(exclude={"seconds"}) for row in one.history] == [
        row.model_dump(exclude={"seconds"}) for row in other.history]
    for name, module in one.modules.items():
        weights = other.modules[name].state_dict()
        assert all(torch.equal(value, weights[key]) for key, value in module.state_dict().items()), name


@pytest.mark.parametrize("task, method", [("1.2.1", "plain"), ("1.2.1", "patches"), ("1.2.2", "joint"),
                                          ("1.2.3", "simclr"), ("rotation", "rotnet"), ("control", "random")])
def test_training_and_scores_are_bit_for_bit_those_of_resident_images(
        task: str, method: str, resident: DeviceData, streamed: DeviceData) -> None:
    small = FEW_FILTERS if method == "patches" else {}
    trained = [train(task, method, data, **small) for data in (resident, streamed)]
    assert_same(*trained)
    made = []
    for data, one in zip((resident, streamed), trained, strict=True):
        latents = scores.encode_splits(one.modules["encoder"], data)
        pictures = figure_arrays.neighbours(latents, data)
        if "decoder" in one.modules:
            pictures |= figure_arrays.reconstructions(one.modules["decoder"], latents["test"].z, data)
            pictures["error"] = scores.reconstruction_metrics(one.modules["decoder"], latents, data)
        made.append(pictures | {split: part.z.numpy() for split, part in latents.items()})
    for name, array in made[0].items():
        assert array == made[1][name] if isinstance(array, dict) else (array == made[1][name]).all(), name


class ReplayedOnCpu(Replayed):
    """A graph's promise without a GPU: from the second call on, the function reads the tensors of that call alone.

    Capturing runs nothing, and a replay writes into the same outputs each time.
    """

    replays = 0

    def __init__(self, function: Callable[..., Outputs], generator: torch.Generator) -> None:
        self.function, self.seen, self.graphs = function, set(), {}

    def _directly(self, batch: Batch, *constants: Any) -> Outputs:
        self.last = self.function(batch, *constants)
        return self.last

    def _captured(self, batch: Batch, *constants: Any) -> tuple[Any, Batch, Outputs]:
        static = tuple(torch.zeros_like(tensor) for tensor in batch)
        outputs = tuple(None if made is None else made.clone() for made in self.last)

        def replay() -> None:
            ReplayedOnCpu.replays += 1
            for kept, made in zip(outputs, self.function(static, *constants), strict=True):
                if kept is not None:
                    kept.copy_(made)
        return type("Graph", (), {"replay": staticmethod(replay)}), static, outputs  # type: ignore[return-value]


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Steps run as on CUDA, through stand-ins for graphs."""
    monkeypatch.setattr(Elsewhere, "elsewhere", "cuda")
    monkeypatch.setattr("training.loop.Replayed", ReplayedOnCpu)
    for script in (autoencoding, classification, contrastive):
        monkeypatch.setattr(script, "Loop", Elsewhere)
    before = ReplayedOnCpu.replays
    yield
    assert ReplayedOnCpu.replays > before


@pytest.mark.parametrize("task, method", [("1.2.1", "plain"), ("1.2.2", "joint"), ("1.2.3", "simclr")])
def test_a_replayed_step_reads_the_images_of_its_own_batch(task: str, method: str, resident: DeviceData,
                                                           streamed: DeviceData, graphs: None) -> None:
    replayed = [train(task, method, data) for data in (resident, streamed)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Elsewhere, "elsewhere", "cpu")
        assert_same(train(task, method, resident), replayed[0])
    assert_same(*replayed)


def stale(self: ReplayedOnCpu, batch: Batch, *constants: Any) -> tuple[Any, Batch, Outputs]:
    """A graph whose images stay those that it was captured with."""
    graph, static, outputs = ReplayedOnCpu._captured(self, batch, *constants)
    return graph, (static[0], *(tensor.clone() for tensor in static[1:])), outputs


def test_a_graph_that_keeps_its_first_images_is_noticed(resident: DeviceData, streamed: DeviceData, graphs: None,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.loop.Replayed", type("Stale", (ReplayedOnCpu,), {"_captured": stale}))
    before = train("1.2.2", "joint", resident)
    with pytest.raises(AssertionError):
        assert_same(before, train("1.2.2", "joint", streamed))


def test_a_copy_is_made_from_the_index_of_the_whole_epoch(streamed: DeviceData) -> None:
    """Each step's images come from an index on the CPU, so that no step waits for the GPU to hand one over."""
    index = streamed.order_of_epoch(streamed.train)
    read, images = streamed.batch(index[:5])
    streamed.hold((read, images))
    assert streamed.images[read] is images
    assert isinstance(images, Tensor) and len(images) == 5
