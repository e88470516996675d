"""Two ranks in one process, over real connections."""

import socket
import time

import pytest

from nemo_prorl.config.watchdog import WatchdogConfig
from nemo_prorl.errors import DataError
from nemo_prorl.telemetry.process_identity import ProcessIdentity
from nemo_prorl.vigil.beat import Beat
from nemo_prorl.vigil.line import Line, ports
from nemo_prorl.vigil.post import MainPost, RankPost
from nemo_prorl.vigil.verdict import failed
from tests.processes import environment_of_rank, free_port

BEAT = Beat("update", 3, 0.0, False, "here")
CONFIG = WatchdogConfig(silent_seconds=5, join_minutes=0.1)


@pytest.fixture
def main(monkeypatch):
    for name, value in environment_of_rank(0, 2, free_port()).items():
        monkeypatch.setenv(name, value)
    post = MainPost(CONFIG, 2, ProcessIdentity.own())
    yield post
    post.close()


@pytest.fixture
def rank(main, monkeypatch):
    """Rank 1, which the main one has heard."""
    post = RankPost(CONFIG, 1, ProcessIdentity.own())
    monkeypatch.setattr("nemo_prorl.vigil.line.time.sleep", lambda seconds: main.hear(0.0))  # it greets meanwhile
    assert post.beat(BEAT) is None
    monkeypatch.undo()
    assert until(main, lambda: 1 in main.seen) is None
    yield post
    post.close()


def until(post, has_come, seconds=20.0):
    """Hear until it has come; the verdict that came first, if any."""
    end = time.monotonic() + seconds
    while not has_come():
        if (verdict := post.hear(0.0)) is not None:
            return verdict
        assert time.monotonic() < end
        time.sleep(0.01)
    return None


def never():
    return False


def test_each_learns_where_the_other_is(main, rank):
    main.beat(Beat("rollout", 4, 0.0, True, "there"))
    assert until(rank, lambda: 0 in rank.seen) is None
    assert rank.seen[0].beat == Beat("rollout", 4, 0.0, True, "there")
    rank.beat(BEAT._replace(phase="checkpoint"))
    assert until(main, lambda: main.seen[1].beat.phase == "checkpoint") is None


def test_an_end_without_a_word_is_seen_at_once_and_one_with_a_word_is_none(main, rank):
    rank._line.connection.close()  # as the kernel does it after kill -9
    verdict = until(main, never)
    assert (verdict.kind, list(verdict.ranks)) == ("lost", [1])
    assert "in phase update after step 3" in verdict.text


def test_an_end_with_a_word_is_no_fault(main, rank):
    rank.say_done()
    rank.close()
    assert until(main, lambda: 1 not in main.seen) is None
    for _ in range(10):
        assert main.hear(1.0) is None
        time.sleep(0.01)
    assert main.beat(BEAT) is None


def test_the_main_ranks_end_is_seen_by_the_others(main, rank):
    main.beat(BEAT)
    assert until(rank, lambda: 0 in rank.seen) is None
    main._lines[1].connection.close()
    verdict = until(rank, never)
    assert (verdict.kind, list(verdict.ranks)) == ("lost", [0])
    main._lines.clear()


def test_a_failure_is_told_to_all(main, rank):
    told = failed(1, BEAT, DataError("torn"))
    rank.tell(told)
    rank.close()
    assert until(main, never) == told


def test_silence_is_counted_in_time_awake(main, rank):
    """The clock that decides is the caller's: a process that was suspended has not waited."""
    main.beat(BEAT)
    until(rank, lambda: 0 in rank.seen)
    main.hear(4.0)
    assert main.beat(BEAT) is None
    main.hear(2.0)
    assert list(main.beat(BEAT).ranks) == [1]
    rank._main.silent_seconds = 6.0
    assert list(rank.beat(BEAT).ranks) == [0]


def test_who_never_comes_is_missing_unless_all_have_met(main):
    main.hear(7.0)
    assert list(main.beat(BEAT).ranks) == [1]
    main.have_met = True
    assert main.beat(BEAT) is None


def test_strangers_are_not_taken_for_ranks(main):
    """One of another start, one that doesn't say of which, one that speaks something else, one that leaves again."""
    other_start, no_start = b'{"hello": "prorl of another run"}\n', b'{"rank": 1, "process": {}}\n'
    for said in (other_start, no_start, b"GET / HTTP/1.1\r\n\r\n", b""):
        stranger = socket.create_connection(main._door.getsockname(), 5)
        stranger.sendall(said)
        if not said:
            stranger.close()
        is_sent_away, end = not said, time.monotonic() + 20
        while not is_sent_away and time.monotonic() < end:
            assert main.hear(0.0) is None
            stranger.setblocking(False)
            try:
                is_sent_away = stranger.recv(100) == b""
            except BlockingIOError:
                time.sleep(0.01)
            except ConnectionError:
                is_sent_away = True
        assert is_sent_away
        stranger.close()
    assert list(main.seen) == []


def test_a_line_comes_whole_or_not_at_all():
    ours, theirs = map(Line, socket.socketpair())
    ours.connection.sendall(b'{"a": 1}\n{"b"')
    assert theirs.receive() == [{"a": 1}]
    ours.connection.sendall(b": 2}\n")
    assert theirs.receive() == [{"b": 2}]
    ours.send({"c": "x" * 3_000_000})  # more than the kernel keeps: nobody waits for it to be read
    ours.send({"d": 3})
    assert theirs.is_open
    ours.close()
    theirs.close()


def test_without_a_port_nobody_is_watched(monkeypatch):
    monkeypatch.delenv("MASTER_PORT", raising=False)
    assert ports(None) == []
    post = RankPost(CONFIG, 1, ProcessIdentity.own())
    post.hear(1e6)
    assert post.beat(BEAT) is None
    post.close()
