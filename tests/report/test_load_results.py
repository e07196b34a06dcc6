"""Which records are accepted."""

from pathlib import Path

import pytest

from report.load import check_known as CHECK_KNOWN
from report.load import load_results
from tests.factory import edit, make_record


def test_a_known_data_set_must_have_its_own_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("report.load.check_known", CHECK_KNOWN)
    make_record(tmp_path, dataset="mnist", n=50, epochs=1)
    make_record(tmp_path, dataset="folder-mine", n=50, epochs=1)
    loaded, rejected = load_results(tmp_path)
    assert [run.record.run.dataset for run in loaded] == ["folder-mine"]
    assert "data.sha256" in rejected[0].reason
    (tmp_path / "._a.json").write_bytes(b"\0\5\x16\7")  # which macOS puts on foreign disks
    assert len(load_results(tmp_path)[1]) == 1
    edit(make_record(tmp_path / "other", dataset="folder-mine", n=50, epochs=1), "run", "dataset", value="MNIST")
    assert load_results(tmp_path / "other")[0] == []
