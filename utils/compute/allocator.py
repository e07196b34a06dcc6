"""Keep freed memory in the process during training on a CPU (glibc mallopt).

By default glibc maps blocks above 32 MiB afresh and unmaps them when they are freed.  Every training step would then
page-fault its activations again, 4 KiB at a time: a convolution's forward pass on a batch of small images takes two to
three times as long as on memory that the process already has (benchmarks/NOTES.md).
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # <malloc.h>
HIGHEST_THRESHOLD = 32 * 2**20  # bytes: where glibc's own adaptation ends, and so what is restored


@contextmanager
def keeping_freed_memory() -> Iterator[None]:
    """Keep freed blocks of every size in the process, and return them to the kernel at the end.

    Does nothing with another C library than glibc.  Blocks above 64 MiB are no longer kept once an allocation of the
    calling thread has failed: glibc then gives the thread an arena that cannot hold them.
    """
    try:
        libc = ctypes.CDLL(None)
        set_option, trim = libc.mallopt, libc.malloc_trim
    except (AttributeError, OSError, TypeError):
        yield
        return
    set_option(M_MMAP_MAX, 0)
    set_option(M_TRIM_THRESHOLD, -1)  # never
    try:
        yield
    finally:
        set_option(M_MMAP_MAX, 65536)  # glibc's default
        set_option(M_MMAP_THRESHOLD, HIGHEST_THRESHOLD)
        set_option(M_TRIM_THRESHOLD, 2 * HIGHEST_THRESHOLD)  # glibc's ratio of the two
        trim(0)
