"""Data-parallel training over several processes started by `torchrun`; without it, everything here does nothing.

Each process trains the same network on its share of every batch, and together they do what one process does with the
whole batch: gradients are averaged (DistributedDataParallel), norms and contrastive losses see the whole batch, and
random numbers are drawn for all of it.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Generator, Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

from utils.command_line import processes
from utils.compute.precision import at_least_float32
from utils.errors import RunError, UsageError

T = TypeVar("T")
TIMEOUT = timedelta(days=2)  # the others wait while the first one downloads or scores; a dead one is noticed at once
_alone = False


def rank() -> int:
    """This process's number, from 0."""
    return dist.get_rank() if world_size() > 1 else 0


def world_size() -> int:
    """Number of processes that train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() and not _alone else 1


def is_first() -> bool:
    """Whether this is the process that prints, validates, scores and writes."""
    return rank() == 0


def restarts() -> int:
    """How often torchrun has restarted this command after a process died (--max-restarts)."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", 0))


@contextmanager
def joined(device: torch.device) -> Iterator[torch.device]:
    """Join the processes that torchrun started; yields the device of this one.

    Uses gloo on the CPU and NCCL on CUDA, with one GPU per process.  Raises UsageError for other devices and for
    restarts in which the processes could not find each other, RunError when another process has died.
    """
    if processes() == 1:
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
            raise RunError("another process of this run has died; the same command resumes from the last checkpoint"
                           ) from error
        raise
    finally:
        dist.destroy_process_group()


def _meet(backend: str) -> None:
    """Start the process group.

    torchrun keeps one store of addresses over all restarts, so a restarted process can read the address of a dead one,
    and then fails or waits for ever (pytorch issue 135712).  Hence each restart prefixes its keys with its number.
    Only the processes of one torchrun are sure to agree on that number, so several must not share the store.
    """
    if not restarts() or os.environ.get("TORCHELASTIC_USE_AGENT_STORE") != "True":
        dist.init_process_group(backend, timeout=TIMEOUT)
        return
    if os.environ.get("GROUP_WORLD_SIZE", "1") != "1":
        raise UsageError("--max-restarts: on several hosts it needs TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in the "
                         "environment of every torchrun; without it, give the command again")
    store = dist.PrefixStore(f"restart {restarts()}", next(dist.rendezvous("env://", timeout=TIMEOUT))[0])
    dist.init_process_group(backend, timeout=TIMEOUT, store=store, rank=int(os.environ["RANK"]),
                            world_size=int(os.environ["WORLD_SIZE"]))


def from_first(work: Callable[[], T]) -> T:
    """Do `work` in the first process only; all return its result, or raise its error."""
    if world_size() == 1:
        return work()
    outcome: list[Any] = list(attempt(work)) if is_first() else [None, None]
    dist.broadcast_object_list(outcome, src=0)
    result, error = outcome
    if error is not None:
        raise error
    return result


def first_then_others(work: Callable[[], T]) -> T:
    """Do `work` in the first process, then in the others, which find what the first one downloaded.

    Returns this process's result.  An error in any process is raised in all.
    """
    if world_size() == 1:
        return work()
    outcome: tuple[Any, Exception | None] = attempt(work) if is_first() else (None, None)
    dist.barrier()
    if not is_first():
        outcome = attempt(work)
    for error in gather_objects(outcome[1]):
        if error is not None:
            raise error
    return outcome[0]


def gather_objects(value: T) -> list[T]:
    """Every process's value, in the order of their ranks; for small objects."""
    if world_size() == 1:
        return [value]
    values = [value] * world_size()
    dist.all_gather_object(values, value)
    return values


def attempt(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """Do `work` as if this were the only process: (its result, None), or (None, an error that a user can cause)."""
    global _alone
    before, _alone = _alone, True
    try:
        return work(), None
    except (UsageError, RunError, OSError) as error:
        return None, error
    finally:
        _alone = before


def total(values: list[float], device: torch.device) -> list[float]:
    """Each value's sum over the processes."""
    summed = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(summed)
    return summed.tolist()


def copy_first(tensors: Iterable[Tensor]) -> None:
    """Overwrite these tensors with the first process's."""
    if world_size() > 1:
        for tensor in tensors:
            dist.broadcast(tensor.detach(), src=0)


def check_equal(facts: dict[str, Any]) -> None:
    """UsageError, in every process, unless all processes have the same facts; facts: JSON values by name."""
    first, *others = gather_objects(facts)
    for number, other in enumerate(others, start=1):
        for name, value in first.items():
            if other.get(name) != value:
                raise UsageError("all processes need the same command and the same images, but process 0 has "
                                 f"{name} {value}, and process {number} has {other.get(name)}")


def share(batch: Tensor) -> Tensor:
    """This process's rows of a batch, which are consecutive: (B, ...) -> (B / processes, ...)."""
    size = len(batch) // world_size()
    return batch[rank() * size: (rank() + 1) * size]


def draw(sampler: Callable[..., Tensor], shape: Iterable[int], generator: Generator) -> Tensor:
    """Random numbers by a sampler such as torch.rand, on the generator's device; shape: of this process's share.

    Every process draws for the whole batch and keeps its rows, so that all generators stay in the same state and an
    image gets the numbers that it would get in a single process.
    """
    rows, *rest = shape
    return share(sampler((rows * world_size(), *rest), generator=generator, device=generator.device))


class _Gather(torch.autograd.Function):
    """Concatenates all processes' rows; the gradient of a row is the sum of its gradients in all processes."""

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
    """(B / processes, D) in each process -> (B, D) in all of them, with gradients, in the order of the batch.

    Every process then computes the same loss of the whole batch.  The gradient is that of the sum of their losses;
    DistributedDataParallel divides it by the number of processes, which gives the gradient of the one loss.
    """
    return _Gather.apply(x.contiguous()) if world_size() > 1 else x


def whole_batch_norm(norm: BatchNorm, x: Tensor) -> Tensor:
    """norm(x) with the mean and variance of the whole batch; torch's SyncBatchNorm does not work on a CPU.

    Each process's mean and variance are gathered and combined (Chan et al. 1983), which stays accurate where the mean
    is large, unlike a sum of squares.
    """
    if not norm.training or world_size() == 1:
        return type(norm).forward(norm, x)
    axes = [0, *range(2, x.ndim)]
    column = (-1, *(1,) * (x.ndim - 2))
    variances, means = gather(torch.stack(torch.var_mean(at_least_float32(x), axes, correction=0))[None]).unbind(1)
    mean, variance = means.mean(0), variances.mean(0) + means.var(0, correction=0)  # (C,) each
    with torch.no_grad():
        count = x.numel() // x.shape[1] * world_size()
        assert norm.running_mean is not None and norm.running_var is not None  # every norm here keeps averages
        assert norm.num_batches_tracked is not None and norm.momentum is not None
        norm.running_mean.lerp_(mean, norm.momentum)
        norm.running_var.lerp_(variance * count / (count - 1), norm.momentum)
        norm.num_batches_tracked.add_(1)
    out = (at_least_float32(x) - mean.view(column)) * (variance + norm.eps).rsqrt().view(column)
    if norm.affine:
        out = out * norm.weight.view(column) + norm.bias.view(column)
    return out.to(x.dtype)


def share_norms(network: nn.Module) -> None:
    """Make the norms of a network see the whole batch, until unshare_norms()."""
    if world_size() > 1:
        for child in network.modules():
            if isinstance(child, BatchNorm):
                child.__dict__["forward"] = partial(whole_batch_norm, child)  # hides the class's


def unshare_norms(network: nn.Module) -> None:
    """Make them torch's own norms again."""
    for child in network.modules():
        child.__dict__.pop("forward", None)


class _Loss(nn.Module):
    """A loss function as a module that owns the network it trains."""

    def __init__(self, network: nn.Module, function: Callable[..., Any]) -> None:
        super().__init__()
        self.network, self.function = network, function

    def forward(self, *arguments: Any) -> Any:
        return self.function(*arguments)


def averaged(network: nn.Module, function: Callable[..., Any], some_unused: bool) -> Callable[..., Any]:
    """The loss function, such that its backward pass gives the network's parameters the processes' mean gradient.

    some_unused: whether the loss does not depend on some of the parameters.
    """
    if world_size() == 1:
        return function
    return nn.parallel.DistributedDataParallel(_Loss(network, function), forward_sync_buffers=False,
                                               find_unused_parameters=some_unused)
