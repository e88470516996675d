"""Writes a report, once or as long as its run goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from nemo_prorl.analysis.run_page import Live, RunPage, news_script
from nemo_prorl.analysis.story import state_of
from nemo_prorl.commands.report_sources import Sources
from nemo_prorl.data.kept import kept_whole
from nemo_prorl.errors import ConfigError
from nemo_prorl.telemetry.attempts import Attempt
from nemo_prorl.telemetry.status import ENDS, read_status

LAST_WORD_SECONDS = 5.0  # at least, for a page that looks once in a second or so
REST = 5.0  # times as long as writing took: a page of gigabytes of samples is not to keep a processor busy


class Watcher:
    """Keeps `out` up to date. While it watches, NAME.news.js and NAME.data.js lie beside the page; it removes them."""

    def __init__(
        self,
        sources: Sources,
        out: Path,
        *,
        title: str,
        every_seconds: float,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._sources, self._out, self._title = sources, out, title
        self._every, self._sleep = every_seconds, sleep
        self._stamp = 0
        self._shown: object = None

    def write_once(self) -> str:
        """Write a page that stays as it is; returns what to tell."""
        return self._finish(self._sources.page(self._title))

    def watch(self) -> str:
        """Until the run is over, or Ctrl-C. The last page is one that stays as it is; returns what to tell."""
        why = "the run is over"
        try:
            while True:
                over = self._is_over()  # before it is read, so that the last page misses nothing
                spent = self._renew(over=over)
                if over:
                    break
                self._sleep(max(self._every, REST * spent))
        except KeyboardInterrupt:
            why = "watching was interrupted; the run isn't"
        page = self._sources.page(self._title)
        told = self._finish(page)
        if self._stamp:
            self._say_last_word(page)
        return f"{told}; {why}"

    def _finish(self, page: RunPage) -> str:
        self._write({self._out: page.html()})
        return f"{self._out} is written ({self._out.stat().st_size / 1e6:.1f} MB)"

    def _renew(self, *, over: bool) -> float:
        """Write what is new, and say that somebody looks. Returns how many seconds it took."""
        start = time.monotonic()
        state = self._sources.state()
        if state != self._shown and not over:
            page = self._sources.page(self._title)
            self._stamp = max(self._stamp + 1, int(time.time()))
            self._write({self._data: page.data_script(self._stamp), self._out: page.html(self._live())})
            self._shown = state
        if not over:
            self._write({self._news: news_script(self._stamp, time.time(), over=False)})
        return time.monotonic() - start

    def _say_last_word(self, page: RunPage) -> None:
        """Pages that are open hear that it is over, and get its end; then the files beside the page go."""
        self._stamp += 1
        self._write({self._data: page.data_script(self._stamp)})
        self._write({self._news: news_script(self._stamp, time.time(), over=True)})
        with suppress(KeyboardInterrupt):
            self._sleep(max(2 * self._every, LAST_WORD_SECONDS))
        for file in (self._news, self._data):
            file.unlink(missing_ok=True)

    def _is_over(self) -> bool:
        """Whether the run has ended, by its own word or because its process is gone."""
        run = self._sources.run
        assert run is not None
        status = read_status(run)
        if status.get("state") in ENDS:
            return True
        attempt = Attempt.newest(run)
        try:
            return attempt is None or not attempt.seems_alive()
        except OSError:  # somebody else's run, whose folder may only be read: what it says of itself must do
            return bool(state_of(status, time.time())["name"] == "lost")

    def _live(self) -> Live:
        return Live(self._out.stem, self._every, self._stamp)

    @property
    def _news(self) -> Path:
        return self._out.with_name(f"{self._out.stem}.news.js")

    @property
    def _data(self) -> Path:
        return self._out.with_name(f"{self._out.stem}.data.js")

    def _write(self, texts: dict[Path, str]) -> None:
        for path, text in texts.items():
            try:
                with kept_whole(path) as file:
                    file.write(text.encode("utf-8"))
            except OSError as error:
                raise ConfigError(f"the report {path} can't be written: {error}; choose another --out") from error
