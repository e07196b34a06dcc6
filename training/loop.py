"""Shared by the training scripts: epochs, batches, steps, validation, checkpoints, and their result.

rotation.py shows how a script uses it.  Under torchrun each process runs it (distributed.py): loop.batches() yields
this process's share of a batch, and only the first process validates, prints and writes.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from evaluation.scoring import expected_seconds
from models.encoders import Encoder, build_encoder
from models.saved import Saved
from training.checkpoints import Checkpoints, Progress
from utils.compute import distributed
from utils.compute.allocator import keeping_freed_memory
from utils.compute.cuda_graph import Batch, Outputs, Replayed
from utils.compute.optimiser import MasterOptimiser, schedule
from utils.compute.precision import DTYPES, cast
from utils.console import duration_in_words
from utils.errors import RunError, UsageError
from utils.images.on_device import DeviceData, evaluation_batch
from utils.recipe import LatentRecipe, Recipe
from utils.records.schema import Epoch

NOT_TRAINED = "none: the encoder was scored as it was"
ESTIMATE_AFTER = 5.0  # seconds of training from which the total time is estimated, or one epoch if shorter
PRINTED_EPOCHS = 10  # without a terminal, every so many epochs are printed
READ_EVERY = 50  # on a GPU, steps between two readings of the losses: reading waits for the GPU
# (index, generator, *constants) -> mean loss, and (B,) bool: which predictions are right; None if nothing is predicted
LossFunction = Callable[..., tuple[Tensor, Tensor | None]]


@dataclass(frozen=True)
class Setup:
    """A run's settings outside the recipe.

    conv_gflops: the start-up measurement, GFLOP/s by precision; cuda_graph: whether a GPU runs a step as one graph.
    """

    device: torch.device
    precision: str
    conv_gflops: dict[str, float]
    seed: int
    quick: bool = False
    init: Saved | None = None  # the run whose encoder this one starts from
    checkpoints: Checkpoints | None = None  # None: the run cannot be resumed
    cuda_graph: bool = True


@dataclass
class Trained:
    """The result of a training script.  modules: by name, in float32 and eval mode; the encoder is "encoder"."""

    modules: dict[str, nn.Module]
    history: list[Epoch]
    objective: str
    steps: int
    flops: float

    def then(self, second: "Trained") -> "Trained":
        """Two stages as one training: the second's modules, and both histories in turn."""
        epochs, seconds = len(self.history), self.history[-1].seconds if self.history else 0.0
        continued = [row.model_copy(update={"epoch": epochs + row.epoch, "step": self.steps + row.step,
                                        "seconds": seconds + row.seconds}) for row in second.history]
        objective = f"{self.objective}; then {second.objective}" if self.history else second.objective
        return Trained(second.modules, self.history + continued, objective, self.steps + second.steps,
                       self.flops + second.flops)


class Diverged(RunError):
    """The loss is no longer a finite number.  flag: what to lower."""

    def __init__(self, loss: float, epoch: int, step: int, history: list[Epoch],
                 flag: str = "--learning-rate") -> None:
        super().__init__(f"the loss is {loss} at step {step}, epoch {epoch}: try a lower {flag}")
        self.loss, self.epoch, self.step, self.history = loss, epoch, step, history


def new_encoder(recipe: LatentRecipe, data: DeviceData, setup: Setup, readout: bool = True) -> Encoder:
    """The recipe's encoder on the device, with weights from the run's seed and statistics from training images.

    With --init: the weights and statistics of that run's encoder.  readout: False if the training script itself fits
    the readout, to all images.
    """
    torch.manual_seed(setup.seed)
    encoder = build_encoder(recipe.encoder, data.image_shape, recipe.widths, recipe.latent_dim, recipe.pooling)
    encoder.to(setup.device)
    if setup.init is None:
        images = data.sample(encoder.images_to_fit or len(data.train))
        encoder.fit_to_data(images)
        if readout:
            encoder.fit_readout(images.split(evaluation_batch(data.image_shape)))
    else:
        encoder.load_state_dict(setup.init.encoder.state_dict())
    return encoder


class Loop:
    """Epochs, shuffled batches, schedule, optimiser, progress and history of one training.

    modules: everything that is trained, by name; they are moved to the device and to the compute precision here.
    """

    def __init__(self, recipe: Recipe, data: DeviceData, setup: Setup, modules: dict[str, nn.Module]) -> None:
        self.recipe, self.data, self.setup, self.modules = recipe, data, setup, modules
        self.device = setup.device
        self.dtype = DTYPES[setup.precision]
        # one generator for all randomness on the device: shuffling and augmentation
        self.generator = Generator(self.device).manual_seed(setup.seed)
        self.network = nn.ModuleDict(modules)
        self.network.to(self.device).to(memory_format=torch.channels_last)
        exact = [weight.detach().clone() for weight in self.network.parameters()]
        cast(self.network, self.dtype)
        self.optimiser = MasterOptimiser(self.network, recipe.learning_rate, recipe.weight_decay,
                                         recipe.muon_learning_rate, exact)
        distributed.share_norms(self.network)
        world = distributed.world_size()
        if len(data.train) < 2 * world:
            raise UsageError(f"{len(data.train)} training images are too few for {world} processes; start fewer")
        # plan.py has checked that the processes can divide the recipe's batch
        self.batch_size = min(recipe.batch_size, len(data.train) // world * world)  # summed over processes
        self.steps_per_epoch = len(data.train) // self.batch_size  # the last, smaller batch is dropped
        self.steps = recipe.epochs * self.steps_per_epoch
        self.flops = 0.0  # of the whole training, see count_flops()
        self.slowdown = 1.0  # of a mean step relative to the first ones
        self.timed_from: tuple[int, float, float] | None = None  # step, clock and CPU time; later steps are timed
        self.estimated = False
        self.progress = Progress(epoch=1, position=0, step=0, losses=[], correct=0, seen=0, learning_rate=0.0,
                                 history=[], seconds=0.0)
        self.order: Tensor | None = None  # shuffled training images of the epoch
        self.unread: list[Outputs] = []  # losses and which predictions were right, of the last steps, on the device
        self.kept: dict[str, Tensor] = {}
        self.checkpoints = setup.checkpoints
        self.checkpoint_due = False  # agreed across processes at the last step
        self.some_unused = False  # whether the loss does not depend on some of the weights, see count_flops()
        # makes a loss function data-parallel, once
        self.averaged = cache(lambda function: distributed.averaged(self.network, function, self.some_unused))
        self.replayed: Replayed | None = None
        if self.checkpoints:
            self.checkpoints.stage += 1  # 1, then 2 for the training that follows in the same run
            self.checkpoints.written = time.monotonic()

    def count_flops(self, loss_function: LossFunction, share: float = 1.0, once: float = 0.0,
                    first: float = 1.0) -> None:
        """Count the training's FLOPs, 2 x multiply-adds, by one forward and backward pass of two training images.

        The modules are in eval mode and the generator is a copy, so the training is not affected.  Two images are too
        few for Winograd's convolution, so the direct one is counted (utils/compute/convolution.py).  Small maps in
        bfloat16 on a CPU also count a product that only transposes: up to two percent too high.  Products whose size
        grows with the batch, in contrastive losses, are counted for two images: too low by less than a percent on MNIST
        and CIFAR-10, and by about six on digits.
        share, first: mean cost of a step, and cost of the first one, relative to the one counted; once: FLOPs spent
        before the first step.
        """
        generator = Generator(self.device)
        generator.set_state(self.generator.get_state())
        self.network.eval()
        before = {key: value.clone() for key, value in self.kept.items()}
        with FlopCounterMode(display=False) as counter:
            loss, _ = loss_function(self.data.train[:2], generator)
            gradients = torch.autograd.grad(loss, list(self.network.parameters()), allow_unused=True)
        self.some_unused = any(gradient is None for gradient in gradients)
        for key, value in before.items():
            self.kept[key].copy_(value)
        self.slowdown = share / first
        self.flops = share * counter.get_total_flops() / 2 * self.batch_size * self.steps + once

    def keep(self, name: str, tensors: dict[str, Tensor]) -> None:
        """Add further tensors that the next step depends on to the checkpoints; they are restored in place."""
        self.kept |= {f"{name}.{key}": value for key, value in tensors.items()}

    def epochs(self) -> Iterator[int]:
        """Epoch numbers from 1; prints the size of the training first and shows a progress bar on a terminal."""
        print(f"training: {self.recipe.epochs} epochs of {self.steps_per_epoch} steps, {self.flops:.2g} FLOP on "
              f"{self.device.type} in {self.setup.precision}", flush=True)
        self._restore()
        distributed.copy_first(self._tensors().values())  # data statistics differ in the last digit between machines
        self.started = time.monotonic() - self.progress.seconds
        with keeping_freed_memory(), tqdm(total=self.steps, initial=self.progress.step, unit="step", disable=None,
                                          file=sys.stderr, leave=False) as self.bar:
            while self.progress.epoch <= self.recipe.epochs:
                self.network.train()
                yield self.progress.epoch

    def batches(self) -> Iterator[Tensor]:
        """One epoch of indices into data.images, shuffled, (batch_size,) each, from the resumed position on.

        They are on the CPU if the images are streamed from there, else on the device: step() takes either.
        Under torchrun each process gets its share of the batch.  Checkpoints are written between two batches, where
        no step is in progress.
        """
        if self.order is None:
            self.order = torch.randperm(len(self.data.train), generator=self.generator, device=self.device)
        whole = self.data.order_of_epoch(self.data.train[self.order[: self.steps_per_epoch * self.batch_size]])
        batches = [distributed.share(batch) for batch in whole.split(self.batch_size)]
        self.data.read_ahead(batches[min(self.progress.position, len(batches) - 1)])
        while (position := self.progress.position) < len(batches):
            if self.checkpoints and (self.checkpoints.due() if distributed.world_size() == 1 else self.checkpoint_due):
                self._save(self.checkpoints)
            for following in batches[position + 1 : position + 2]:
                self.data.read_ahead(following)
            yield batches[position]
            self.progress.position += 1

    def step(self, loss_function: LossFunction, index: Tensor, *constants: Any,
             then: Callable[[], None] | None = None) -> None:
        """One optimiser step on a batch, with the loss function of (index, generator, *constants).

        Under torchrun, gradients are averaged over the processes.  then: called after each step.  On a GPU the step is
        captured as a graph, so that loss function and `then` run in Python only once for all steps with the same
        constants, which must be hashable.  Raises Diverged.
        """
        averaged = self.averaged(loss_function)

        def on_device(batch: Batch, *constants: Any) -> Outputs:
            self.data.hold(batch)
            loss, right = averaged(batch[0], self.generator, *constants)
            self.optimiser.step(loss)
            if then:
                then()
            return loss.detach(), right

        scale = schedule(self.progress.step, self.steps, self.recipe.warmup)
        self.optimiser.scale_learning_rate(scale)
        if self.device.type == "cuda" and self.setup.cuda_graph and distributed.world_size() == 1:
            self.replayed = self.replayed or Replayed(on_device, self.generator)
            loss, right = self.replayed(self.data.batch(index), *constants)
            loss, right = loss.clone(), None if right is None else right.clone()  # the next step overwrites them
        else:
            loss, right = on_device(self.data.batch(index), *constants)
        self.progress.step += 1
        self.progress.learning_rate = scale * self.recipe.learning_rate
        self.unread.append((loss, right))
        if self.device.type == "cpu" or distributed.world_size() > 1 or len(self.unread) == READ_EVERY:
            self._read()
        self.bar.update()

    def _read(self) -> None:
        """Wait for the device, and add the last steps' losses to the epoch's.  Raises Diverged."""
        if not self.unread:
            return
        losses = torch.stack([loss for loss, _ in self.unread]).tolist()
        rights = [right for _, right in self.unread if right is not None]
        correct, seen = (int(torch.cat(rights).sum()), sum(map(len, rights))) if rights else (0, 0)
        if distributed.world_size() > 1:  # the processes also agree on whether a checkpoint is due
            due = bool(self.checkpoints and self.checkpoints.due())
            loss_sum, right, processes_due = distributed.total([losses[0], correct, due], self.device)
            losses[0], correct, self.checkpoint_due = loss_sum / distributed.world_size(), int(right), processes_due > 0
        self.unread, progress = [], self.progress
        for step, loss in enumerate(losses, progress.step - len(losses) + 1):
            self._check_finite(loss, step)
        progress.losses += losses
        progress.correct += correct
        progress.seen += seen * distributed.world_size()
        self.bar.set_postfix(epoch=progress.epoch, loss=f"{losses[-1]:.4f}", refresh=False)
        self._estimate()

    def _estimate(self, after: float = ESTIMATE_AFTER) -> None:
        """Print once, after `after` seconds, the total time: steps at the speed so far, scoring by a rule of thumb.

        Other programs slow the scoring down as much as they made the steps wait for the processor.
        """
        now = self.progress.step, time.monotonic(), time.process_time()
        self.timed_from = self.timed_from or now  # not from the start: the first steps are slower
        timed, clock, work = (here - there for here, there in zip(now, self.timed_from, strict=True))
        left = self.steps - self.progress.step
        if self.estimated or clock < after or left and not timed:
            return
        self.estimated = True
        seconds = self.seconds() + left * clock / max(1, timed) * self.slowdown
        tuned = self.recipe.finetune  # which has an estimate of its own
        waiting = max(1.0, clock / max(work, 1e-3))
        seconds += 0.0 if tuned else waiting * expected_seconds(self.modules, self.data, self.setup.quick)
        whole = "from here" if self.checkpoints and self.checkpoints.stage > 1 else "in all"
        self._print(f"estimated {duration_in_words(seconds)} {whole}, "
                    f"{'without fine-tuning and' if tuned else 'with'} scoring")

    @staticmethod
    def _print(line: str) -> None:
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()

    def _check_finite(self, loss: float, step: int) -> None:
        """Raise Diverged unless the loss is finite, naming the flag to lower: one cause is a decay above the weight."""
        if not math.isfinite(loss):
            decays = self.recipe.learning_rate * self.recipe.weight_decay > 1
            flag = "--learning-rate or --weight-decay" if decays else "--learning-rate"
            raise Diverged(loss, self.progress.epoch, step, self.progress.history, flag)

    @torch.no_grad()
    def validate(self, loss_function: LossFunction) -> tuple[float, float | None]:
        """Mean loss, and accuracy in [0, 1] or None, over the validation split, in eval mode.

        The generator is the same in every epoch, so all epochs are compared on the same augmented images.
        """
        self.network.eval()
        generator = Generator(self.device).manual_seed(0)
        losses, sizes, rights = list[Tensor](), list[int](), list[Tensor]()
        whole = self.data.order_of_epoch(self.data.val)
        batches = -(-len(whole) // min(evaluation_batch(self.data.image_shape), self.batch_size))
        for start in range(batches):
            index = whole[start::batches]  # a folder is sorted by class, but negatives must be mixed
            if len(index) < 2:  # one image alone has no negatives
                continue
            self.data.read_ahead(index)
            batch = self.data.batch(index)
            self.data.hold(batch)
            loss, right = loss_function(batch[0], generator)
            losses.append(loss)
            sizes.append(len(index))
            if right is not None:
                rights.append(right)
        total, values = 0.0, torch.stack(losses).tolist()  # read once, after the loop: reading waits for the GPU
        for value, size in zip(values, sizes, strict=True):  # not sum(), which rounds differently since Python 3.12
            total += value * size
        return total / sum(sizes), int(torch.cat(rights).sum()) / sum(sizes) if rights else None

    def end_epoch(self, validation_loss: LossFunction) -> None:
        """Validate, in the first process, and add the epoch's row to the history.  Raises Diverged."""
        val_loss, val_accuracy = distributed.from_first(lambda: self.validate(validation_loss))
        self._read()
        done = self.progress
        self._check_finite(val_loss, done.step)
        row = Epoch(epoch=done.epoch, step=done.step, lr=done.learning_rate,
                    train_loss=sum(done.losses) / len(done.losses), val_loss=val_loss,
                    train_accuracy=done.correct / done.seen if done.seen else None, val_accuracy=val_accuracy,
                    seconds=self.seconds())
        self.progress = done.model_copy(update={"epoch": done.epoch + 1, "position": 0, "losses": [], "correct": 0,
                                                "seen": 0, "history": [*done.history, row]})
        self.order = None
        if self.checkpoints:  # first save: printing may fail on a full disk or a closed pipe
            self._save(self.checkpoints)
        accuracy = "" if row.val_accuracy is None else f", val accuracy {row.val_accuracy:.4f}"
        if sys.stdout.isatty() or row.epoch % PRINTED_EPOCHS == 0 or row.epoch == self.recipe.epochs:
            self._print(f"epoch {row.epoch:3d}/{self.recipe.epochs}  train loss {row.train_loss:.4f}, "
                        f"val loss {row.val_loss:.4f}{accuracy}, {duration_in_words(row.seconds)}")
        self._estimate(after=0.0)

    def seconds(self) -> float:
        """Seconds since the training started, without the time between an interruption and its resumption."""
        return time.monotonic() - self.started

    def _tensors(self) -> dict[str, Tensor]:
        """Every tensor that the next step depends on, without a copy; not the states of the random generators."""
        tensors = {f"module.{key}": value for key, value in self.network.state_dict().items()}
        tensors |= {f"kept.{key}": value for key, value in self.kept.items()}
        return tensors | {f"optimiser.{key}": value for key, value in self.optimiser.tensors().items()}

    def _save(self, checkpoints: Checkpoints) -> None:
        """Write a checkpoint.  Raises Interrupted afterwards if the run was asked to stop, and Diverged before."""
        self._read()
        self.progress.seconds = self.seconds()
        tensors = self._tensors() | {"random.loop": self.generator.get_state(), "random.torch": torch.get_rng_state()}
        if self.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.device)
        if self.order is not None:
            tensors["order"] = self.order
        checkpoints.save(self.progress, tensors)

    def _restore(self) -> None:
        """Resume from the last checkpoint, if there is one.  Raises RunError where it does not fit the code."""
        if self.checkpoints is None:
            return
        found = distributed.from_first(self.checkpoints.load)
        if found is None:
            return
        self.progress, tensors = found
        self.slowdown = 1.0  # the steps that are timed from here on are not the first ones
        self.optimiser.restore({key.removeprefix("optimiser."): value for key, value in tensors.items()
                                if key.startswith("optimiser.")})
        self.generator.set_state(tensors.pop("random.loop"))
        torch.set_rng_state(tensors.pop("random.torch"))
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors.pop("random.cuda"), self.device)
        order, own = tensors.pop("order", None), self._tensors()
        if {key: value.shape for key, value in own.items()} != {key: value.shape for key, value in tensors.items()}:
            raise RunError(f"{self.checkpoints.folder}: its checkpoint is of another version of the code; --fresh "
                           "starts over")
        with torch.no_grad():
            for key, value in own.items():
                value.copy_(tensors[key])
        self.order = None if order is None else order.to(self.device)

    def finished(self) -> Trained:
        """The trained modules, in float32 and eval mode, with their history."""
        self.optimiser.restore_float32()
        distributed.unshare_norms(self.network)
        self.network.eval()
        return Trained(self.modules, self.progress.history, self.recipe.objective, self.steps, self.flops)


