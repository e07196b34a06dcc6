"""Shares of a batch and their random numbers, as seen from one of several processes.

tests/faults/test_parallel.py trains with real processes of torchrun.
"""

from functools import partial

import pytest
import torch

from utils.compute import distributed
from utils.errors import UsageError


@pytest.fixture
def second_of_three(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    monkeypatch.setattr(distributed, "rank", lambda: 1)


def test_a_share_is_a_third_of_the_batch(second_of_three: None) -> None:
    assert distributed.share(torch.arange(12)).tolist() == [4, 5, 6, 7]


def test_random_numbers_are_this_process_s_rows_of_those_of_the_batch(second_of_three: None) -> None:
    def fresh() -> torch.Generator:
        return torch.Generator().manual_seed(3)
    assert torch.equal(distributed.draw(torch.rand, (4, 2), fresh()), torch.rand(12, 2, generator=fresh())[4:8])
    assert torch.equal(distributed.draw(torch.randn, (4, 2), fresh()), torch.randn(12, 2, generator=fresh())[4:8])
    assert torch.equal(distributed.draw(partial(torch.randint, 9), (4,), fresh()),
                       torch.randint(9, (12,), generator=fresh())[4:8])


@pytest.mark.parametrize("theirs, words", [
    ({"the runs": "a_seed1"}, "process 0 has the runs a_seed0, and process 2 has a_seed1"), ({}, "process 2 has None")])
def test_processes_with_different_commands_are_refused(theirs, words, second_of_three, monkeypatch) -> None:
    ours = {"the runs": "a_seed0"}
    monkeypatch.setattr(distributed, "gather_objects", lambda facts: [facts, ours, theirs])
    with pytest.raises(UsageError, match=words):
        distributed.check_equal(ours)
    monkeypatch.setattr(distributed, "gather_objects", lambda facts: [facts, ours, ours])
    distributed.check_equal(ours)


def test_a_single_process_keeps_the_whole_batch() -> None:
    x = torch.randn(4, 2)
    assert (distributed.world_size(), distributed.rank(), distributed.is_first()) == (1, 0, True)
    assert distributed.gather(x) is x and torch.equal(distributed.share(x), x)
    assert distributed.from_first(lambda: 5) == 5 and distributed.gather_objects("a") == ["a"]


def test_a_restart_on_several_hosts_names_the_setting_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"RANK": "0", "WORLD_SIZE": "4", "MASTER_ADDR": "localhost", "MASTER_PORT": "1",
                   "GROUP_WORLD_SIZE": "2",
                   "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "1"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with (pytest.raises(UsageError, match="TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 in the environment"),
          distributed.joined(torch.device("cpu"))):
        pass
