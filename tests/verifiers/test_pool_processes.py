"""The processes of a pool: where they come from, and that none of them stays."""

import gc
import os
import subprocess
import sys
import tempfile
import textwrap
import time
from ast import literal_eval
from pathlib import Path

import psutil
import pytest

from nemo_prorl.errors import VerifierError
from nemo_prorl.verifiers import process

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


def processes():
    """All that this one has started, and what these have: the fork server and its workers, by number."""
    return {process.pid: process for process in psutil.Process().children(recursive=True)}


def gone_within(pids, seconds):
    until = time.monotonic() + seconds
    while any(map(is_alive, pids)) and time.monotonic() < until:
        time.sleep(0.05)
    return not any(map(is_alive, pids))


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def where(verdict):
    return literal_eval(verdict.reason)


@linux_only
def test_what_a_hanging_verifier_started_is_killed_with_it(open_pool, misbehaving, tmp_path):
    file = tmp_path / "child"
    prompt = misbehaving("HangsWithChild", {"file": str(file)})
    assert open_pool(deadline_seconds=1).submit(prompt, "text").result(30).outcome == "timeout"
    assert gone_within([int(file.read_text())], 2)


def test_a_worker_is_alone_and_light(open_pool, misbehaving, monkeypatch):
    """Its own session, no torch, no keys of ours."""
    monkeypatch.setenv("SOME_API_KEY", "secret")
    found = where(open_pool().submit(misbehaving("Where"), "text").result(30))
    assert found["pid"] == found["session"] != os.getsid(0)
    assert not found["torch"]
    assert found["secret"] is None


@linux_only
def test_many_verdicts_leave_no_zombie_no_descriptor_and_no_file(open_pool, misbehaving, tmp_path, monkeypatch):
    """3000 verdicts by confined and by other processes; every 15th ends its process, the others last 100 verdicts."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gc.collect()  # what tests before this one have left open closes now, not in the midst of it
    before, descriptors = processes().keys(), len(os.listdir("/proc/self/fd"))
    pool = open_pool(workers=2, verdicts_per_process=100)
    first = {name: pool.submit(misbehaving(name), "live").result(30) for name in ("DiesOnRequest", "WhereUnconfined")}
    assert {verdict.outcome for verdict in first.values()} == {"scored"}
    in_server = psutil.Process(min(processes().keys() - before))
    while_open = len(os.listdir("/proc/self/fd")), in_server.num_fds()
    texts = ["die" if i % 15 == 0 else "live" for i in range(3000)]
    names = ["DiesOnRequest" if i % 3 == 0 else "WhereUnconfined" for i in range(3000)]
    verdicts = [pool.submit(misbehaving(name), text) for name, text in zip(names, texts, strict=True)]
    outcomes = [verdict.result(60).outcome for verdict in verdicts]
    assert outcomes == ["error" if text == "die" else "scored" for text in texts]
    assert len(os.listdir("/proc/self/fd")) <= while_open[0] + 2  # the other thread's second process
    assert in_server.num_fds() <= while_open[1]
    assert len(processes().keys() - before) <= 1 + 2 * 2
    assert not [p for pid, p in processes().items() if pid not in before and p.status() == psutil.STATUS_ZOMBIE]
    pool.close()
    assert processes().keys() <= before
    assert len(os.listdir("/proc/self/fd")) == descriptors
    assert not list(tmp_path.iterdir())


def test_a_process_is_replaced_after_as_many_texts_as_it_may_judge(open_pool, misbehaving):
    pool = open_pool(workers=1, verdicts_per_process=10)
    futures = [pool.submit(misbehaving("Where"), "") for _ in range(25)]
    pids = [where(future.result(60))["pid"] for future in futures]
    assert [len(set(part)) for part in (pids[:10], pids[10:20], pids[20:])] == [1, 1, 1]
    assert len(set(pids)) == 3


def test_a_fresh_process_costs_milliseconds(open_pool, make_prompt):
    """An interpreter with sympy and reasoning-gym takes seconds to start; a process forked from one doesn't."""
    reference = {"dataset": "chain_sum", "entry": {"question": "1 + 2 =", "answer": "3", "metadata": {}}}
    prompt = make_prompt("logic", reference, "logic")
    pool = open_pool(workers=1, verdicts_per_process=1)
    assert pool.submit(prompt, "<answer>3</answer>").result(60).reward == 1.0
    begun = time.monotonic()
    futures = [pool.submit(prompt, "<answer>3</answer>") for _ in range(20)]
    assert [future.result(60).reward for future in futures] == [1.0] * 20
    assert time.monotonic() - begun < 10


@linux_only
def test_a_process_killed_while_it_waits_is_replaced_and_no_verdict_is_lost(open_pool, misbehaving):
    pool = open_pool()
    first = where(pool.submit(misbehaving("Where"), "").result(30))["pid"]
    os.kill(first, 9)
    assert gone_within([first], 5)
    verdict = pool.submit(misbehaving("Where"), "").result(30)
    assert verdict.outcome == "scored" and where(verdict)["pid"] != first


@linux_only
@pytest.mark.parametrize("how", ["os.kill(os.getpid(), 9)", "os._exit(0)", "raise SystemExit", "raise KeyError"])
def test_workers_die_with_their_parent_even_when_busy(how):
    program = textwrap.dedent(f"""
        import os, psutil, sys, time
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from nemo_prorl.data.prompt import Prompt
        from nemo_prorl.verifiers.pool import VerifierPool

        pool = VerifierPool(workers=2, deadline_seconds=60, max_error_rate=0.2, min_verdicts_to_judge=50)
        prompt = Prompt("u", "math", "t", "s", (), (1,), "verifiers_that_misbehave:Hangs", {{}})
        pool.submit(prompt, "text")  # one is busy, the other waits
        time.sleep(0.5)
        print(*[process.pid for process in psutil.Process().children(recursive=True)], flush=True)
        {how}
    """)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment, timeout=60)
    pids = [int(pid) for pid in ended.stdout.split()]
    assert len(pids) == 3, ended.stderr  # a fork server and two workers
    assert gone_within(pids, 5)


@linux_only
def test_a_fork_server_that_is_killed_is_started_again_and_no_verdict_is_lost(open_pool, misbehaving):
    before = processes().keys()
    pool = open_pool(workers=2)
    assert pool.submit(misbehaving("Where"), "").result(30).outcome == "scored"
    server = min(processes().keys() - before)
    futures = [pool.submit(misbehaving("Slow"), "") for _ in range(40)]
    time.sleep(0.2)
    os.kill(server, 9)
    assert {future.result(60).outcome for future in futures} == {"scored"}
    assert not is_alive(server)


@linux_only
def test_what_breaks_the_fork_server_is_named(open_pool, misbehaving):
    pool = open_pool()
    with pytest.raises(VerifierError, match=r"(?s)ends_at_import:Any' can't be made.*exit code 7.*no import for you"):
        pool.submit(misbehaving("ends_at_import:Any"), "text").result(60)
    with pytest.raises(VerifierError, match=r"starts_threads_at_import:Any' can't be made.*1 threads.*__init__"):
        pool.submit(misbehaving("starts_threads_at_import:Any"), "text").result(60)


@pytest.mark.parametrize("busy", ["with nothing", "in a worker", "in the fork server"])
def test_a_closed_pool_is_gone_at_once(open_pool, misbehaving, tmp_path, monkeypatch, busy):
    monkeypatch.setattr(process, "CLOSE_SECONDS", 60.0)
    is_busy = tmp_path / "is_busy"
    (tmp_path / "sleeps_at_import.py").write_text(
        f"import pathlib, time\npathlib.Path({str(is_busy)!r}).touch()\ntime.sleep(60)"
    )
    monkeypatch.syspath_prepend(tmp_path)
    before = processes().keys()
    pool = open_pool(workers=1, deadline_seconds=60)
    pool.submit(misbehaving("Where"), "text").result(30)
    if busy != "with nothing":
        pool.submit(misbehaving("Hangs" if busy == "in a worker" else "sleeps_at_import:Any"), "text")
        time.sleep(0.5)
    while busy == "in the fork server" and not is_busy.exists():
        time.sleep(0.01)
    begun = time.monotonic()
    pool.close()
    assert time.monotonic() - begun < 20
    assert processes().keys() <= before


class SilentServer:
    """Has forked something that never says a word."""

    def __init__(self, says=b""):
        self.says, self.kept, self.ended = says, [], []

    def fork(self, connection, confined):
        self.kept.append(connection.dup())
        self.kept[0].sendall(self.says)
        return 4711

    def end(self, pid):
        self.ended.append(pid)
        return "killed"


@pytest.mark.parametrize(
    ("says", "why"), [(b"", "not up after 0.2 s"), (b"\x04\x00\x00\x00what", "answered with Expecting")]
)
def test_a_worker_that_does_not_come_up_is_named_and_ended(monkeypatch, says, why):
    monkeypatch.setattr(process, "START_SECONDS", 0.2)
    server = SilentServer(says)
    with pytest.raises(VerifierError, match=f"a verifier process can't start: .*{why}"):
        process.WorkerProcess(server, confined=True, deadline_seconds=1.0)
    assert server.ended == [4711]
    server.kept[0].close()


def test_a_verifier_is_warmed_up_once_and_before_the_fork(open_pool, misbehaving):
    """Each process finds what `warm_up` has left, though none of them called it."""
    pool = open_pool(workers=2, verdicts_per_process=1)
    reasons = [pool.submit(misbehaving("WarmsUp"), "text").result(60).reason for _ in range(5)]
    warmed = {literal_eval(reason)["warmed_by"] for reason in reasons}
    judged = {literal_eval(reason)["pid"] for reason in reasons}
    assert len(warmed) == 1 and len(judged) == 5 and not warmed & judged
