"""Where a run took place: the device, the processor, the versions, the commit."""

import os
import platform
import subprocess
from pathlib import Path

import numpy as np
import torch
import torchvision

from utils.compute import distributed
from utils.errors import UsageError
from utils.records.schema import Environment

SPEED_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")


def choose_device(name: str) -> torch.device:
    """auto: CUDA, else MPS, else CPU.  Raises UsageError for a device that this machine does not have."""
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device in present if present[device])
    if not present[name]:
        here = ", ".join(device for device, is_there in present.items() if is_there)
        raise UsageError(f"--device {name}: not available on this machine, which has: {here}")
    return torch.device(name)


def describe(device: torch.device, precision: str, conv_gflops: dict[str, float]) -> Environment:
    """The record's environment."""
    model, flags = _processor()
    commit, dirty = commit_of()
    return Environment(
        python=platform.python_version(), torch=str(torch.__version__), torchvision=str(torchvision.__version__),
        numpy=np.__version__, platform=platform.platform(terse=True),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        cpu=model, cpu_flags=flags, threads=torch.get_num_threads(),
        processes=distributed.world_size(), precision=precision,
        conv_gflops={name: round(speed, 1) for name, speed in conv_gflops.items()}, commit=commit, dirty=dirty)


def _processor() -> tuple[str, list[str]]:
    """Model name and the flags that matter for speed, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine(), []
    fields = dict(part.split("\t:", 1) for part in (line.replace("\t\t:", "\t:") for line in lines) if "\t:" in part)
    have = fields.get("flags", "").split()
    return fields.get("model name", platform.machine()).strip(), [flag for flag in SPEED_FLAGS if flag in have]


def commit_of(folder: Path = Path(__file__).parents[2]) -> tuple[str, bool | None]:
    """The code's commit, and whether tracked files differ from it; ("unknown", None) outside git."""
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True,
                              env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"}).stdout.strip()
    try:
        return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.CalledProcessError):
        return "unknown", None
