"""`prorl report`: what a user types, and a page that keeps up with a live run."""

import json
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from nemo_prorl.cli import main
from nemo_prorl.commands.report_sources import Sources
from tests.analysis.example_analysis import example_analysis
from tests.analysis.example_run import records_of, write_run, write_status
from tests.browser import chromium, needs_chromium
from tests.evaluation.examples import BASE, example_evaluation
from tests.house.source import ROOT


def test_a_run_becomes_a_page_in_its_own_folder(tmp_path, capsys):
    run = write_run(tmp_path / "first")
    before = {path.name for path in run.iterdir()}
    assert main(["report", str(run)]) == 0
    assert "report.html is written (0." in capsys.readouterr().out
    assert {path.name for path in run.iterdir()} == {*before, "report.html"}
    html = (run / "report.html").read_text()
    assert "<title>first</title>" in html and html.count("<script>") == 1
    assert main(["report", str(run)]) == 0, "it is written anew"


def test_a_dry_run_says_what_the_page_would_be_made_of(tmp_path, capsys):
    run = write_run(tmp_path / "run")
    example_evaluation(run / "evaluations" / "base", BASE, samples=2)
    (tmp_path / "analysis").mkdir()
    example_analysis().write(tmp_path / "analysis")
    assert main(["report", str(run), str(tmp_path / "analysis"), "--out", str(tmp_path / "x.html"), "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"run: {run}",
        f"evaluation: {run / 'evaluations' / 'base'}",
        f"analysis: {tmp_path / 'analysis'}",
        f"would write {tmp_path / 'x.html'}",
    ]
    assert not (tmp_path / "x.html").exists()


def test_evaluations_alone_make_a_page(tmp_path, capsys):
    example_evaluation(tmp_path / "base", BASE, samples=2)
    assert main(["report", str(tmp_path / "base"), "--title", "Our base"]) == 0
    assert "<title>Our base</title>" in (tmp_path / "base" / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["empty"], "empty is not the folder of a run, of an evaluation or of an analysis", 3),
        (["run", "other"], "a report is about one run, and these are 2", 3),
        (["evaluation", "--watch"], "there is nothing to watch", 2),
        (["run", "--out", "run/metrics.jsonl/x.html"], "can't be written", 2),
    ],
)
def test_what_makes_no_sense_is_named(tmp_path, monkeypatch, capsys, arguments, message, code):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    write_run(tmp_path / "run")
    write_run(tmp_path / "other")
    example_evaluation(tmp_path / "evaluation", BASE, samples=2)
    assert main(["report", *arguments]) == code
    assert message in capsys.readouterr().err


def test_a_run_that_is_over_is_not_watched(tmp_path, capsys):
    run = write_run(tmp_path / "run")
    assert main(["report", str(run), "--watch"]) == 0
    assert "the run is over" in capsys.readouterr().out
    assert not list(run.glob("report.*.js"))


@contextmanager
def watching(run):
    """`prorl report --watch` as a process of its own; killed at the end if it is still there."""
    command = [sys.executable, "-m", "nemo_prorl", "report", str(run), "--watch", "--every", "0.2"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        wait_for(run / "report.news.js", process)
        yield process
    finally:
        process.kill()
        process.wait(60)


def wait_for(path, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline, f"{path} didn't come"
        time.sleep(0.05)


def add_step(run, step):
    with (run / "metrics.jsonl").open("a") as file:
        file.write("".join(json.dumps(record) + "\n" for record in records_of(step, 40)))
    write_status(run, step=step, steps=60, state="running")


@pytest.mark.processes
def test_ctrl_c_ends_watching_cleanly(tmp_path):
    run = write_run(tmp_path / "run", state="running")
    with watching(run) as process:
        assert '"name": "report"' in (run / "report.html").read_text()
        process.send_signal(signal.SIGINT)
        told, _ = process.communicate(timeout=120)
    assert process.returncode == 0 and "watching was interrupted; the run isn't" in told
    assert not list(run.glob("report.*.js"))
    assert 'id="data-live">null<' in (run / "report.html").read_text(), "what stays is a page that stays as it is"


@pytest.mark.processes
@needs_chromium
def test_an_open_page_follows_a_live_run_to_its_end(tmp_path):
    run = write_run(tmp_path / "run", state="running")
    state = "return document.getElementById('state').textContent.includes(arguments[0])"
    with watching(run) as process, chromium(tmp_path / "profile") as browser:
        browser.open(run / "report.html")
        assert browser.js(state, "step 40")
        browser.js(
            "document.querySelector('#rest summary').click(); document.querySelector('#answers summary').click()"
        )
        browser.js("document.querySelector('#kl .plot').focus()")
        add_step(run, 41)
        browser.wait(state, "step 41 of 60")
        assert browser.js("return document.querySelector('#rest details').open"), "what was open is open"
        assert browser.js("return document.querySelector('#answers details').open")
        assert browser.js("return document.activeElement.closest('section')?.id") == "kl"
        assert browser.texts("#live") == ["Live: it renews itself."]
        write_status(run, step=41, steps=60, state="finished")
        told, _ = process.communicate(timeout=120)
        assert process.returncode == 0 and "the run is over" in told
        browser.wait("return document.getElementById('live').textContent.startsWith('The run is over')")
        browser.wait(state, "finished")
        assert browser.complaints() == []
    assert not list(run.glob("report.*.js"))


def test_a_heartbeat_is_nothing_new_and_a_step_is(tmp_path):
    sources = Sources.of([write_run(tmp_path / "run", state="running")])
    before = sources.state()
    write_status(tmp_path / "run", step=40, steps=40, state="running")
    assert sources.state() == before
    add_step(tmp_path / "run", 41)
    assert sources.state() != before
