from pathlib import Path

import pytest

from tests.grading.helpers import DIGITS


@pytest.fixture
def rubric_file(tmp_path: Path) -> Path:
    path = tmp_path / "rubric.yaml"
    path.write_text(DIGITS)
    return path
