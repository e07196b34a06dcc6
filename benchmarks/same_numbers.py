"""Train on two devices with the same initial weights, batches and random numbers, all of which come from the CPU."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Generator, Tensor, nn
from torch.overrides import TorchFunctionMode

from models.encoders import ENCODERS
from models.patches import PatchComponents
from training import loop

DRAWS = (torch.rand, torch.randn, torch.randint, torch.randperm)


class CpuGenerator(Generator):
    """A generator of the CPU that says it is one of another device.  device: what it says."""

    def __new__(cls, device: torch.device | str = "cpu") -> "CpuGenerator":
        return super().__new__(cls, "cpu")  # type: ignore[call-arg]  # torch's stub has only __init__

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.named = torch.device(device)

    @property
    def device(self) -> torch.device:  # type: ignore[override]  # torch's stub has an attribute, torch a property
        return self.named


class DrawnOnCpu(TorchFunctionMode):
    """What is drawn from a CpuGenerator is drawn on the CPU and copied to the device."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in DRAWS and isinstance(kwargs.get("generator"), CpuGenerator):
            return func(*args, **kwargs | {"device": "cpu"}).to(kwargs.get("device", "cpu"))
        return func(*args, **kwargs)


def fitted_on_cpu(fit: Callable[[nn.Module, Tensor], None]) -> Callable[[nn.Module, Tensor], None]:
    """fit_to_data on the CPU: the sign of an eigenvector may differ between devices."""
    def fit_to_data(module: nn.Module, images: Tensor) -> None:
        fit(module.cpu(), images.cpu())
        module.to(images.device)
    return fit_to_data


@contextmanager
def same_numbers() -> Iterator[None]:
    """Trainings in here do not depend on their device, except for rounding.  Not with a CUDA graph."""
    fitted: list[Any] = [*ENCODERS.values(), PatchComponents]
    originals = {kind: kind.fit_to_data for kind in fitted}
    with patch.object(loop, "Generator", CpuGenerator), DrawnOnCpu():
        for kind, fit in originals.items():
            kind.fit_to_data = fitted_on_cpu(fit)
        try:
            yield
        finally:
            for kind, fit in originals.items():
                kind.fit_to_data = fit
