"""Freed memory stays with the process while it is asked to, and goes back to the kernel afterwards."""

import ctypes
import resource
from pathlib import Path

import pytest
import torch

from utils.allocator import keeping_freed_memory

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


@GLIBC
def test_freed_blocks_are_used_again_without_page_faults() -> None:
    anew = [faults_of_a_step() for _ in range(3)]
    with keeping_freed_memory():
        kept = [faults_of_a_step() for _ in range(5)]
    assert max(kept[-2:]) < min(anew) / 10


@GLIBC
def test_kept_memory_goes_back_at_the_end_even_after_an_error() -> None:
    before = resident()
    with pytest.raises(ZeroDivisionError), keeping_freed_memory():
        faults_of_a_step()
        assert resident() > before + sum(SIZES) / 2
        raise ZeroDivisionError
    assert resident() < before + sum(SIZES) / 10


def test_another_c_library_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    with keeping_freed_memory():
        pass
