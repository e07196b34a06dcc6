"""Checkpoints: the weights of a finished run, as safetensors (no pickle), float32, named MODULE.PARAMETER."""

from pathlib import Path

from safetensors.torch import save
from torch import nn

from utils.files import sha256_file, write_atomically
from utils.records.schema import Artifact


def save_checkpoint(path: Path, modules: dict[str, nn.Module]) -> Artifact:
    """Write parameters and buffers of each module, atomically; returns the file's name and digest."""
    tensors = {f"{name}.{key}": value.detach().cpu().contiguous()
               for name, module in modules.items() for key, value in module.state_dict().items()}
    write_atomically(path, lambda file: file.write(save(tensors)))
    return Artifact(name=path.name, sha256=sha256_file(path))
