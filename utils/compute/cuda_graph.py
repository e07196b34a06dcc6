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


class Replayed:
    """A function of a tensor of indices and of constants, on CUDA, that runs as a graph from its second call on.

    The first call with certain constants runs the function itself, which also allocates what it keeps (the optimiser's
    averages, the libraries' workspaces); the second captures it.  The function may not wait for the GPU, copy from the
    CPU's memory, or depend on anything in Python but its arguments.  The next call overwrites the tensors it returns.
    generator: what it draws from.
    """

    def __init__(self, function: Callable[..., Outputs], generator: Generator) -> None:
        self.function, self.generator = function, generator
        self.stream = torch.cuda.Stream(generator.device)
        self.seen: set[Any] = set()
        self.graphs: dict[Any, tuple[torch.cuda.CUDAGraph, Tensor, Outputs]] = {}

    def __call__(self, index: Tensor, *constants: Any) -> Outputs:
        """index: (B,) int64; constants: hashable."""
        key = (len(index), *constants)
        if key not in self.seen:
            self.seen.add(key)
            return self._directly(index, *constants)
        if key not in self.graphs:
            self.graphs[key] = self._captured(index, *constants)
        graph, static_index, outputs = self.graphs[key]
        static_index.copy_(index)
        graph.replay()
        return outputs

    def _directly(self, index: Tensor, *constants: Any) -> Outputs:
        """Run the function on the stream on which it will be captured: autograd remembers a weight's first stream."""
        current = torch.cuda.current_stream()
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            outputs = self.function(index, *constants)
        current.wait_stream(self.stream)
        return outputs

    def _captured(self, index: Tensor, *constants: Any) -> tuple[torch.cuda.CUDAGraph, Tensor, Outputs]:
        """The function's kernels; capturing runs none of them."""
        graph, static_index = torch.cuda.CUDAGraph(), index.clone()
        graph.register_generator_state(self.generator)
        pool = next(iter(self.graphs.values()))[0].pool() if self.graphs else None
        try:
            with torch.cuda.graph(graph, pool=pool, stream=self.stream):
                outputs = self.function(static_index, *constants)
        except RuntimeError as error:
            raise RunError(f"this step cannot be captured as a CUDA graph ({str(error).splitlines()[0]}); "
                           "--no-cuda-graph trains without one") from error
        return graph, static_index, outputs
