"""What the benchmarks share."""

import json
import math
from pathlib import Path

import pytest

from benchmarks import common


def test_the_json_file_is_replaced_completely_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for content in ({"a": 1}, {"b": 2}):
        common.write_json(path, content)
        assert json.loads(path.read_text()) == content
    with pytest.raises(ValueError):
        common.write_json(path, {"c": math.nan})
    assert json.loads(path.read_text()) == {"b": 2}
    assert [file.name for file in tmp_path.iterdir()] == ["a.json"]


def test_contestants_alternate_and_the_first_round_is_dropped(capsys) -> None:
    calls: list[str] = []

    def contestant(name: str, seconds: float) -> common.Contestant:
        def run() -> common.Timed:
            calls.append(name)
            return common.Timed(seconds * len(calls), 12)
        return common.Contestant(name, run)

    timings = common.round_robin([contestant("a", 1), contestant("b", 2)], 2)
    assert calls == ["a", "b"] * 3
    assert [[timed.seconds for timed in timings[name]] for name in "ab"] == [[3, 5], [8, 12]]
    assert common.spread(timings["a"]) == {"images_per_second": pytest.approx((4 + 2.4) / 2), "lowest": 2.4,
                                           "highest": 4, "rounds": [4, 2.4]}
    assert len(capsys.readouterr().out.splitlines()) == 3
