"""Where a run takes place: the device, the processor, the versions, the commit."""

import platform
from pathlib import Path

import numpy as np
import torch
import torchvision

from utils.compute import distributed
from utils.errors import UsageError
from utils.records.schema import Environment
from utils.version import commit_of, project_version

SPEED_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")


def choose_device(name: str) -> torch.device:
    """auto: CUDA, else MPS, else CPU.  Raises UsageError for a device that this machine does not have.

    On CUDA, float32 is then computed in float32, not in TF32 (10 bits), and by algorithms that repeat their results.
    """
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device in present if present[device])
    if not present[name]:
        here = ", ".join(device for device, is_there in present.items() if is_there)
        raise UsageError(f"--device {name}: not available on this machine, which has: {here}")
    if name == "cuda":
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True
    return torch.device(name)


def describe(device: torch.device, precision: str, conv_gflops: dict[str, float]) -> Environment:
    """The record's environment."""
    model, flags = _processor()
    commit, dirty = commit_of()
    return Environment.model_validate({
        "version": project_version(), "python": platform.python_version(), "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__), "numpy": np.__version__,
        "platform": platform.platform(terse=True),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cpu": model, "cpu_flags": flags, "threads": torch.get_num_threads(),
        "processes": distributed.world_size(), "precision": precision,
        "conv_gflops": {name: round(speed, 1) for name, speed in conv_gflops.items()}, "commit": commit,
        "dirty": dirty})


def _processor() -> tuple[str, list[str]]:
    """Model name, and which SPEED_FLAGS it has as far as the system says."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine(), []
    fields = dict(part.split("\t:", 1) for part in (line.replace("\t\t:", "\t:") for line in lines) if "\t:" in part)
    have = fields.get("flags", "").split()
    return fields.get("model name", platform.machine()).strip(), [flag for flag in SPEED_FLAGS if flag in have]
