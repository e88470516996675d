"""What a run's page tells, from the records of its folder."""

import json
import time

import pytest

from nemo_prorl.analysis.panels import TOKENS_PER_SECOND
from nemo_prorl.analysis.run_record import RunRecord, Span
from nemo_prorl.analysis.story import state_of, story_of
from nemo_prorl.analysis.tables import event_tables
from nemo_prorl.errors import DataError
from tests.analysis.example_run import STARTED, write_run


@pytest.fixture
def run(tmp_path):
    return RunRecord.read(write_run(tmp_path / "run"))


def section(story, id):
    return next(one for one in story["sections"] if one["id"] == id)


def titles(panels):
    return [panel["title"] for panel in panels]


def test_stages_attempts_and_events_are_read(run):
    assert run.stages == [Span("first", 1, 20), Span("second", 21, 40)]
    assert [(told.number, told.first_step, told.record["state"]) for told in run.attempts] == [
        (1, 1, "lost"),
        (2, 31, "finished"),
    ]
    assert run.seconds == 200.0
    assert {kind: len(found) for kind, found in run.events.items()} == {"validation": 5, "reset": 1, "alarm": 1}


def test_an_attempt_that_no_step_is_left_of_has_no_first_step(tmp_path):
    folder = write_run(tmp_path / "run")
    late = folder / "attempts" / "0003"
    late.mkdir()
    (late / "attempt.json").write_text(json.dumps({"started_unix_seconds": STARTED + 9999}))
    (folder / "attempts" / "0004").mkdir()  # begun at this moment
    assert [told.first_step for told in RunRecord.read(folder).attempts] == [1, 31, None]


def test_charts_that_a_run_has_no_data_for_are_left_out(run):
    story = story_of(run)
    assert titles(section(story, "dynamics")["panels"]) == [
        "Held-out problems",
        "Training reward",
        "Response length",
        "Entropy",
    ]
    assert titles(section(story, "kl")["panels"]) == ["KL divergence"]
    assert [one["id"] for one in story["sections"]] == [
        "dynamics",
        "kl",
        "validation",
        "rewards",
        "lengths",
        "time",
        "events",
        "rest",
    ]
    lines = section(story, "rewards")["panels"][0]["lines"]
    assert [(line["label"], line["colour"]) for line in lines] == [
        (name, name) for name in ("math", "code", "stem", "logic", "instruction")
    ]


def test_every_metric_of_steps_is_on_some_chart(run):
    story = story_of(run)
    panels = [panel for one in story["sections"] for panel in one.get("panels", [])]
    panels += [panel for one in story["sections"] for fold in one.get("folded", []) for panel in fold["panels"]]
    shown = {line["metric"] for panel in panels for line in panel["lines"]}
    assert set(story["curves"]["steps"]["y"]) <= shown


def test_curves_are_the_records_to_five_digits(run):
    story = story_of(run)
    steps = story["curves"]["steps"]
    assert steps["x"] == list(range(1, 41))
    assert steps["y"]["policy/entropy"][:3] == [1, 0.5, 0.33333]
    assert steps["y"][TOKENS_PER_SECOND][0] == pytest.approx(8 * 101 / 5), "8 verdicts of 101 tokens in 5 seconds"
    assert story["curves"]["validation"]["y"]["validation/all/pass_at_1"] == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])


def test_the_first_and_the_last_validation_are_compared_place_by_place(run):
    (table,) = section(story_of(run), "validation")["tables"]
    assert [row[0] for row in table["rows"]] == [
        "All",
        "Domain: logic",
        "Domain: math",
        "Set: exam",
        "Set: other",
        "bits",
        "lcm",
    ]
    assert table["rows"][0] == [
        "All",
        "0.100 ± 0.020",
        "0.500 ± 0.020",
        "+0.400",
        "0.500 ± 0.020",
        "0.500 ± 0.020",
        "+0.000",
    ]


def test_events_are_told_as_tables(run):
    alarms, resets, stages, attempts = event_tables(run)
    assert alarms.rows == [["7", "entropy_collapse", "0.04", "0.05", "raise clip_high"]]
    assert resets.rows == [["20", "a stage begins", "0.19", "", "", ""]]
    assert [row[:3] for row in stages.rows] == [["first", "1 to 20", "20"], ["second", "21 to 40", "20"]]
    assert [row[-2:] for row in attempts.rows] == [["1", "lost"], ["31", "finished"]]
    assert story_of(run)["alarms"] == [[7, "entropy_collapse", "policy/entropy"]]


@pytest.mark.parametrize(
    ("state", "idle", "expected"),
    [("running", 5, "running"), ("running", 600, "lost"), ("finished", 600, "finished"), ("stopped", 600, "stopped")],
)
def test_a_run_that_gives_no_sign_of_life_is_told_as_lost(state, idle, expected):
    now = time.time()
    told = state_of({"state": state, "heartbeat_unix_seconds": now - idle, "phase": "rollout"}, now)
    assert told["name"] == expected
    assert ("no sign of life for 10 min" in told["detail"]) == (expected == "lost")


def test_a_run_that_has_only_begun_has_a_page(tmp_path):
    (tmp_path / "status.json").write_text('{"state": "starting", "step": null}')
    story = story_of(RunRecord.read(tmp_path))
    assert story["sections"] == [] and story["curves"]["steps"]["x"] == []


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(DataError, match=r"is not the folder of a run.*run\.dir"):
        RunRecord.read(tmp_path)
