"""The environment of a run: device, processor, versions, commit."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from utils.compute import distributed
from utils.errors import UsageError
from utils.records.schema import Environment
from utils.version import commit_of, project_version

SPEED_FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")


def choose_device(name: str) -> torch.device:
    """auto: CUDA, else MPS, else CPU.  Raises UsageError for a device that this machine does not have.

    On CUDA, float32 is then computed in float32, not in TF32 (10 bits), and by algorithms that repeat their results.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    present = [device for device, is_there in available.items() if is_there]
    name = present[0] if name == "auto" else name
    if name not in present:
        raise UsageError(f"--device {name}: not available on this machine, which has: {', '.join(present)}")
    if name == "cuda":
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True
    return torch.device(name)


def work_of_others() -> float | None:
    """CPU seconds that other programs have used since this machine started; None if the system does not report it."""
    try:
        fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
        user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in fields[:8])
        return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK") - sum(os.times()[:4])
    except (OSError, ValueError):
        return None


def load_since(work_before: float | None, seconds: float) -> float | None:
    """How many threads other programs kept busy, on average over the last `seconds`."""
    work = work_of_others()
    return None if work is None or work_before is None else max(0.0, round((work - work_before) / seconds, 2))


def describe(device: torch.device, precision: str, conv_gflops: dict[str, float]) -> Environment:
    """The record's environment; other_load is known only at the end of a run, see load_since."""
    model, flags = _processor()
    commit, dirty = commit_of()
    return Environment.model_validate({
        "version": project_version(), "python": platform.python_version(), "torch": str(torch.__version__),
        "torchvision": version("torchvision"), "numpy": np.__version__,  # importing it takes more than a second
        "platform": platform.platform(terse=True),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "cpu": model, "cpu_flags": flags, "threads": torch.get_num_threads(),
        "processes": distributed.world_size(), "precision": precision,
        "conv_gflops": {name: round(speed, 1) for name, speed in conv_gflops.items()},
        "other_load": None, "commit": commit, "dirty": dirty})


def _processor() -> tuple[str, list[str]]:
    """Model name, and which SPEED_FLAGS it has as far as the system says."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine(), []
    fields = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    have = fields.get("flags", "").split()
    return fields.get("model name", platform.machine()), [flag for flag in SPEED_FLAGS if flag in have]
