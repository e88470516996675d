"""The page of a run, looked at in a browser: what a reader sees, hears, and can do with keys alone."""

import re
import shutil

import pytest

from nemo_prorl.commands.report_sources import Sources
from tests.analysis.example_analysis import KINDS, example_analysis
from tests.analysis.example_run import HOSTILE, write_run
from tests.browser import chromium, needs_chromium
from tests.evaluation.examples import BASE, FINAL, example_evaluation

pytestmark = [needs_chromium, pytest.mark.processes]

CHART = "[...document.querySelectorAll('figure')].find((it) => it.querySelector('h3').firstChild.textContent === arguments[0])"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A run of 40 steps with everything beside it; its name wants to be markup."""
    folder = write_run(tmp_path_factory.mktemp("runs") / "<img src=x onerror=window.hacked=3>")
    example_evaluation(folder / "evaluations" / "base", BASE, name="base", samples=4)
    example_evaluation(folder / "evaluations" / "final", FINAL, name="final", samples=4)
    (folder / "analysis").mkdir()
    example_analysis().write(folder / "analysis")
    path = folder.parent / "report.html"
    path.write_text(Sources.of([folder]).page(folder.name).html(), encoding="utf-8")
    yield path
    shutil.rmtree(folder)


@pytest.fixture
def opened(browser, page):
    browser.driver.delete_all_cookies()
    browser.open(page)
    yield browser
    browser.js("localStorage.clear()")
    assert browser.complaints() == [], "the page runs without errors, and asks for nothing that its policy forbids"


def show(browser, title):
    """Scroll to a chart, so that it is drawn."""
    browser.js(f"{CHART}.scrollIntoView({{ behavior: 'instant', block: 'center' }})", title)
    browser.wait(f"return {CHART}.querySelector('.plot path.series, .plot circle.dot, .plot g rect')", title)


def test_nothing_is_loaded_from_anywhere(opened, page):
    html = page.read_text()
    markup = html.partition("<style>")[0] + html.partition("</style>")[2]
    assert not re.search(r"""<[^>]*(src|href)=["']?(?!["'#])""", markup), "no file is named in its markup"
    assert opened.js("return performance.getEntriesByType('resource').length") == 0
    assert "default-src 'none'" in html and "unsafe" not in html.partition("<style>")[0]


def test_charts_show_stages_resets_restarts_and_the_alarm_where_it_belongs(opened):
    show(opened, "Entropy")
    entropy, length = (f"{CHART}.querySelectorAll('{mark}').length" for mark in (".alarm", ".alarm"))
    assert opened.js(f"return {entropy}", "Entropy") == 1
    show(opened, "Training reward")
    assert opened.js(f"return {length}", "Training reward") == 0, "the alarm was of the entropy"
    for mark, told in ((".reset", "reset after step 20: a stage begins"), (".restart", "attempt 2 begins at step 31")):
        assert opened.js(f"return [...{CHART}.querySelectorAll('{mark} title')].map((it) => it.textContent)", "Entropy") == [told]
    names = opened.js(f"return [...{CHART}.querySelectorAll('text.stage')].map((it) => it.textContent)", "Entropy")
    assert names == ["first", "second"]
    assert opened.js(f"return {CHART}.querySelectorAll('.band').length", "Entropy") == 1
    assert opened.texts("#key li") == ["every other stage", "reset", "start of an attempt", "alarm"]


def test_a_line_lies_where_its_numbers_say(opened):
    """The reward is step / 40: a straight line from (1, 0.025) to (40, 1), read back through the axes' own labels."""
    show(opened, "Training reward")
    points = opened.js(
        f"const chart = {CHART};"
        "const at = (it) => +it.getAttribute('y') - 4, texts = [...chart.querySelectorAll('text[text-anchor=end]')];"
        "const place = (label) => at(texts.find((it) => it.textContent === label));"
        "const line = chart.querySelector('path.series').getAttribute('d').match(/[\\d.]+ [\\d.]+/g)"
        ".map((pair) => pair.split(' ').map(Number));"
        "return [line.length, line[0][1], line.at(-1)[1], place('0.00'), place('1.00')]",
        "Training reward",
    )
    count, first, last, zero, one = points
    assert count == 40
    assert (zero - first) / (zero - one) == pytest.approx(1 / 40, abs=0.005)
    assert (zero - last) / (zero - one) == pytest.approx(1.0, abs=0.005)


def test_a_band_is_one_standard_error_wide(opened):
    show(opened, "Held-out problems")
    told = opened.js(f"return [...{CHART}.querySelectorAll('.legend li')].map((it) => it.textContent)", "Held-out problems")
    assert told == ["pass@1 0.500 ± 0.020", "pass@16 0.500 ± 0.020"]
    assert opened.js(f"return {CHART}.querySelectorAll('path.area').length", "Held-out problems") == 2


def test_arrow_keys_read_a_chart_aloud(opened):
    show(opened, "Entropy")
    opened.js(f"{CHART}.querySelector('.plot').focus()", "Entropy")
    keys = opened.driver.switch_to.active_element
    keys.send_keys("\ue011\ue014")  # Home, then right
    assert opened.texts("#spoken") == ["step 2: entropy 0.500"]
    keys.send_keys("\ue010")  # End
    assert opened.texts("#spoken") == ["step 40: entropy 0.0250"]
    label = keys.get_attribute("aria-label")
    assert "from 1 at step 1 to 0.0250 at step 40, lowest 0.0250 at step 40, highest 1 at step 1" in label
    other = opened.js(f"return {CHART}.querySelector('.legend b').textContent", "Training reward")
    assert other == "1", "the other charts follow"


def test_behind_every_chart_there_is_a_table(opened):
    show(opened, "Entropy")
    opened.js(f"{CHART}.querySelector('summary').click()", "Entropy")
    opened.wait(f"return {CHART}.querySelector('table')", "Entropy")
    rows = opened.js(
        f"return [...{CHART}.querySelectorAll('tr')].map((row) => [...row.children].map((it) => it.textContent))", "Entropy"
    )
    assert rows[0] == ["step", "entropy"] and rows[4] == ["4", "0.250"] and len(rows) == 41
    assert opened.js(f"return {CHART}.querySelector('table caption').firstChild.textContent", "Entropy") == "Entropy"


def test_the_steps_that_charts_show_can_be_chosen(opened):
    show(opened, "Entropy")
    opened.choose("to", "10")
    axis = f"[...{CHART}.querySelectorAll('text[text-anchor=middle]:not(.stage)')].map((it) => it.textContent)"
    assert opened.js(f"return {axis}", "Entropy")[-1] == "10"
    opened.js("document.querySelector('#view button').click()")
    assert opened.js(f"return {axis}", "Entropy")[-1] == "40"
    assert opened.js("return document.getElementById('to').value") == "40"


def test_a_metric_that_no_chart_knows_is_shown_all_the_same(opened):
    opened.js("[...document.querySelectorAll('#rest summary')].find((it) => it.textContent === 'strange (1)').click()")
    show(opened, "strange/metric")
    assert "−10" in opened.js(f"return {CHART}.textContent", "strange/metric")


def test_evaluations_and_the_boundary_are_there(opened):
    regimes = opened.js("return [...document.querySelectorAll('#boundary tbody tr')].map((row) => row.textContent)")
    assert all(any(name in row and kind in row for row in regimes) for name, kind in KINDS.items())
    show(opened, "gpqa_diamond")
    ticks = opened.js(f"return [...{CHART}.querySelectorAll('text[text-anchor=middle]')].map((it) => it.textContent)", "gpqa_diamond")
    assert ticks == ["1", "2", "4", "8", "16", "k"]
    assert opened.js(f"return {CHART}.querySelectorAll('path.area').length", "gpqa_diamond") == 2
    show(opened, "Base against gain")
    assert "reasoning_gym/boxnet" in opened.js(f"return {CHART}.querySelector('.plot svg').textContent", "Base against gain")
    assert "By set and task: final" in opened.texts("#evaluation summary")


def count(browser):
    return browser.wait("const told = document.getElementById('count').textContent; return !told.startsWith('Search') && told")


def search(browser, words, told):
    browser.choose("find", words)
    browser.wait("return document.getElementById('count').textContent.startsWith(arguments[0])", told)


def test_samples_are_filtered_searched_and_turned_over(opened):
    opened.choose("by-from", "training")
    assert count(opened).startswith("90 of")
    assert opened.texts("#page-number") == ["page 1 of 5"]
    opened.js("document.getElementById('next').click()")
    opened.wait("return document.getElementById('page-number').textContent === 'page 2 of 5'")
    opened.choose("by-domain", "logic")
    assert count(opened).startswith("18 of")
    opened.choose("by-outcome", "right")
    assert count(opened).startswith("6 of"), "of the numbers 3, 8, 13, ..., 88 every third is right"
    opened.choose("by-outcome", "no_answer")
    assert "nothing fits" in count(opened), "1, 11, 21, ... are code"
    opened.js("document.querySelector('#filters button').click()")
    opened.wait("return document.querySelectorAll('#answers details').length === 20")
    search(opened, "ANSWER 77, i", "1 of")
    assert "answer 77" in opened.texts("#answers .first")[0]
    search(opened, ".*", "0 of")


def test_hostile_texts_are_shown_and_never_obeyed(opened):
    opened.choose("order", "oldest")
    opened.choose("by-from", "training")
    count(opened)
    for number, text in enumerate(HOSTILE[:3]):
        opened.js("document.querySelectorAll('#answers summary')[arguments[0]].click()", number)
        opened.wait("return document.querySelectorAll('#answers details')[arguments[0]].querySelector('pre')", number)
        inside = f"document.querySelectorAll('#answers details')[{number}]"
        assert opened.js(f"return {inside}.querySelectorAll('pre')[1].textContent === arguments[0]", text.replace("\ud800", "\ufffd")) or (
            "\ud800" in text and opened.js(f"return {inside}.querySelectorAll('pre')[1].textContent.length") == len(text)
        )
        assert opened.js(f"return {inside}.querySelectorAll('pre *, dd *').length") == 0
        assert opened.js(f"return getComputedStyle({inside}.querySelector('pre')).unicodeBidi") == "isolate"
    assert opened.js("return [typeof window.hacked, document.images.length]") == ["undefined", 0]
    assert opened.driver.title == "<img src=x onerror=window.hacked=3>"
    assert opened.texts("h1") == [opened.driver.title]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_is_readable_in_both_themes(opened, page, dark):
    """Contrast of every text with what lies behind it, as WCAG 2.2 reckons it: 4.5 at least (level AA)."""
    opened.open(page, dark=dark)
    opened.js("document.querySelectorAll('#answers summary')[0].click()")
    lightness = opened.js("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (max(lightness) < 60) if dark else (min(lightness) > 200)
    assert opened.js(CONTRAST) == []


CONTRAST = """
const rgb = (text) => { const parts = text.match(/[\\d.]+/g).map(Number); return parts.length > 3 && parts[3] === 0 ? null : parts.slice(0, 3); };
const light = (c) => c.map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
  .reduce((sum, v, at) => sum + v * [0.2126, 0.7152, 0.0722][at], 0);
const behind = (it) => { for (; it; it = it.parentElement) { const c = rgb(getComputedStyle(it).backgroundColor); if (c) return c; } return [255, 255, 255]; };
const poor = new Set();
for (const it of document.querySelectorAll('body *')) {
  const own = [...it.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
  if (!own || !it.checkVisibility() || ['SCRIPT', 'STYLE', 'NOSCRIPT'].includes(it.tagName.toUpperCase())) continue;
  const style = getComputedStyle(it), ink = rgb(it instanceof SVGElement ? style.fill : style.color);
  if (!ink || it.disabled) continue;
  const [a, b] = [light(ink), light(behind(it))].sort((p, q) => q - p);
  if ((a + 0.05) / (b + 0.05) < 4.5) poor.add(`${it.tagName}.${it.getAttribute('class')}: ${((a + 0.05) / (b + 0.05)).toFixed(2)}`);
}
return [...poor];
"""


def test_the_theme_can_be_chosen_and_stays(opened, page):
    opened.choose("theme", "dark")
    opened.open(page)
    assert opened.js("return document.documentElement.dataset.theme") == "dark"
    assert opened.js("return getComputedStyle(document.documentElement).colorScheme") == "dark"
    opened.choose("theme", "auto")
    assert opened.js("return document.documentElement.dataset.theme") is None


def test_everything_has_a_name_and_headings_go_down_step_by_step(opened):
    levels = opened.js("return [...document.querySelectorAll('h1, h2, h3, h4')].map((it) => +it.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in zip(levels, levels[1:], strict=False))
    assert opened.js("return [...document.querySelectorAll('input, select')].filter((it) => !it.labels.length).length") == 0
    assert opened.js("return [...document.querySelectorAll('.plot, .table')].filter((it) => !it.ariaLabel || it.tabIndex).length") == 0
    ids = opened.js("return [...document.querySelectorAll('[id]')].map((it) => it.id)")
    assert len(ids) == len(set(ids))
    for link in opened.js("return [...document.querySelectorAll('nav a')].map((it) => it.getAttribute('href').slice(1))"):
        assert link in ids
    assert opened.js("return document.documentElement.lang") == "en"


def test_the_first_tab_leads_past_the_head(opened):
    opened.driver.switch_to.active_element.send_keys("\ue004")
    assert opened.js("return document.activeElement.textContent") == "Skip to the charts"
    assert opened.js("const it = document.activeElement.getBoundingClientRect(); return it.width > 50 && it.height > 20")


def test_a_phone_shows_all_of_it(opened, page):
    opened.open(page, width=360, height=740)
    assert opened.js("return document.documentElement.scrollWidth") == 360, "nothing hangs over the edge"
    small = "[...document.querySelectorAll('button, select, input')].filter((it) => it.checkVisibility() && it.offsetHeight < 44).length"
    assert opened.js(f"return {small}") == 0, "a finger hits everything"
    show(opened, "Entropy")
    assert opened.js(f"return {CHART}.querySelector('.plot svg').clientWidth", "Entropy") <= 360
