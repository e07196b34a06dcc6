"""Latents of your own images: `python _main.py --embed RECORD --images folder:PATH --out latents.npz`."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from utils.console import plural, say
from utils.errors import RunError, UsageError, reason
from utils.files import write_atomically
from utils.images.folder_layout import find_files
from utils.records.schema import checkpoint_file, read_record

if TYPE_CHECKING:
    import torch

BATCH = 1000  # images that are decoded before they are encoded


def check_embedding(record: Path, folder: Path, out: Path) -> None:
    """Raise UsageError or RunError for all that can be checked before torch is imported."""
    if not folder.is_dir():
        raise UsageError(f"--images: there is no folder {folder}")
    found = find_files(folder)
    if not found.images:
        raise UsageError(f"--images: {folder} has no image files; left out: {found.left_out_in_words() or 'nothing'}")
    if out.exists():
        raise UsageError(f"--out {out}: already exists; name another file")
    checkpoint_file(record, read_record(record))


def embed_folder(record: Path, folder: Path, out: Path, device: "torch.device") -> int:
    """Write `latents` (N, latent_dim) float32 and `files` (N,), paths below the folder; returns N.

    Every image below the folder, in the order of its path, scaled to the size and channels that the encoder was trained
    on.  Images that cannot be read are named and left out.  Raises RunError.
    """
    import torch
    from tqdm import tqdm

    from evaluation.scores import encode
    from models.saved import load_saved
    from utils.images.chunks import raise_if_passing
    from utils.images.decoding import fitted_image, remarks_in_words

    found = find_files(folder)
    files, left_out = found.images, found.left_out_in_words() or "nothing"
    saved = load_saved(record)
    encoder = saved.encoder.to(device)
    channels, height, width = saved.record.data.image_shape
    say(f"{folder.name}: {plural(len(files), 'image')}; left out: {left_out}")
    latents: list[np.ndarray] = []
    names: list[str] = []
    remarks: list[tuple[str, str]] = []
    for start in tqdm(range(0, len(files), BATCH), unit="batch", disable=None, leave=False):
        images = []
        for file in files[start:start + BATCH]:
            try:
                image, found_remarks = fitted_image(file, height, width, channels)
                images.append(np.asarray(image).reshape(height, width, channels))
                names.append(file.relative_to(folder).as_posix())
                remarks += [(names[-1], remark) for remark in found_remarks]
            except Exception as error:  # Pillow raises a dozen kinds on a damaged file
                raise_if_passing(file, error)
                say(f"{file}: left out, cannot be read ({reason(error)})")
        if images:
            latents.append(encode(encoder, torch.from_numpy(np.stack(images)).to(device)).cpu().numpy())
    for line in remarks_in_words(remarks):
        say(f"{folder.name}: note: {line}")
    if not latents:
        raise RunError(f"{folder}: none of its {len(files)} images can be read")
    if out.exists():  # written in the meantime
        raise RunError(f"--out {out}: already exists; name another file")
    write_atomically(out, lambda file: np.savez_compressed(file, latents=np.concatenate(latents),
                                                           files=np.array(names)))
    return len(names)
