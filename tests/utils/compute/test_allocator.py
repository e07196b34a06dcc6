"""Freed memory stays in the process inside the context, and goes back to the kernel afterwards."""

import ctypes
import multiprocessing
import resource
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from utils.compute.allocator import keeping_freed_memory
from utils.compute.precision import measure_conv

GLIBC = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library than glibc")
SIZES = tuple(size * 2**20 for size in (96, 64, 160))  # bytes of the blocks of a "step"


def faults_of_a_step() -> int:
    """Page faults while some blocks are taken, written to and freed."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for block in [torch.empty(size, dtype=torch.uint8) for size in SIZES]:
        block.fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def resident() -> int:
    """Bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def faults_without_and_with() -> tuple[list[int], list[int]]:
    """Page faults of some steps, and of some that keep what they free."""
    without = [faults_of_a_step() for _ in range(2)]
    with keeping_freed_memory():
        return without, [faults_of_a_step() for _ in range(15)]  # the first few fill gaps between other blocks


def faults_of_measured_convolutions() -> list[int]:
    """Page faults of each convolution that measure_conv() times; each allocates blocks as a step does."""
    faults = []

    def convolution(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        faults.append(faults_of_a_step())
        return F.conv2d(x, weight, padding=1)

    measure_conv(torch.device("cpu"), convolution)
    return faults


def resident_before_during_and_after_an_error() -> tuple[int, int, int]:
    """Bytes."""
    before = resident()
    with pytest.raises(ZeroDivisionError), keeping_freed_memory():
        faults_of_a_step()
        during = resident()
        raise ZeroDivisionError
    return before, during, resident()


@pytest.fixture(scope="module")
def fresh_process() -> Iterator[ProcessPoolExecutor]:
    """A process in which no allocation has failed yet: after a failure a thread's large blocks are no longer kept.

    Other tests in this process may have run out of memory on purpose.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


@GLIBC
def test_freed_blocks_are_reused_without_page_faults(fresh_process: ProcessPoolExecutor) -> None:
    without, kept = fresh_process.submit(faults_without_and_with).result()
    assert max(kept[-5:]) < min(without) / 10
    assert sum(kept) < 5 * min(without)  # over 15 steps: memory soon stops growing


@GLIBC
def test_kept_memory_goes_back_at_the_end_even_after_an_error(fresh_process: ProcessPoolExecutor) -> None:
    before, during, after = fresh_process.submit(resident_before_during_and_after_an_error).result()
    assert during > before + sum(SIZES) / 2
    assert after < before + sum(SIZES) / 10


def test_another_c_library_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    with keeping_freed_memory():
        pass


@GLIBC
def test_convolutions_are_timed_with_kept_memory(fresh_process: ProcessPoolExecutor) -> None:
    # with page faults Winograd's convolution can look slower than bfloat16's, which the run would then choose
    assert min(fresh_process.submit(faults_of_measured_convolutions).result()[1:]) < 100
