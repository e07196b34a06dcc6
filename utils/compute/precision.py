"""The number format that the network computes in, chosen by a measurement.

bfloat16 is up to three times as fast as float32 on GPUs and on processors with AVX-512 bf16 or AMX, and up to 500 times
slower elsewhere.  So every run measures both at its start, and its record holds the speeds and the choice.
"""

import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from utils.compute.allocator import keeping_freed_memory

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
Convolution = Callable[[Tensor, Tensor], Tensor]  # (B, C, H, W) and (W, C, 3, 3) -> (B, W, H, W)


def measure_conv(device: torch.device, convolution: Convolution, threads: int | None = None) -> dict[str, float]:
    """Speed in GFLOP/s of a 3x3 convolution and its norm, forward and backward, channels last, in each number format.

    FLOPs are those of a direct convolution; Winograd's needs fewer.  The formats alternate and the best of five tries
    counts, so that a busy machine favours neither.  Memory is allocated as in training (allocator.py), since page
    faults slow some algorithms down more than others.  A format that the device does not support has speed 0.
    threads: of the CPU; None: as many as torch uses.
    """
    batch, width, size = 32 if device.type == "cpu" else 1024, 128, 16  # a GPU is not filled by fewer
    flops = 3 * 2 * batch * width * width * 9 * size * size  # forward, and backward to input and weight
    tries: dict[str, list[float]] = {name: [] for name in DTYPES}
    usual = torch.get_num_threads()
    torch.set_num_threads(threads or usual)
    with keeping_freed_memory():
        for _ in range(6):
            for name, dtype in DTYPES.items():
                tries[name].append(_time_conv(device, convolution, dtype, batch, width, size))
    torch.set_num_threads(usual)
    return {name: flops / min(seconds[1:]) / 1e9 for name, seconds in tries.items()}  # the first is the warm-up


def _time_conv(device: torch.device, convolution: Convolution, dtype: torch.dtype, batch: int, width: int,
               size: int) -> float:
    """Seconds of one forward and backward pass; infinite where the device does not support it."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, width, size, size, generator=generator)
    w = torch.randn(width, width, 3, 3, generator=generator)
    try:
        x = x.to(device, dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
        w = w.to(device, dtype).contiguous(memory_format=torch.channels_last).requires_grad_()
        scale = torch.ones(width, device=device)
        # dense, as in a network: the gradient of a sum has stride 0, with which norms are slow
        gradient = torch.ones_like(x)
        synchronise(device)
        start = time.perf_counter()
        y = convolution(x, w)
        F.batch_norm(y, None, None, scale, scale, training=True).backward(gradient)  # norms stay float32
        synchronise(device)
        return time.perf_counter() - start
    except (RuntimeError, TypeError):  # devices reject a format with either
        return float("inf")


def choose_precision(conv_gflops: dict[str, float]) -> str:
    """bfloat16 where it is clearly faster, else float32.  conv_gflops: on one thread.

    Several threads wait for each other.  Next to other programs, which slows both formats to the same speed, the choice
    would depend on what else runs, and with it the results.
    """
    return "bfloat16" if conv_gflops["bfloat16"] > 1.2 * conv_gflops["float32"] else "float32"


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has finished; a CPU always has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def cast(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Convert parameters to dtype in place, except for batch norms; buffers stay float32.  Returns the module."""
    for child in module.modules():
        if not isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            for parameter in child.parameters(recurse=False):
                parameter.data = parameter.data.to(dtype)
    return module


def at_least_float32(x: Tensor) -> Tensor:
    """bfloat16 to float32, for example for a softmax over hundreds of terms; float64 stays."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def stored_type(value: Tensor) -> torch.dtype:
    """The number format of a tensor in the file."""
    return torch.float16 if value.is_floating_point() and value.ndim > 1 else value.dtype


@torch.no_grad()
def round_as_saved(module: nn.Module) -> None:
    """Round the weights, in place, to the values that the file will hold."""
    for value in module.state_dict().values():
        value.copy_(value.to(stored_type(value)))
