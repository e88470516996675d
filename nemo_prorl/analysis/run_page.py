"""The page of a run: one HTML file that needs nothing but itself."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from nemo_prorl.analysis.packed import packed
from nemo_prorl.analysis.samples import PackedSamples

SCRIPTS = ("dom.js", "scale.js", "chart_parts.js", "chart.js", "samples.js", "live.js", "page.js")
SAMPLES_BUDGET = 11_000_000  # bytes of a page that samples may take, so that 2,000 steps fit beside them in 15 million
DATA = '<script type="application/octet-stream"'  # a block of data to a browser; nothing runs it


@dataclass(frozen=True)
class Live:
    """What a page needs to look for news beside itself: `name`.news.js and `name`.data.js."""

    name: str
    every_seconds: float
    stamp: int


@dataclass(frozen=True)
class RunPage:
    """`title` is what the page is called; `story` what nemo_prorl.analysis.story makes."""

    title: str
    story: Mapping[str, Any]
    samples: PackedSamples

    def html(self, live: Live | None = None) -> str:
        """The file. What the run's texts say can't become markup: it is packed, and unpacked into text alone."""
        style = _own("page.css")
        script = "(() => {\n" + '"use strict";\n' + "\n".join(map(_own, SCRIPTS)) + "})();\n"
        blocks = [
            f'{DATA} id="data-story">{packed(self.story)}</script>',
            f'{DATA} id="data-samples">{self.samples.index}</script>',
            *(f'{DATA} class="data-texts">{chunk}</script>' for chunk in self.samples.chunks),
            f'{DATA} id="data-live">{_live_json(live)}</script>',
        ]
        return Template(_own("page.html")).substitute(
            title=escape(self.title),
            style=style,
            script=script,
            policy=_policy(style, script, beside=live is not None),
            blocks="\n".join(blocks),
        )

    def data_script(self, stamp: int) -> str:
        """NAME.data.js of a live page."""
        blocks = {
            "stamp": stamp,
            "story": packed(self.story),
            "samples": self.samples.index,
            "texts": list(self.samples.chunks),
        }
        return f"prorlData({json.dumps(blocks)})\n"


def news_script(stamp: int, unix_seconds: float, *, over: bool) -> str:
    """NAME.news.js of a live page."""
    return f"prorlNews({json.dumps({'stamp': stamp, 'unix_seconds': unix_seconds, 'over': over})})\n"


def _own(name: str) -> str:
    return (files("nemo_prorl.analysis") / "page" / name).read_text(encoding="utf-8")


def _policy(style: str, script: str, *, beside: bool) -> str:
    """Nothing may be loaded, and nothing run but this script; a live page may also load what lies beside it."""
    own, sheet = (b64encode(sha256(text.encode()).digest()).decode("ascii") for text in (script, style))
    more = " 'self' file:" if beside else ""
    return (
        f"default-src 'none'; script-src 'sha256-{own}'{more}; style-src 'sha256-{sheet}'; base-uri 'none'; "
        "form-action 'none'"
    )


def _live_json(live: Live | None) -> str:
    if live is None:
        return "null"
    told = {"name": live.name, "every_seconds": live.every_seconds, "stamp": live.stamp}
    return json.dumps(told).replace("<", "\\u003c")
