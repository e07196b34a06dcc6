"""utils/records/environment.py: what else ran on the machine."""

import pytest

from utils.records import environment


def test_other_load_counts_busy_time_of_others_only(monkeypatch: pytest.MonkeyPatch) -> None:
    tick = 100  # of Linux
    stat = iter([f"cpu  {500 * tick} 0 {100 * tick} 9000 0 0 0 0 0 0\ncpu0",
                 f"cpu  {560 * tick} 0 {110 * tick} 9500 0 0 0 0"])
    own = iter([(40.0, 2.0, 0.0, 0.0, 0.0), (80.0, 2.0, 0.0, 0.0, 0.0)])
    monkeypatch.setattr(environment.Path, "read_text", lambda path: next(stat))
    monkeypatch.setattr(environment.os, "sysconf", lambda name: tick)
    monkeypatch.setattr(environment.os, "times", lambda: next(own))
    before = environment.work_of_others()
    assert environment.load_since(before, 50.0) == pytest.approx((70 - 40) / 50)  # 70 s of work, 40 s of them its own


def test_other_load_is_unknown_where_the_system_does_not_say(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(path: object) -> str:
        raise FileNotFoundError
    monkeypatch.setattr(environment.Path, "read_text", missing)
    assert environment.load_since(environment.work_of_others(), 1.0) is None
