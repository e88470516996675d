"""The thread that watches, in each rank, and the end that it brings about."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

from nemo_prorl.config.watchdog import WatchdogConfig
from nemo_prorl.errors import PeerLostError, ProRLError, Stopped
from nemo_prorl.telemetry.process_identity import ProcessIdentity
from nemo_prorl.vigil.beat import Beat, Telling, where_threads_are
from nemo_prorl.vigil.collective import is_of_a_collective
from nemo_prorl.vigil.ending import end_process, force_out
from nemo_prorl.vigil.limits import PhaseLimits
from nemo_prorl.vigil.post import MainPost, Post, RankPost
from nemo_prorl.vigil.stacks import Stacks
from nemo_prorl.vigil.verdict import Verdict, failed, survey
from nemo_prorl.world import rank_from_environment, ranks_have_met, world_size_from_environment

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
BEAT_SECONDS = 1.0
RANKS_A_SECOND = 100  # so many signs of life the main rank reads in a second, however many ranks there are
# What the clock counts of one turn: a run that was suspended as a whole, and goes on, has not hung.
LONGEST_TURN_SECONDS = 2.0
SPARE_SECONDS = 60.0
LEAVE_SECONDS = 5.0
EXPLAIN_SECONDS = 10.0  # so long an error of a collective waits to hear whose fault it is


class Vigil:
    """Inside the `with`, this rank is watched, and watches. An error that is another rank's doing leaves it as one that
    names that rank; see `verdict`. A rank that can't leave it, for it waits or hangs, is ended with that error's code.

    `on_end` writes down how the run ends, where that is this rank's task; it may be called in another thread.

    Raises, on leaving:
        PeerLostError: another rank has ended without a word, or a collective has failed.
        HungRankError: a rank hangs.
        ProRLError: another rank has failed; the class is that of its error.
    """

    def __init__(self, config: WatchdogConfig, telling: Telling, on_end: Callable[[ProRLError], None]) -> None:
        self._limits, self._telling, self._on_end = PhaseLimits(config), telling, on_end
        self._rank, size = rank_from_environment(), world_size_from_environment()
        self._beat_seconds = max(BEAT_SECONDS, size / RANKS_A_SECOND)
        own = ProcessIdentity.own()
        self._post: Post = MainPost(config, size, own) if self._rank == 0 else RankPost(config, self._rank, own)
        self._stacks, self._main_thread = Stacks(), threading.main_thread().ident or 0
        self._progress, self._idle_seconds = -1, 0.0
        self._verdict: Verdict | None = None
        self._is_judged, self._is_left = threading.Event(), threading.Event()
        self._is_closing = False
        self._thread = threading.Thread(target=self._run, name="vigil", daemon=True)

    @contextmanager
    def telling_at_once(self) -> Iterator[None]:
        """An error inside is told to the others before anything is closed: one of them may wait for this rank."""
        try:
            yield
        except Exception as error:
            if not isinstance(error, Stopped) and not is_of_a_collective(error):
                self._is_closing = True
                self._tell_failure(error)
            raise

    # -- the thread --------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        before, next_beat, has_failed = time.monotonic(), 0.0, False
        told = ""  # the phase, which is told at once when it is another
        while not self._is_left.wait(LOOK_SECONDS) and self._verdict is None:
            now = time.monotonic()
            seconds, before = min(now - before, LONGEST_TURN_SECONDS), now
            try:
                self._look(seconds)
                verdict = self._post.hear(seconds)
                if verdict is None and (now >= next_beat or self._telling.place.phase != told):
                    beat = self._beat()
                    next_beat, told = now + self._beat_seconds, beat.phase
                    verdict = self._post.beat(beat)
            except Exception:  # a watch that fails must not end what it watches
                if not has_failed:
                    log.warning("the watch over the ranks fails", exc_info=True)
                has_failed, verdict = True, None
            if verdict is not None and self._verdict is None:
                self._verdict = verdict
                self._post.tell(verdict)
        self._is_judged.set()
        if self._verdict is not None:
            self._end(self._verdict)

    def _look(self, seconds: float) -> None:
        """At this rank itself."""
        progress = self._telling.place.progress
        self._idle_seconds = self._idle_seconds + seconds if progress == self._progress else 0.0
        self._progress = progress
        self._post.have_met = ranks_have_met()

    def _beat(self) -> Beat:
        phase, step, _ = self._telling.place
        if self._telling.log_file is not None:
            self._stacks.go_to(self._telling.log_file)
        # Should this thread get no turn any more, for something keeps the interpreter to itself.
        self._stacks.dump_unless_called_within(self._limits.seconds_of(phase) + SPARE_SECONDS)
        at, waits = where_threads_are(self._main_thread)
        return Beat(phase, step, self._idle_seconds, waits, at)

    def _end(self, verdict: Verdict) -> None:
        """End this process, unless its main thread does within the verdict's grace."""
        if verdict.kind == "hung":
            self._stacks.dump()
        begun = time.monotonic()
        # Where this rank has failed by itself, too, and is on its way out, a checkpoint may still be written.
        while time.monotonic() - begun < (
            self._limits.seconds_of("checkpoint")
            if self._is_closing and verdict.kind == "failed"
            else verdict.grace_seconds
        ):
            if self._is_left.wait(LOOK_SECONDS):
                return
        error = verdict.as_error()
        line = f"prorl: {type(error).__name__}{f' (rank {self._rank})' if self._rank else ''}: {error}\n"
        self._stacks.write(line)
        with suppress(OSError):
            os.write(2, line.encode("utf-8", "backslashreplace"))
        if verdict.kind == "hung":
            for process in map(self._post.process_of, verdict.ranks):
                if process is not None:
                    force_out(process)
        self._post.say_done()
        self._post.close()
        end_process(error, self._on_end)

    # -- this rank's own end -----------------------------------------------------------------------------------------

    def _tell_failure(self, error: BaseException) -> None:
        if self._verdict is None:
            beat = Beat(*self._telling.place[:2], idle_seconds=0.0, waits=False, at="")
            self._verdict = failed(self._rank, beat, error)
            self._post.tell(self._verdict)

    def _explained(self, error: BaseException) -> ProRLError:
        """Whose fault the failure of a collective is."""
        self._is_judged.wait(EXPLAIN_SECONDS)
        if self._verdict is not None:
            return self._verdict.as_error()
        others = {rank: seen for rank, seen in self._post.seen.items() if rank != self._rank}
        said = str(error).strip().partition("\n")[0][:300]
        unexplained = PeerLostError(
            f"a collective failed in phase {self._telling.place.phase} ({type(error).__name__}: {said}), though no "
            f"rank is known to be dead: {survey(others)}. If one of them only takes its time, raise "
            "megatron.collective_timeout_minutes; the same command goes on from the newest checkpoint"
        )
        self._tell_failure(unexplained)
        return unexplained

    def __enter__(self) -> Vigil:
        self._stacks.open()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if isinstance(error, Exception) and is_of_a_collective(error):
                raise self._explained(error) from error
            if error is not None and not isinstance(error, Stopped):
                self._tell_failure(error)
        finally:
            self._is_left.set()
            self._thread.join(LEAVE_SECONDS)
            self._post.say_done()
            if not self._thread.is_alive():  # it may be looking for a main rank that isn't there
                self._post.close()
                self._stacks.close()
