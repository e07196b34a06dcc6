"""Several processes as one: what data-parallel training needs of torch.distributed, under `torchrun`.

Each process trains the same network on its share of every batch, and all of them together do what one process does with
the whole batch: gradients are averaged (DistributedDataParallel), norms and contrasts see the whole batch (below), and
random numbers are drawn for all of it.  In a single process everything here does nothing.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Generator, Tensor, nn

from utils.compute.precision import at_least_float32
from utils.errors import RunError, UsageError

T = TypeVar("T")
TIMEOUT = timedelta(days=2)  # the others wait while the first one downloads or scores; a dead one is noticed at once
RENDEZVOUS = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # what torchrun sets for each process
_alone = False


# Who takes part


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() and not _alone else 1


def is_first() -> bool:
    """Whether this is the process that prints, validates, scores and writes."""
    return rank() == 0


def launched() -> bool:
    """Whether torchrun, or what sets the same variables, started this process as one of several."""
    return all(name in os.environ for name in RENDEZVOUS) and os.environ["WORLD_SIZE"] != "1"


def restarts() -> int:
    """How often torchrun has started this command again after a process had died (--max-restarts)."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))


@contextmanager
def joined(device: torch.device) -> Iterator[torch.device]:
    """Within it the processes that torchrun started work together; gives the device of this one.

    gloo on the CPU, NCCL on CUDA, where each process has a GPU of its own.  Raises UsageError for a device that cannot
    and for restarts in which the processes could not find each other, RunError where another process is gone.
    """
    if not launched():
        yield device
        return
    if device.type == "cuda":
        local, gpus = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
        if local >= gpus:
            raise UsageError(f"--nproc-per-node: more processes than the {gpus} GPUs here")
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    elif device.type != "cpu":
        raise UsageError(f"--device {device.type}: several processes work on cpu or cuda only")
    _meet("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    except RuntimeError as error:
        if isinstance(error, dist.DistError) or "gloo" in str(error) or "NCCL" in str(error):
            raise RunError("another process of this run is gone; the last checkpoint stands, and the same command goes "
                           "on from there") from error
        raise
    finally:
        dist.destroy_process_group()


def _meet(backend: str) -> None:
    """Start the process group.

    torchrun keeps one store of addresses over all restarts, so that a restarted process can read where a dead one
    listened, and fails or waits for ever (pytorch issue 135712).  So each restart has keys of its own.  Their number
    is only known to be alike in processes of one torchrun; several must not share that store.
    """
    store = None
    if restarts() and os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        if os.environ.get("GROUP_WORLD_SIZE", "1") != "1":
            raise UsageError("--max-restarts: on several hosts it needs TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in the "
                             "environment of every torchrun; without it, give the command again")
        store = dist.PrefixStore(f"restart {restarts()}", next(dist.rendezvous("env://", timeout=TIMEOUT))[0])
    whose = {} if store is None else {"rank": int(os.environ["RANK"]), "world_size": int(os.environ["WORLD_SIZE"])}
    dist.init_process_group(backend, timeout=TIMEOUT, store=store, **whose)


@contextmanager
def alone() -> Iterator[None]:
    """Within it this process works as if there were no others: it must not wait for what they do not do."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


# Decisions that all must take alike


def from_first(work: Callable[[], T]) -> T:
    """What `work` returns in the first process, where alone it is done, for all of them; what it raises, all raise."""
    if world_size() == 1:
        return work()
    outcome: list[Any] = [None, None]
    if is_first():
        with alone():
            outcome = attempt(work)
    received = list(outcome)
    dist.broadcast_object_list(received, src=0)
    if received[1] is not None:
        raise outcome[1] or received[1]
    return outcome[0] if is_first() else received[0]


def first_then_others(work: Callable[[], T]) -> T:
    """What `work` returns here, after the first process has done it: of what it fetches, the others find a copy.

    What it raises in any process, all raise.
    """
    if world_size() == 1:
        return work()
    outcome: list[Any] = [None, None]
    for turn in (is_first(), not is_first()):
        if turn:
            with alone():
                outcome = attempt(work)
        dist.barrier()
    for error in of_all(outcome[1]):
        if error is not None:
            raise error
    return outcome[0]


def of_all(value: T) -> list[T]:
    """What each process has to say, in the order of their numbers; for small things."""
    if world_size() == 1:
        return [value]
    values = [value] * world_size()
    dist.all_gather_object(values, value)
    return values


def attempt(work: Callable[[], T]) -> list[Any]:
    """[what it returns, None], or [None, the error] where that is one that a user can cause."""
    try:
        return [work(), None]
    except (UsageError, RunError, OSError) as error:
        return [None, error]


def total(values: Iterable[float], device: torch.device) -> list[float]:
    """Each value's sum over the processes."""
    values = list(values)
    if world_size() == 1:
        return values
    summed = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(summed)
    return summed.tolist()


def copy_first(tensors: Iterable[Tensor]) -> None:
    """Overwrite these tensors with the first process's."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor.detach(), src=0)


# The batch, of which each process has a share


def check_divides(batch_size: int) -> None:
    """UsageError unless the processes can share such batches evenly, two images each at least."""
    count = world_size()
    if count > 1 and (batch_size % count or batch_size < 2 * count):
        raise UsageError(f"--batch-size {batch_size}: is shared by {count} processes, so give a multiple of {count}, "
                         f"{2 * count} or more")


def share(batch: Tensor) -> Tensor:
    """This process's rows of a batch, (B, ...) -> (B / processes, ...); consecutive ones."""
    size = len(batch) // world_size()
    return batch[rank() * size: (rank() + 1) * size]


def rand(shape: Iterable[int], generator: Generator) -> Tensor:
    """As torch.rand, on the generator's device: this process's rows of what is drawn for the whole batch.

    Every process draws all of it, so that the generators stay alike and image i has the numbers that it has in one
    process.
    """
    return share(torch.rand(_whole(shape), generator=generator, device=generator.device))


def randn(shape: Iterable[int], generator: Generator) -> Tensor:
    """As torch.randn, see rand."""
    return share(torch.randn(_whole(shape), generator=generator, device=generator.device))


def randint(high: int, shape: Iterable[int], generator: Generator) -> Tensor:
    """As torch.randint, see rand."""
    return share(torch.randint(high, _whole(shape), generator=generator, device=generator.device))


def _whole(shape: Iterable[int]) -> tuple[int, ...]:
    rows, *rest = shape
    return rows * world_size(), *rest


class _Gather(torch.autograd.Function):
    """All processes' rows; the gradient of a row is the sum of what it gets in each of them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [torch.empty_like(x) for _ in range(world_size())]
        dist.all_gather(parts, x)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return share(gradient)


def gather(x: Tensor) -> Tensor:
    """(B / processes, D) of each process -> (B, D) in all of them, with gradients, in the order of the batch.

    A loss of the whole batch is then the same in each process.  The gradients sum up to that of the processes' losses'
    sum, which DistributedDataParallel divides by their number: what is left is the gradient of the one loss.
    """
    return _Gather.apply(x.contiguous()) if world_size() > 1 else x


# Norms over the whole batch


class _WholeBatch:
    """A batch norm whose mean and deviation are the whole batch's.  torch's SyncBatchNorm knows no CPU.

    Each process's mean and variance are gathered and combined (Chan et al. 1983): that stays exact where the mean is
    large, which a sum of squares does not.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or world_size() == 1:
            return super().forward(x)
        axes = [0, *range(2, x.ndim)]
        column = (-1, *(1,) * (x.ndim - 2))
        variances, means = gather(torch.stack(torch.var_mean(at_least_float32(x), axes, correction=0))[None]).unbind(1)
        mean, variance = means.mean(0), variances.mean(0) + means.var(0, correction=0)  # (C,) each
        with torch.no_grad():
            count = x.numel() // x.shape[1] * world_size()
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * count / (count - 1), self.momentum)
            self.num_batches_tracked.add_(1)
        out = (at_least_float32(x) - mean.view(column)) * (variance + self.eps).rsqrt().view(column)
        if self.affine:
            out = out * self.weight.view(column) + self.bias.view(column)
        return out.to(x.dtype)


class WholeBatchNorm1d(_WholeBatch, nn.BatchNorm1d):
    """nn.BatchNorm1d over the whole batch."""


class WholeBatchNorm2d(_WholeBatch, nn.BatchNorm2d):
    """nn.BatchNorm2d over the whole batch."""


WHOLE = {nn.BatchNorm1d: WholeBatchNorm1d, nn.BatchNorm2d: WholeBatchNorm2d}


def share_norms(modules: Iterable[nn.Module]) -> None:
    """Have the norms of these modules see the whole batch; in place, so that nobody who holds one has to know."""
    if world_size() > 1:
        _change_classes(modules, WHOLE)


def unshare_norms(modules: Iterable[nn.Module]) -> None:
    """Make them torch's own again."""
    _change_classes(modules, {whole: plain for plain, whole in WHOLE.items()})


def _change_classes(modules: Iterable[nn.Module], classes: dict[type, type]) -> None:
    for module in modules:
        for child in module.modules():
            child.__class__ = classes.get(type(child), type(child))  # the same attributes, another forward


# Gradients


class _Loss(nn.Module):
    """A loss function as a module that owns what it trains."""

    def __init__(self, modules: dict[str, nn.Module], function: Callable[..., Any]) -> None:
        super().__init__()
        self.trained, self.function = nn.ModuleDict(modules), function

    def forward(self, *arguments: Any) -> Any:
        return self.function(*arguments)


def averaged(modules: dict[str, nn.Module], function: Callable[..., Any]) -> Callable[..., Any]:
    """The loss function, after whose backward pass each parameter of the modules has the processes' mean gradient.

    In one process: the function itself.
    """
    if world_size() == 1:
        return function
    return nn.parallel.DistributedDataParallel(_Loss(modules, function), forward_sync_buffers=False)
