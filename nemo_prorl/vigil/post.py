"""How ranks hear each other: all others the main rank, which judges, and the main rank all others."""

from __future__ import annotations

import logging
import os
import selectors
import socket
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Protocol

from nemo_prorl.config.watchdog import WatchdogConfig
from nemo_prorl.telemetry.process_identity import ProcessIdentity
from nemo_prorl.vigil.beat import Beat
from nemo_prorl.vigil.limits import PhaseLimits
from nemo_prorl.vigil.line import Line, connect, listen, ports, secret_of_start
from nemo_prorl.vigil.verdict import Seen, Verdict, absent, judged, lost

log = logging.getLogger(__name__)

CLOSING_SECONDS = 1.0


class Post(Protocol):
    """`have_met`: all ranks have come together, so that one that isn't heard can't be heard, and isn't missing."""

    have_met: bool

    @property
    def seen(self) -> Mapping[int, Seen]: ...

    def hear(self, seconds: float) -> Verdict | None:
        """What has come since; `seconds` have passed that this process was awake."""
        ...

    def beat(self, own: Beat) -> Verdict | None:
        """Say where this rank is, and judge what is known of the others."""
        ...

    def tell(self, verdict: Verdict) -> None:
        """To all that this rank hears."""
        ...

    def say_done(self) -> None:
        """This rank ends, and nobody has to mind."""
        ...

    def process_of(self, rank: int) -> ProcessIdentity | None: ...

    def close(self) -> None: ...


class _Other:
    """Another rank as it was last heard. It is silent for as long as this process itself was awake."""

    def __init__(self, process: Mapping[str, Any]) -> None:
        self.process = ProcessIdentity.from_json(process)
        self.beat: Beat | None = None
        self.silent_seconds = 0.0
        self.is_done = False

    def hear(self, line: Line, said: Iterable[Mapping[str, Any]], rank: int) -> Verdict | None:
        """Take in what it said, and see whether it is still there."""
        verdict = None
        for each in said:
            if "beat" in each:
                self.beat, self.silent_seconds = Beat(**each["beat"]), 0.0
            if "verdict" in each:
                verdict, self.is_done = verdict or Verdict.from_json(each["verdict"]), True
            if "done" in each:
                self.is_done = True
        if not line.is_open and not self.is_done:
            self.is_done = True
            return verdict or lost(rank, self.as_seen())
        return verdict

    def as_seen(self) -> Seen | None:
        return None if self.beat is None else Seen(self.beat, self.silent_seconds, str(self.process))


class MainPost:
    """The main rank's."""

    def __init__(self, config: WatchdogConfig, size: int, own: ProcessIdentity) -> None:
        self._config, self._size, self._own = config, size, own
        self.have_met, self._limits = False, PhaseLimits(config)
        self._door = listen(config.port) if size > 1 else None
        self._ready = selectors.DefaultSelector()
        self._lines: dict[int, Line] = {}
        self._others: dict[int, _Other] = {}
        self._own_seen: Seen | None = None
        self._seconds = 0.0
        if self._door is not None:
            self._ready.register(self._door, selectors.EVENT_READ)
        elif size > 1:
            log.warning("the ranks can't watch over each other: no port for it is free; set run.watchdog.port")

    @property
    def seen(self) -> dict[int, Seen]:
        known = {rank: other.as_seen() for rank, other in sorted(self._others.items()) if not other.is_done}
        return {rank: seen for rank, seen in {0: self._own_seen, **known}.items() if seen is not None}

    def hear(self, seconds: float) -> Verdict | None:
        self._seconds += seconds
        for other in self._others.values():
            other.silent_seconds += seconds
        verdict = None
        for key, _ in self._ready.select(0):
            if key.fileobj is self._door:
                self._let_in(self._door)
            elif key.data.rank is None:
                verdict = self._greet(key.data) or verdict
            else:
                verdict = self._heard(key.data, key.data.receive()) or verdict
        return verdict

    def beat(self, own: Beat) -> Verdict | None:
        self._own_seen = Seen(own, 0.0, str(self._own))
        for line in self._lines.values():
            line.send({"beat": own.as_json()})
        return self._missing() or judged(self.seen, self._limits)

    def _let_in(self, door: socket.socket) -> None:
        """All that wait: one a turn is too slow for many ranks, which give up after WELCOME_SECONDS and come again."""
        with suppress(OSError):  # BlockingIOError: nobody is left
            while True:
                line = Line(door.accept()[0])
                self._ready.register(line, selectors.EVENT_READ, line)

    def _greet(self, line: Line) -> Verdict | None:
        """A stranger says who it is. Only one that has heard its welcome, and says so, is a rank."""
        said = line.receive()
        for number, each in enumerate(said):
            if "hello" in each and each["hello"] == secret_of_start():
                line.is_welcome = True
                line.send({"welcome": self._own.as_json()})
            elif line.is_welcome and "rank" in each:
                line.rank = int(each["rank"])
                self._lines[line.rank], self._others[line.rank] = line, _Other(each["process"])
                return self._heard(line, said[number:])
            else:
                line.is_open = False
        self._drop_if_closed(line)
        return None

    def _heard(self, line: Line, said: Iterable[Mapping[str, Any]]) -> Verdict | None:
        assert line.rank is not None
        verdict = self._others[line.rank].hear(line, said, line.rank)
        self._drop_if_closed(line)
        return verdict

    def _drop_if_closed(self, line: Line) -> None:
        if not line.is_open:
            self._ready.unregister(line)
            line.close()
            if line.rank is not None:
                del self._lines[line.rank]

    def _missing(self) -> Verdict | None:
        if self._door is None or self.have_met or self._seconds < 60 * self._config.join_minutes:
            return None
        missing = [rank for rank in range(1, self._size) if rank not in self._others]
        return absent(missing, self._config.join_minutes) if missing else None

    def tell(self, verdict: Verdict) -> None:
        for line in list(self._lines.values()):
            line.send({"verdict": verdict.as_json()})

    def say_done(self) -> None:
        for line in list(self._lines.values()):
            line.send({"done": True})

    def process_of(self, rank: int) -> ProcessIdentity | None:
        return self._others[rank].process if rank in self._others else None

    def close(self) -> None:
        _close(list(self._lines.values()))
        for key in list(self._ready.get_map().values()):
            if isinstance(key.fileobj, Line | socket.socket):
                key.fileobj.close()
        self._ready.close()


class RankPost:
    """That of every other rank. It judges the main one, and only by whether it is heard."""

    def __init__(self, config: WatchdogConfig, rank: int, own: ProcessIdentity) -> None:
        self._config, self._rank, self._own = config, rank, own
        self.have_met, self._limits = False, PhaseLimits(config)
        self._line: Line | None = None
        self._main: _Other | None = None
        self._own_seen: Seen | None = None
        self._seconds = 0.0
        self._is_watched = bool(ports(config.port)) and "MASTER_ADDR" in os.environ

    @property
    def seen(self) -> dict[int, Seen]:
        main = self._main.as_seen() if self._main is not None else None
        return {rank: seen for rank, seen in {0: main, self._rank: self._own_seen}.items() if seen is not None}

    def hear(self, seconds: float) -> Verdict | None:
        self._seconds += seconds
        if self._line is None or self._main is None:
            return None
        self._main.silent_seconds += seconds
        verdict = self._main.hear(self._line, self._line.receive(), 0)
        if not self._line.is_open:
            self._line.close()
            self._line = None
        return verdict

    def beat(self, own: Beat) -> Verdict | None:
        self._own_seen = Seen(own, 0.0, str(self._own))
        if self._main is None:
            return self._meet(own)
        if self._line is None:  # the main rank has ended well, and judges no more
            return judged({self._rank: self._own_seen}, self._limits)
        self._line.send({"beat": own.as_json()})
        seen = self._main.as_seen()
        is_silent = seen is not None and seen.silent_seconds > self._limits.silence_of(seen.beat.phase)
        return judged({0: seen}, self._limits) if seen is not None and is_silent else None

    def _meet(self, own: Beat) -> Verdict | None:
        if not self._is_watched:
            return None
        line = connect(self._config.port, {"hello": secret_of_start()})
        if line is not None:
            line.send({"rank": self._rank, "process": self._own.as_json(), "beat": own.as_json()})
            self._line, self._main = line, _Other(line.peer)
            return None
        is_late = not self.have_met and self._seconds > 60 * self._config.join_minutes
        return absent([0], self._config.join_minutes) if is_late else None

    def tell(self, verdict: Verdict) -> None:
        if self._line is not None:
            self._line.send({"verdict": verdict.as_json()})

    def say_done(self) -> None:
        if self._line is not None:
            self._line.send({"done": True})

    def process_of(self, rank: int) -> ProcessIdentity | None:
        return self._main.process if rank == 0 and self._main is not None else None

    def close(self) -> None:
        _close([self._line] if self._line is not None else [])


def _close(lines: list[Line]) -> None:
    """Say that nothing more comes, and hear the others out for a moment: what is closed unread takes back what was
    said last."""
    until = time.monotonic() + CLOSING_SECONDS
    for line in lines:
        line.say_nothing_more()
    while any(line.is_open for line in lines) and time.monotonic() < until:
        for line in lines:
            line.receive()
        time.sleep(0.02)
    for line in lines:
        line.close()
