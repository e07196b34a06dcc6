"""A training step as one CUDA graph.

A step of the small networks here is hundreds of kernels of a few microseconds each, which Python launches more slowly
than a GPU runs them.  Captured once, they are launched together (benchmarks/NOTES.md has the gain).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

from utils.errors import RunError

Outputs = tuple[Tensor, Tensor | None]
Batch = tuple[Tensor, ...]


class Replayed:
    """A function of a batch's tensors and of constants, on CUDA, that runs as a graph from its second call on.

    The first call with certain constants runs the function itself, which also allocates what it keeps (the optimiser's
    averages, the libraries' workspaces); the second captures it.  The function may not wait for the GPU, copy from the
    CPU's memory, or depend on anything in Python but its arguments.  The next call overwrites the tensors it returns.
    generator: what it draws from.
    """

    def __init__(self, function: Callable[..., Outputs], generator: Generator) -> None:
        self.function, self.generator = function, generator
        self.stream = torch.cuda.Stream(generator.device)
        self.seen: set[Any] = set()
        self.graphs: dict[Any, tuple[torch.cuda.CUDAGraph, Batch, Outputs]] = {}

    def __call__(self, batch: Batch, *constants: Any) -> Outputs:
        """batch: tensors on the GPU, whose shapes follow from the length of the first; constants: hashable."""
        key = (len(batch[0]), *constants)
        if key not in self.seen:
            self.seen.add(key)
            return self._directly(batch, *constants)
        if key not in self.graphs:
            self.graphs[key] = self._captured(batch, *constants)
        graph, static, outputs = self.graphs[key]
        for read, values in zip(static, batch, strict=True):
            read.copy_(values)
        graph.replay()
        return outputs

    def _directly(self, batch: Batch, *constants: Any) -> Outputs:
        """Run the function on the stream on which it will be captured: autograd remembers a weight's first stream."""
        current = torch.cuda.current_stream()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            outputs = self.function(batch, *constants)
        current.wait_stream(self.stream)
        return outputs

    def _captured(self, batch: Batch, *constants: Any) -> tuple[torch.cuda.CUDAGraph, Batch, Outputs]:
        """The function's kernels, and the tensors that they read; capturing runs none of them."""
        graph, static = torch.cuda.CUDAGraph(), tuple(tensor.clone() for tensor in batch)
        graph.register_generator_state(self.generator)
        pool = next(iter(self.graphs.values()))[0].pool() if self.graphs else None
        try:
            with torch.cuda.graph(graph, pool=pool, stream=self.stream):
                outputs = self.function(static, *constants)
        except RuntimeError as error:
            raise RunError(f"this step cannot be captured as a CUDA graph ({str(error).splitlines()[0]}); "
                           "--no-cuda-graph trains without one") from error
        return graph, static, outputs
