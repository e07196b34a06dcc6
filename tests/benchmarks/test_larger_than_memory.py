"""The generated folder of images, and the memory limit."""

import subprocess
import sys
from pathlib import Path

from benchmarks import larger_than_memory
from utils.images.datasets import load_dataset


def test_the_generated_images_are_read_and_the_broken_ones_are_not(tmp_path: Path, capsys) -> None:
    larger_than_memory.make_images(tmp_path / "images", 60, 25, 32)
    for _ in range(2):  # built, then reused
        found = larger_than_memory.build(tmp_path, 85, 32, larger_than_memory.Limit("none", []))
    assert found == {}
    dataset = load_dataset(f"folder:{tmp_path / 'images'}", tmp_path / "data", 32)
    assert sum(map(sum, dataset.class_counts().values())) == 60 and dataset.classes == larger_than_memory.SHAPES
    assert len(next((tmp_path / "data").glob("*/unreadable.txt")).read_text().splitlines()) == 25
    assert "exists already" in capsys.readouterr().out


def test_a_process_under_the_limit_cannot_allocate_more(capsys) -> None:
    words = [sys.executable, "-c", "import sys; x = b'x' * (int(sys.argv[1]) << 20)"]
    with larger_than_memory.memory_limit(256 << 20) as limit:
        assert subprocess.run([*limit.prefix, *words, "50"]).returncode == 0
        assert subprocess.run([*limit.prefix, *words, "600"], stderr=subprocess.DEVNULL).returncode != 0
    assert limit.group is None or not limit.group.exists()
