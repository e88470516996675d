"""The page of a run, looked at in a browser: what a reader sees, hears, and can do with keys alone."""

import re
import shutil
from itertools import pairwise
from pathlib import Path

import pytest

from nemo_prorl.commands.report_sources import Sources
from tests.analysis.example_analysis import KINDS, example_analysis
from tests.analysis.example_run import HOSTILE, write_run
from tests.browser import chromium, needs_chromium
from tests.evaluation.examples import BASE, FINAL, example_evaluation

pytestmark = [needs_chromium, pytest.mark.processes]

CONTRAST = Path(__file__).with_name("contrast.js")
HOME, END, RIGHT, TAB = "\ue011", "\ue010", "\ue014", "\ue004"  # WebDriver's names of keys


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
    browser.open(page)
    yield browser
    browser.js("localStorage.clear()")
    assert browser.complaints() == [], "the page runs without errors, and asks for nothing that its policy forbids"


def in_chart(browser, title, wanted):
    """What the JavaScript expression `wanted` is for the `chart`, a figure, of this title."""
    find = (
        "[...document.querySelectorAll('figure')].find((it) => it.querySelector('h3').firstChild.data === arguments[0])"
    )
    return browser.js(f"const chart = {find}; return {wanted};", title)


def texts_in(browser, title, selector):
    return in_chart(browser, title, f"[...chart.querySelectorAll('{selector}')].map((it) => it.textContent)")


def count_in(browser, title, selector):
    return in_chart(browser, title, f"chart.querySelectorAll('{selector}').length")


def show(browser, title):
    """Scroll to a chart, so that it is drawn."""
    in_chart(browser, title, "chart.scrollIntoView({ behavior: 'instant', block: 'center' })")
    find = (
        "[...document.querySelectorAll('figure')].find((it) => it.querySelector('h3').firstChild.data === arguments[0])"
    )
    browser.wait(f"return {find}.querySelector('.plot path.series, .plot circle.dot, .plot g rect')", title)


def test_nothing_is_loaded_from_anywhere(opened, page):
    html = page.read_text()
    markup = html.partition("<style>")[0] + html.partition("</style>")[2]
    assert not re.search(r"""<[^>]*(src|href)=["']?(?!["'#])""", markup), "no file is named in its markup"
    assert opened.js("return performance.getEntriesByType('resource').length") == 0
    assert "default-src 'none'" in html and "unsafe" not in html.partition("<style>")[0]


def test_charts_show_stages_resets_restarts_and_the_alarm_where_it_belongs(opened):
    show(opened, "Training reward")
    assert count_in(opened, "Training reward", ".alarm") == 0, "the alarm was of the entropy"
    show(opened, "Entropy")
    assert texts_in(opened, "Entropy", ".alarm title") == ["alarm at step 7: entropy_collapse"]
    assert texts_in(opened, "Entropy", ".reset title") == ["reset after step 20: a stage begins"]
    assert texts_in(opened, "Entropy", ".restart title") == ["attempt 2 begins at step 31"]
    assert texts_in(opened, "Entropy", "text.stage") == ["first", "second"]
    assert count_in(opened, "Entropy", ".band") == 1
    assert opened.texts("#key li") == ["every other stage", "reset", "start of an attempt", "alarm"]


def test_a_line_lies_where_its_numbers_say(opened):
    """The reward is step / 40: a straight line from (1, 0.025) to (40, 1), read back by the labels of its axis."""
    show(opened, "Training reward")
    labels = in_chart(
        opened,
        "Training reward",
        "[...chart.querySelectorAll('text[text-anchor=end]')].map((it) => [it.textContent, it.getAttribute('y') - 4])",
    )
    places = dict(labels)
    line = in_chart(opened, "Training reward", "chart.querySelector('path.series').getAttribute('d')")
    heights = [float(pair.split()[1]) for pair in re.findall(r"[\d.]+ [\d.]+", line)]
    values = [(places["0.00"] - height) / (places["0.00"] - places["1.00"]) for height in heights]
    assert values == pytest.approx([step / 40 for step in range(1, 41)], abs=0.005)


def test_a_band_is_one_standard_error_wide(opened):
    show(opened, "Held-out problems")
    assert texts_in(opened, "Held-out problems", ".legend li") == ["pass@1 0.500 ± 0.020", "pass@16 0.500 ± 0.020"]
    assert count_in(opened, "Held-out problems", "path.area") == 2


def test_arrow_keys_read_a_chart_aloud(opened):
    show(opened, "Entropy")
    in_chart(opened, "Entropy", "chart.querySelector('.plot').focus()")
    plot = opened.driver.switch_to.active_element
    plot.send_keys(HOME + RIGHT)
    assert opened.texts("#spoken") == ["step 2: entropy 0.500"]
    plot.send_keys(END)
    assert opened.texts("#spoken") == ["step 40: entropy 0.0250"]
    label = plot.get_attribute("aria-label")
    assert "from 1 at step 1 to 0.0250 at step 40, lowest 0.0250 at step 40, highest 1 at step 1" in label
    assert texts_in(opened, "Training reward", ".legend b")[0] == "1", "the other charts follow"


def test_behind_every_chart_there_is_a_table(opened):
    show(opened, "Entropy")
    in_chart(opened, "Entropy", "chart.querySelector('summary').click()")
    opened.wait("return document.querySelector('figure table')")
    rows = in_chart(
        opened,
        "Entropy",
        "[...chart.querySelectorAll('tr')].map((row) => [...row.children].map((it) => it.textContent))",
    )
    assert rows[0] == ["step", "entropy"] and rows[4] == ["4", "0.250"] and len(rows) == 41
    assert texts_in(opened, "Entropy", "caption") == ["Entropynats a token"]


def test_the_steps_that_charts_show_can_be_chosen(opened):
    ticks = "text[text-anchor=middle]:not(.stage)"
    show(opened, "Entropy")
    opened.choose("to", "10")
    assert texts_in(opened, "Entropy", ticks)[-1] == "10"
    opened.js("document.querySelector('#view button').click()")
    assert texts_in(opened, "Entropy", ticks)[-1] == "40"
    assert opened.js("return document.getElementById('to').value") == "40"


def test_a_metric_that_no_chart_knows_is_shown_all_the_same(opened):
    opened.js("[...document.querySelectorAll('#rest summary')].find((it) => it.textContent === 'strange (1)').click()")
    opened.wait("return document.querySelector('#rest figure')")
    show(opened, "strange/metric")
    assert texts_in(opened, "strange/metric", ".legend b") == ["\N{MINUS SIGN}10"]


def test_evaluations_and_the_boundary_are_there(opened):
    regimes = opened.texts("#boundary tbody tr")
    assert all(any(name in row and kind in row for row in regimes) for name, kind in KINDS.items())
    show(opened, "gpqa_diamond")
    assert texts_in(opened, "gpqa_diamond", "text[text-anchor=middle]") == ["1", "2", "4", "8", "16", "k"]
    assert count_in(opened, "gpqa_diamond", "path.area") == 2
    show(opened, "Base against gain")
    assert "boxnet" in texts_in(opened, "Base against gain", ".plot svg")[0]
    assert "By set and task: final" in opened.texts("#evaluation summary")


def found(browser, start):
    """Until the samples are counted, and the count begins so."""
    browser.wait("return document.getElementById('count').textContent.startsWith(arguments[0])", start)


def test_samples_are_filtered_searched_and_turned_over(opened):
    opened.choose("by-from", "training")
    found(opened, "90 of")
    assert opened.texts("#page-number") == ["page 1 of 5"]
    opened.js("document.getElementById('next').click()")
    opened.wait("return document.getElementById('page-number').textContent === 'page 2 of 5'")
    opened.choose("by-domain", "logic")
    found(opened, "18 of")
    opened.choose("by-outcome", "right")
    found(opened, "6 of")  # of 3, 8, 13, ..., 88 every third
    opened.choose("by-outcome", "no_answer")
    opened.wait("return document.getElementById('count').textContent.includes('nothing fits')")  # 1, 11, ... are code
    opened.js("document.querySelector('#filters button').click()")
    opened.wait("return document.querySelectorAll('#answers details').length === 20")
    opened.choose("find", "ANSWER 77, i")
    found(opened, "1 of")
    assert "answer 77" in opened.texts("#answers .first")[0]
    opened.choose("find", ".*")
    found(opened, "0 of")


def test_hostile_texts_are_shown_and_never_obeyed(opened):
    opened.choose("by-from", "training")
    opened.choose("order", "oldest")
    found(opened, "90 of")
    for number, text in enumerate(HOSTILE):
        opened.choose("find", f"question {number}:")
        opened.wait(f"return document.querySelector('#answers details')?.dataset.key.includes('problem-{number} ')")
        opened.js("document.querySelector('#answers summary').click()")
        opened.wait("return document.querySelector('#answers pre')")
        units = "[...document.querySelectorAll('#answers pre')[1].textContent].map((it) => it.codePointAt(0))"
        assert opened.js(f"return {units}") == [ord(letter) for letter in text]
        assert opened.js("return document.querySelectorAll('#answers pre *, #answers dd *').length") == 0
        assert opened.js("return getComputedStyle(document.querySelector('#answers pre')).unicodeBidi") == "isolate"
    assert opened.js("return [typeof window.hacked, document.images.length]") == ["undefined", 0]
    assert opened.driver.title == "<img src=x onerror=window.hacked=3>"
    assert opened.texts("h1") == [opened.driver.title]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_text_is_readable_in_both_themes(opened, page, dark):
    """The contrast of every text with what lies behind it is 4.5 at least: level AA."""
    opened.open(page, dark=dark)
    opened.js("document.querySelector('#answers summary').click()")
    paper = opened.js("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    assert (max(paper) < 60) if dark else (min(paper) > 200)
    assert opened.js(CONTRAST.read_text()) == []


def test_the_theme_can_be_chosen_and_stays(opened, page):
    opened.choose("theme", "dark")
    opened.open(page)
    assert opened.js("return document.documentElement.dataset.theme") == "dark"
    assert opened.js("return getComputedStyle(document.documentElement).colorScheme") == "dark"
    opened.choose("theme", "auto")
    assert opened.js("return document.documentElement.dataset.theme") is None


def test_everything_has_a_name_and_headings_go_down_step_by_step(opened):
    opened.js("document.querySelector('#answers summary').click()")
    levels = opened.js("return [...document.querySelectorAll('h1, h2, h3, h4')].map((it) => +it.tagName[1])")
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))
    for kind, nameless in (
        ("input, select", "!it.labels.length"),
        (".plot, .table, pre", "!it.ariaLabel || it.tabIndex"),
    ):
        assert opened.js(f"return [...document.querySelectorAll('{kind}')].filter((it) => {nameless}).length") == 0
    ids = opened.js("return [...document.querySelectorAll('[id]')].map((it) => it.id)")
    assert len(ids) == len(set(ids))
    links = opened.js("return [...document.querySelectorAll('nav a')].map((it) => it.getAttribute('href').slice(1))")
    assert set(links) <= set(ids) and "boundary" in links
    assert opened.js("return document.documentElement.lang") == "en"


def test_the_first_tab_leads_past_the_head(opened):
    opened.driver.switch_to.active_element.send_keys(TAB)
    assert opened.js("return document.activeElement.textContent") == "Skip to the charts"
    assert opened.js("return document.activeElement.offsetWidth") > 50, "it is seen when it has the focus"


def test_a_phone_shows_all_of_it(opened, page):
    opened.open(page, width=360, height=740)
    assert opened.js("return document.documentElement.scrollWidth") == 360, "nothing hangs over the edge"
    controls = "[...document.querySelectorAll('button, select, input')].filter((it) => it.checkVisibility())"
    assert opened.js(f"return {controls}.every((it) => it.offsetHeight >= 44)"), "a finger hits everything"
    show(opened, "Entropy")
    assert in_chart(opened, "Entropy", "chart.querySelector('.plot svg').clientWidth") <= 360
