"""Whole commands under torchrun: a killed worker, signals, errors, and two hosts with a network between them."""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.faults.harness import DEADLINE
from tests.faults.test_parallel import ROUNDING, apart

ROOT = Path(__file__).parent.parent.parent
TORCHRUN = [sys.executable, "-m", "torch.distributed.run"]
HERE = [*TORCHRUN, "--standalone", "--nproc-per-node", "2"]
# 62 steps, a checkpoint after each
RUN = ["_main.py", "--task", "1.2.3", "--dataset", "digits", "--quick", "--precision", "float32", "--batch-size", "16",
       "--checkpoint-minutes", "0"]
NAME = "1.2.3_digits_simclr_seed0_*_quick"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
# run by every Python at its start: after a restart one process starts later than the other, which then finds the
# address of that process's dead predecessor in torchrun's store
LATE = """
import os, time
if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0" and os.environ.get("RANK") == os.environ["LATE_RANK"]:
    time.sleep(5)
"""


def workers(agent: subprocess.Popen) -> list[int]:
    """Process ids of torchrun's workers."""
    return [int(pid) for pid in Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()]


def outcome(folder: Path) -> tuple[list, dict, dict]:
    (path,) = folder.glob(f"{NAME}.json")
    record = json.loads(path.read_text())
    rows = [{key: value for key, value in row.items() if key != "seconds"} for row in record["history"]]
    assert record["environment"]["processes"] == 2
    return rows, record["metrics"], load_file(path.with_suffix(".safetensors"))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds torchrun's workers in /proc")
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_worker_restarts_and_ends_with_the_same_record(victim: int, tmp_path: Path) -> None:
    subprocess.run([*HERE, *RUN, "--results-dir", str(tmp_path / "whole")], cwd=ROOT, env=ENVIRONMENT, check=True,
                   timeout=400, stdout=subprocess.DEVNULL)
    (tmp_path / "late").mkdir()
    (tmp_path / "late" / "sitecustomize.py").write_text(LATE)
    environment = ENVIRONMENT | {"PYTHONPATH": str(tmp_path / "late"), "LATE_RANK": str(victim)}
    with (tmp_path / "log").open("w") as log:
        agent = subprocess.Popen([*HERE, "--max-restarts", "1", *RUN, "--results-dir", str(tmp_path / "killed")],
                                 cwd=ROOT, env=environment, stdout=log, stderr=log)
    until = time.monotonic() + 200
    while not list((tmp_path / "killed").glob("*.unfinished/stage1-step0000000[1-5]?.json")):
        assert time.monotonic() < until and agent.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.02)
    os.kill(workers(agent)[victim], signal.SIGKILL)
    while agent.poll() is None and time.monotonic() < until:
        time.sleep(0.1)
    if agent.poll() is None:  # it hangs
        for process in (*workers(agent), agent.pid):
            os.kill(process, signal.SIGKILL)
    assert agent.wait() == 0, (tmp_path / "log").read_text()
    assert "resuming from stage1-step" in (tmp_path / "log").read_text()
    (rows, metrics, weights), (rows_killed, metrics_killed, weights_killed) = map(outcome, (tmp_path / "whole",
                                                                                            tmp_path / "killed"))
    assert rows == rows_killed and metrics == metrics_killed
    assert all(torch.equal(weights[name], weights_killed[name]) for name in weights | weights_killed)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds torchrun's workers in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_torchrun_leaves_a_checkpoint_from_which_the_run_resumes(number: int, tmp_path: Path) -> None:
    command = [*HERE, *RUN, "--results-dir", str(tmp_path / "results")]
    with (tmp_path / "log").open("w") as log:
        agent = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=log, stderr=log,
                                 preexec_fn=lambda: signal.signal(number, signal.SIG_DFL))  # ignored, as under nohup
    until = time.monotonic() + DEADLINE
    while not list((tmp_path / "results").glob("*.unfinished/stage1-step*.json")):
        assert time.monotonic() < until and agent.poll() is None, (tmp_path / "log").read_text()
        time.sleep(0.02)
    processes = workers(agent)
    agent.send_signal(number)
    assert agent.wait(DEADLINE) == 1
    said = (tmp_path / "log").read_text()
    assert said.count(f"{signal.Signals(number).name}: stopping after this step") == 1
    assert said.count("the same command resumes from it") == 1 and "_main.py\", line" not in said
    assert len(processes) == 2 and not any(Path(f"/proc/{process}").exists() for process in processes)
    subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, check=True, timeout=DEADLINE, stdout=subprocess.DEVNULL)
    (path,) = (tmp_path / "results").glob(f"{NAME}.json")
    assert json.loads(path.read_text())["run"]["resumed"] == 1


def test_processes_with_different_seeds_are_refused(tmp_path: Path) -> None:
    words = [sys.executable, *RUN, "--results-dir", str(tmp_path), "--seed"]
    done = subprocess.run([*HERE, "--no-python", "sh", "-c", f"exec {shlex.join(words)} $RANK"], cwd=ROOT,
                          env=ENVIRONMENT, capture_output=True, text=True, timeout=DEADLINE)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "the same command" in line and "seed0" in line and "seed1" in line
    assert not list(tmp_path.glob("[!.]*"))


def test_an_error_is_said_once_and_is_the_reason_in_torchrun_s_report(tmp_path: Path) -> None:
    done = subprocess.run([*HERE, *RUN, "--batch-size", "15", "--results-dir", str(tmp_path)], cwd=ROOT,
                          env=ENVIRONMENT, capture_output=True, text=True, timeout=DEADLINE)
    ours, _, report = done.stderr.partition("_main.py FAILED")
    assert ours.count("error: --batch-size 15: is shared by 2 processes") == 1
    assert "traceback : error: --batch-size 15: is shared by 2 processes" in report
    assert "exitcode  : 2" in report and "_main.py\", line" not in done.stderr


@pytest.fixture
def hosts() -> Iterator[list[str]]:
    """Two network namespaces with a virtual cable between them, which torch takes for two hosts."""
    names, ip = [f"slr{os.getpid()}{end}" for end in "ab"], shutil.which("ip") or "/usr/sbin/ip"

    def do(*words: str) -> None:
        subprocess.run([ip, *words], check=True, capture_output=True, text=True)
    try:
        try:
            for name in names:
                do("netns", "add", name)
            do("link", "add", "slr0", "netns", names[0], "type", "veth", "peer", "name", "slr0", "netns", names[1])
        except (OSError, subprocess.CalledProcessError) as error:
            pytest.skip(f"this system lets nobody make network namespaces here: {getattr(error, 'stderr', error)}")
        for number, name in enumerate(names, start=1):
            do("-n", name, "address", "add", f"10.99.7.{number}/24", "dev", "slr0")
            do("-n", name, "link", "set", "slr0", "up")
            do("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            subprocess.run([ip, "netns", "delete", name], capture_output=True)


def test_two_hosts_across_a_network_are_one_process(hosts: list[str], tmp_path: Path) -> None:
    worker, cases = "tests/faults/parallel_worker.py", ["simclr", "joint", "denoising", "rotnet"]
    environment = ENVIRONMENT | {"GLOO_SOCKET_IFNAME": "slr0"}
    agents = []
    for number, host in enumerate(hosts):
        (tmp_path / host).mkdir()
        command = ["ip", "netns", "exec", host, *TORCHRUN, "--nnodes", "2", "--node-rank", str(number),
                   "--nproc-per-node", "1", "--master-addr", "10.99.7.1", "--master-port", "29500", worker,
                   str(tmp_path / host / "out.pt"), *cases]
        agents.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL,
                                       stderr=subprocess.PIPE, text=True))
    subprocess.run([sys.executable, worker, str(tmp_path / "one.pt"), *cases], cwd=ROOT, env=ENVIRONMENT, check=True,
                   stdout=subprocess.DEVNULL, timeout=400)
    for agent in agents:
        errors = agent.communicate(timeout=400)[1]
        assert agent.returncode == 0, errors
    one, two = torch.load(tmp_path / "one.pt"), torch.load(tmp_path / hosts[0] / "out.pt")
    assert two["processes"] == 2 and not (tmp_path / hosts[1] / "out.pt").exists()
    for case in cases:
        assert apart(one["results"][case], two["results"][case]) < ROUNDING
