"""What is in some problems, on one HTML page that needs nothing but itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from itertools import groupby

from nemo_prorl.data.prepare.manifest import Manifest
from nemo_prorl.data.prepare.statistics import Lengths, Statistics, upper_end
from nemo_prorl.data.prompt import DOMAINS, Row

# One hue a domain, of like lightness; told apart by name as well.
COLOURS = {"math": "#2f6db3", "code": "#c4641d", "stem": "#2e8b57", "logic": "#8a4fbf", "instruction": "#b23a5e"}
LONGEST_SHOWN = 3000

STYLE = """
:root { color-scheme: light; font: 15px/1.5 system-ui, sans-serif; color: #1c2430; background: #fff; }
body { max-width: 72rem; margin: 2rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.6rem; margin: 0 0 .2rem; } h2 { font-size: 1.15rem; margin: 2.4rem 0 .6rem; }
p.lead { color: #55606e; margin: 0 0 1.2rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .28rem .7rem; border-bottom: 1px solid #e6e9ee; vertical-align: top; }
th { font-weight: 600; color: #55606e; font-size: .85rem; } td.n, th.n { text-align: right; white-space: nowrap; }
td.bar { width: 38%; }
.bar span { display: block; height: .8rem; border-radius: 2px; margin-top: .35rem; min-width: 1px; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(20rem, 1fr)); gap: 1.2rem; }
figure { margin: 0; } figcaption { font-weight: 600; } figcaption small { font-weight: 400; color: #55606e; }
svg { width: 100%; height: auto; display: block; } svg text { font: 10px system-ui, sans-serif; fill: #55606e; }
details { border: 1px solid #e6e9ee; border-radius: 6px; margin: .4rem 0; padding: .3rem .8rem; }
summary { cursor: pointer; } summary small { color: #55606e; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f6f7f9; padding: .7rem; border-radius: 4px; }
pre { font-size: .85rem; }
.tag { display: inline-block; width: .7rem; height: .7rem; border-radius: 2px; margin-right: .45rem; }
.caution { color: #a3252d; }
"""


def data_page(found: Statistics, manifests: Sequence[Manifest], title: str) -> str:
    """The page: `title` says what was looked at; `manifests` tell where it is from."""
    parts = [
        f"<h1>{found.total:,} problems</h1><p class=lead>{escape(title)}</p>",
        _section("By domain", _bars(_by_domain(found), found.total)),
        _section(f"Length of prompts, in {found.unit}", _charts(found)),
        _section("Where they are from", _origins(manifests)) if manifests else "",
        _section("By source", _bars([(name, count, None) for name, count in found.by(1).items()], found.total)),
        _section("By task", _tasks(found)),
        _section("Samples", "".join(_samples(found))),
    ]
    head = f"<meta charset=utf-8><meta name=viewport content='width=device-width'><title>{escape(title)}</title>"
    return (
        f"<!doctype html><html lang=en><head>{head}<style>{STYLE}</style></head><body>{''.join(parts)}</body></html>\n"
    )


def _section(heading: str, content: str) -> str:
    return f"<h2>{escape(heading)}</h2>{content}"


def _by_domain(found: Statistics) -> list[tuple[str, int, str | None]]:
    counts = found.by(0)
    return [(domain, counts[domain], COLOURS[domain]) for domain in DOMAINS if domain in counts]


def _bars(counts: Iterable[tuple[str, int, str | None]], total: int) -> str:
    counts = list(counts)
    most = max(count for _, count, _ in counts)
    rows = [
        f"<tr><td>{escape(name)}</td><td class=n>{count:,}</td><td class=n>{count / total:.1%}</td>"
        f"<td class=bar><span style='width:{count / most:.2%};background:{colour or '#7c8794'}'></span></td></tr>"
        for name, count, colour in counts
    ]
    return f"<table>{''.join(rows)}</table>"


def _charts(found: Statistics) -> str:
    charts = [_chart(domain, found.lengths[domain]) for domain in DOMAINS if domain in found.lengths]
    return f"<div class=charts>{''.join(charts)}</div>"


def _chart(domain: str, lengths: Lengths) -> str:
    """A histogram over logarithmic lengths, with the smallest, the median and the largest written below."""
    steps = range(min(lengths.counts), max(lengths.counts) + 1)
    most, width = max(lengths.counts.values()), 300 / len(steps)
    bars = []
    for place, step in enumerate(steps):
        count = lengths.counts[step]
        height = 96 * count / most
        bars.append(
            f"<rect x='{place * width:.2f}' y='{100 - height:.2f}' width='{max(width - 1, 0.5):.2f}' "
            f"height='{height:.2f}' fill='{COLOURS[domain]}'><title>up to {upper_end(step):,}: {count:,}</title></rect>"
        )
    ends = (
        f"<text x='0' y='114'>{upper_end(steps[0]):,}</text>"
        f"<text x='300' y='114' text-anchor='end'>{lengths.largest:,}</text>"
    )
    caption = f"median {lengths.quantile(0.5):,}, 95% within {lengths.quantile(0.95):,}"
    return (
        f"<figure><figcaption>{domain} <small>{caption}</small></figcaption>"
        f"<svg viewBox='0 0 300 118' role=img aria-label='lengths of {domain} prompts'>"
        f"<line x1=0 x2=300 y1=100 y2=100 stroke='#c9ced6'/>{''.join(bars)}{ends}</svg></figure>"
    )


def _origins(manifests: Sequence[Manifest]) -> str:
    heads = "<tr><th>source<th>from<th>licence<th class=n>records<th class=n>kept<th class=n>written<th>left out</tr>"
    rows = []
    for manifest in manifests:
        card = manifest.card
        caution = f"<br><span class=caution>{escape(card.caution)}</span>" if card.caution else ""
        left_out = "<br>".join(
            f"{escape(reason)}: {count:,}"
            for reasons in manifest.rejected.values()
            for reason, count in reasons.items()
        )
        counts = "".join(f"<td class=n>{count:,}" for count in (manifest.records, manifest.kept, manifest.rows))
        rows.append(
            f"<tr><td>{escape(manifest.name)}<td>{escape(_origin(manifest))}<td>{escape(card.licence)}{caution}"
            f"{counts}<td>{left_out}</tr>"
        )
    return f"<table>{heads}{''.join(rows)}</table>"


def _origin(manifest: Manifest) -> str:
    origin: Mapping[str, object] = manifest.identity["origin"]
    if "revision" in origin:
        return f"{origin['hub']} at {str(origin['revision'])[:12]}"
    return "downloaded files" if "files" in origin else json.dumps(origin)


def _tasks(found: Statistics) -> str:
    heads = f"<tr><th>domain<th>source<th>task<th class=n>problems<th class=n>median {found.unit}<th class=n>most</tr>"
    rows = []
    for key in sorted(found.counts, key=lambda key: (DOMAINS.index(key[0]), *key[1:])):
        lengths = found.task_lengths[key]
        named = "".join(f"<td>{escape(part)}" for part in key[1:])
        counts = (found.counts[key], lengths.quantile(0.5), lengths.largest)
        numbers = "".join(f"<td class=n>{count:,}" for count in counts)
        rows.append(f"<tr><td>{_tag(key[0])}{key[0]}{named}{numbers}</tr>")
    return f"<table>{heads}{''.join(rows)}</table>"


def _samples(found: Statistics) -> Iterable[str]:
    keys = sorted(found.samples, key=lambda key: (DOMAINS.index(key[0]), *key[1:]))
    for domain, of_domain in groupby(keys, lambda key: key[0]):
        yield f"<h3>{_tag(domain)}{domain}</h3>"
        for key in of_domain:
            yield from (_sample(row) for row in found.samples[key].rows)


def _sample(row: Row) -> str:
    messages = "".join(
        f"<p><small>{escape(message['role'])}</small><pre>{_shown(message['content'])}</pre>"
        for message in row.messages
    )
    reference = json.dumps(row.reference, ensure_ascii=False, indent=1)
    return (
        f"<details><summary>{escape(row.task)} <small>{escape(row.uid)}</small></summary>{messages}"
        f"<p><small>reference, for the verifier {escape(row.verifier)}</small><pre>{_shown(reference)}</pre></details>"
    )


def _shown(text: str) -> str:
    cut = "" if len(text) <= LONGEST_SHOWN else f"\n... {len(text) - LONGEST_SHOWN:,} characters more"
    return escape(text[:LONGEST_SHOWN] + cut)


def _tag(domain: str) -> str:
    return f"<span class=tag style='background:{COLOURS[domain]}'></span>"
