"""Where the memory of tensors comes from on a CPU: the C library's malloc, told to keep what a step gives back.

glibc asks the kernel anew for each block above 32 MiB and returns it when it is freed.  Every step of a training then
touches its activations for the first time, a page fault for each 4 KiB: a convolution's forward pass on a batch of
small images takes two to three times as long as on memory that the process already has (benchmarks/NOTES.md).
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4  # <malloc.h>
HIGHEST_THRESHOLD = 32 * 2**20  # bytes: what glibc's threshold rises to by itself, and so what is put back


@contextmanager
def keeping_freed_memory() -> Iterator[None]:
    """Freed blocks of every size stay with the process inside, and go back to the kernel at the end.

    Nothing happens where the C library is another than glibc, and nothing is kept of blocks above 64 MiB once an
    allocation of the calling thread has failed: glibc then gives the thread an arena that cannot hold them.
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
        set_option(M_TRIM_THRESHOLD, 2 * HIGHEST_THRESHOLD)  # as glibc has it to the other
        trim(0)
