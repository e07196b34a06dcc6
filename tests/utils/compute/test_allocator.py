"""Freed memory stays with the process while it is asked to, and goes back to the kernel afterwards."""

import ctypes
import multiprocessing
import resource
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
    anew = [faults_of_a_step() for _ in range(3)]
    with keeping_freed_memory():
        return anew, [faults_of_a_step() for _ in range(30)]  # the first few find room between what else lies there


def faults_of_measured_convolutions() -> list[int]:
    """Page faults of each convolution that measure_conv() times, which takes some blocks as a step does."""
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
def fresh_process():
    """A process in which no allocation has failed yet: after that, a thread's memory is no longer kept.

    Other tests, which fail for want of memory, may have run in the process of the tests.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        yield pool


@GLIBC
def test_freed_blocks_are_used_again_without_page_faults(fresh_process: ProcessPoolExecutor) -> None:
    anew, kept = fresh_process.submit(faults_without_and_with).result()
    assert max(kept[-10:]) < min(anew) / 10
    assert sum(kept) < 5 * min(anew)  # of 30 steps: it soon stops to grow


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
def test_the_speed_of_convolutions_is_measured_with_memory_that_is_kept(fresh_process: ProcessPoolExecutor) -> None:
    # on new memory Winograd's convolution can look slower than bfloat16's, which a training would then take
    assert min(fresh_process.submit(faults_of_measured_convolutions).result()[1:]) < 100
