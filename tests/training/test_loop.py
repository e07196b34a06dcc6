"""The loop's reading of losses, which on a GPU comes many steps later."""

import dataclasses

import pytest
import torch
from torch import Generator, Tensor, nn

from models.heads import LinearHead
from tests.training.helpers import CPU
from training.loop import Diverged, Loop, Trained
from training.tasks import TASKS
from utils.images.datasets import Dataset
from utils.images.on_device import DeviceData, to_float


@pytest.fixture(scope="module")
def data(digits: Dataset) -> DeviceData:
    return DeviceData.load(digits, CPU.device)


class Elsewhere(Loop):
    """A loop whose steps take the device for another one; everything stays on the CPU."""

    elsewhere = "cpu"

    def step(self, *arguments, **options) -> None:
        here, self.device = self.device, torch.device(self.elsewhere)
        super().step(*arguments, **options)
        self.device = here


def train(data: DeviceData, device: str, broken_step: int = 0, epochs: int = 2) -> Trained:
    """Some epochs of a linear classifier; from a broken step on the loss is not a number."""
    torch.manual_seed(0)
    recipe = dataclasses.replace(TASKS["1.2.2"].default_recipe("digits"), epochs=epochs, batch_size=40)
    model = nn.Sequential(nn.Flatten(), LinearHead(64, 10))
    loop, calls = Elsewhere(recipe, data, CPU, {"encoder": model}), [0]
    loop.elsewhere = device

    def loss_of(index: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        calls[0] += 1
        logits, labels = model(to_float(data.images[index])), data.labels[index]
        loss = nn.functional.cross_entropy(logits, labels)
        return loss * float("nan") if calls[0] == broken_step else loss, logits.argmax(1) == labels

    followed = []
    for _ in loop.epochs():
        for index in loop.batches():
            loop.step(loss_of, index, then=lambda: followed.append(loop.progress.step))
        loop.end_epoch(lambda index, generator: (torch.zeros(()), None))
    assert followed == list(range(9 * epochs))  # before the step is counted
    return loop.finished()


def test_losses_read_late_give_the_same_history(data: DeviceData) -> None:
    at_once, late = (train(data, device).history for device in ("cpu", "meta"))
    assert [row.model_dump(exclude={"seconds"}) for row in at_once] == [
        row.model_dump(exclude={"seconds"}) for row in late]
    assert all(row.train_accuracy is not None for row in late)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("step, epoch", [(1, 1), (7, 1), (13, 2)])
def test_a_loss_read_late_still_names_its_own_step(data: DeviceData, device: str, step: int, epoch: int) -> None:
    with pytest.raises(Diverged) as caught:
        train(data, device, step)
    assert (caught.value.step, caught.value.epoch, len(caught.value.history)) == (step, epoch, epoch - 1)


def test_each_epoch_has_its_own_order_and_numbers_and_sees_the_whole_validation_split(data: DeviceData) -> None:
    """Losses are the numbers of the steps; all, none and half of the predictions are right, epoch by epoch."""
    recipe = dataclasses.replace(TASKS["1.2.2"].default_recipe("digits"), epochs=3, batch_size=30)
    model, validated = nn.Linear(1, 1), []
    loop = Loop(recipe, dataclasses.replace(data, train=data.train[:300]), CPU, {"encoder": model})
    orders: list[list[int]] = []

    def loss_of(index: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        orders[-1] += index.tolist()
        right = torch.arange(len(index)) < (30, 0, 15)[loop.progress.epoch - 1]
        return model.weight.sum() * 0 + loop.progress.step + 1, right

    def validation(index: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
        validated[-1] += index.tolist()
        return index.float().mean(), index % 2 == 0

    for _ in loop.epochs():
        orders.append([])
        validated.append([])
        for index in loop.batches():
            loop.step(loss_of, index)
        loop.end_epoch(validation)
    rows = loop.finished().history
    assert [(row.epoch, row.step, row.train_loss, row.train_accuracy) for row in rows] == [
        (1, 10, 5.5, 1.0), (2, 20, 15.5, 0.0), (3, 30, 25.5, 0.5)]
    for i, order in enumerate(orders):
        assert sorted(order) == data.train[:300].tolist() and order not in orders[:i]
        assert sorted(validated[i]) == data.val.tolist()
        assert rows[i].val_loss == pytest.approx(data.val.float().mean().item())
        assert rows[i].val_accuracy == (data.val % 2 == 0).float().mean()


def test_a_pipe_gets_every_tenth_epoch_and_the_last_and_one_estimate(data: DeviceData, capsys) -> None:
    train(data, "cpu", epochs=12)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines if line.startswith("epoch")] == ["10/12", "12/12"]
    assert len([line for line in lines if line.startswith("estimated ")]) == 1


@pytest.mark.parametrize("slowdown, words", [(1.0, "53.0 s"), (2.0, "1 min 33 s")])
def test_the_estimate_is_time_so_far_steps_left_and_scoring(slowdown, words, data, monkeypatch, capsys) -> None:
    loop = Loop(TASKS["1.2.2"].default_recipe("digits"), data, CPU, {"encoder": nn.Linear(64, 10)})
    loop.steps, loop.progress.step, loop.started, loop.slowdown = 100, 20, 100.0, slowdown
    loop.timed_from = 10, 100.0, 0.0
    monkeypatch.setattr("training.loop.time.monotonic", lambda: 105.0)  # half a second per step
    monkeypatch.setattr("training.loop.time.process_time", lambda: 2.5)  # of which it waited for half
    monkeypatch.setattr("training.loop.expected_seconds", lambda *_: 4.0)
    loop._estimate()
    loop._estimate()
    assert capsys.readouterr().out == f"estimated {words} in all, with scoring\n"
