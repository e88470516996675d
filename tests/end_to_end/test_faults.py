"""A rank dies, stops, hangs or fails: all ranks end within seconds, with one line that says which, where and why.

The suite tries the main kinds. All kinds, and then many in a row at random moments of every phase, with what they leave
compared with an unbroken run bit for bit:

    PRORL_FAULTS=20 python -m pytest tests/end_to_end/test_faults.py -s
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

from tests.end_to_end.forked import Death, Forked, finish_forked, in_phase, status
from tests.end_to_end.runs import records, settings

pytestmark = [pytest.mark.end_to_end, pytest.mark.processes]

LOST, HUNG, ENGINE, FOLDER = 12, 13, 11, 9
KILLED = -signal.SIGKILL
END_SECONDS = 60.0
SOON = ["run.watchdog.silent_seconds=10", "run.watchdog.minutes=0.25", "run.watchdog.rollout_minutes=0.25"]
SOON += ["run.watchdog.validation_minutes=0.25", "run.watchdog.checkpoint_minutes=0.25"]
SPLIT = "megatron.tensor_parallel_size=2"
OBJECTIVE = ["loss.objective.name=tests.end_to_end.plugins:not_a_number_once", "~loss.objective.clip_low"]
OBJECTIVE += ["~loss.objective.clip_high"]
FAULTS = int(os.environ.get("PRORL_FAULTS", "0"))
SEED = int(os.environ.get("PRORL_FAULTS_SEED", str(time.time_ns() % 1_000_000)))  # said when it fails


def often(*values: object) -> ParameterSet:
    """Of the kinds that the suite leaves out, for they take long and differ little."""
    return pytest.param(*values, marks=pytest.mark.skipif(not FAULTS, reason="one of the long ones: PRORL_FAULTS=1"))


def struck(arguments: Sequence[str], logs: Path, death: Death) -> tuple[list[int], str]:
    """Two ranks, until `death` has come over one of them and all have ended in time; exit codes, and what they said."""
    with Forked(arguments, logs, ranks=2, death=death) as run:
        if not run.until(run.death_has_come):  # the run was over before
            return run.wait(), run.output()
        begun = time.monotonic()
        codes = run.wait(END_SECONDS)
        assert time.monotonic() - begun < END_SECONDS, f"{codes}: some rank had to be killed\n{run.output()}"
        return codes, run.output()


@pytest.mark.parametrize(
    ("death", "codes", "said"),
    [
        (Death("update", 2, rank=1), [LOST, KILLED], "has ended without a word"),
        (Death("rollout", 2, rank=1, how="stop"), [HUNG, HUNG], "no sign of life"),
        (Death("update", 2, rank=1, how="hang"), [HUNG, HUNG], "no progress"),
        often(Death("starting", rank=1), [LOST, KILLED], "in phase starting"),
        often(Death("rollout", 2, rank=0), [KILLED, LOST], "has ended without a word"),
        often(Death("checkpoint", 1, rank=1, how="raise"), [LOST, 1], "Fault: a fault of the test's own in checkpoint"),
        often(Death("update", 2, rank=1, how="late"), [LOST, LOST], "though no rank is known to be dead: rank 1"),
        often(Death("update", 2, rank=0, how="fill"), [FOLDER, FOLDER], "rank 0 failed in phase "),
    ],
    ids=lambda value: f"{value.how}_{value.rank}_in_{value.phase}" if isinstance(value, Death) else "",
)
def test_whatever_befalls_a_rank_all_end_soon_and_say_which_and_where(
    death: Death, codes: list[int], said: str, model: Path, problems: Path, tmp_path: Path
) -> None:
    limits = SOON if death.how in ("stop", "hang") else []
    if death.how == "late":
        limits = ["megatron.collective_timeout_minutes=0.1"]
    arguments = settings(model, problems, tmp_path / "run", SPLIT, *limits)
    found, output = struck(arguments, tmp_path / "logs", death)
    assert found == codes, output
    assert said in output, output
    assert f"rank {death.rank}" in output, output
    if death.rank != 0:
        left = status(tmp_path / "run")
        assert (left["state"], left["exit_code"], left["restart"]) == ("failed", codes[0], True), left
        assert "rank 1" in left["reason"]
    if death.how == "hang":
        logs = sorted((tmp_path / "run").glob("attempts/0001/logs/rank_*.log"))
        stacks = [log.read_text() for log in logs]
        assert len(stacks) == 2
        assert all("most recent call first" in text for text in stacks)
        assert "in comes" in stacks[1]


def test_an_update_that_is_not_a_number_on_one_rank_is_skipped_on_all(
    model: Path, problems: Path, tmp_path: Path
) -> None:
    """Two updates a step: the third call is step 2's first. The step's other update teaches."""
    arguments = settings(model, problems, tmp_path / "run", SPLIT, *OBJECTIVE, steps=3)
    bad = ["+loss.objective.call=3", "+loss.objective.rank=1"]
    finish_forked([*arguments, *bad], tmp_path / "logs", ranks=2)
    steps = records(tmp_path / "run")
    assert [record["optimizer/skipped_updates"] for record in steps] == [0, 1, 1]
    assert len({record["policy/entropy"] for record in steps}) == 3


def test_a_run_that_goes_back_trains_the_steps_since_the_checkpoint_again_on_other_data(
    model: Path, problems: Path, tmp_path: Path
) -> None:
    """Checkpoints after steps 2 and 4; the seventh call is step 4's first.

    So between the records of steps 2 and 3 that stay lie three steps of 4 prompts each, of a source of 5.
    """
    arguments = settings(model, problems, tmp_path / "run", *OBJECTIVE, steps=5)
    finish_forked([*arguments, "+loss.objective.call=7", "bad_updates.not_finite=rewind"], tmp_path / "logs")
    steps = records(tmp_path / "run")
    assert [record["step"] for record in steps] == [1, 2, 3, 4, 5]
    assert [record["optimizer/rewinds"] for record in steps] == [0, 0, 1, 1, 1]
    walked = [record["data/epochs/vowels/instruction"] for record in steps]
    assert walked[2] - walked[1] >= 12 / 5
    (event,) = records(tmp_path / "run", "rewind")
    assert event["step"] == 3
    assert "in step 4 the gradient of update 7 is not a finite number" in event["note"]


def test_a_run_that_goes_back_to_where_it_was_stopped_within_a_validation_validates_again(
    model: Path, problems: Path, tmp_path: Path
) -> None:
    """Stopped in the validation after step 2, it saves. When it goes on, the first update of step 3 is bad."""
    run_dir = tmp_path / "run"
    more = ["rollout.name=tests.end_to_end.plugins:Unhurried", "checkpoint.every_steps=null", "checkpoint.keep_best=0"]
    arguments = settings(model, problems, run_dir, *OBJECTIVE, *more, "bad_updates.not_finite=rewind", steps=3)
    with Forked([*arguments, "+loss.objective.call=0"], tmp_path / "logs") as run:
        assert run.until(in_phase(run_dir, "validation", 2)), run.output()
        run.signal(signal.SIGTERM)
        assert run.wait() == [75], run.output()
    finish_forked([*arguments, "+loss.objective.call=1"], tmp_path / "logs_again")
    assert [record["step"] for record in records(run_dir, "rewind")] == [3]
    assert [record["step"] for record in records(run_dir, "validation")] == [0, 2, 3]


def test_an_engine_that_fails_is_made_anew_and_gives_the_same_and_one_that_fails_again_stops_a_run_that_is_saved(
    model: Path, problems: Path, tmp_path: Path
) -> None:
    """The fourth time it is asked is step 2's: gate and validation come first. Verdicts of what is asked again count
    twice.

    One run is helped by a new engine, one stops and is started again; neither may differ from the other.
    """

    def run(name: str, first: int, last: int) -> list[str]:
        brittle = [f"+rollout.first={first}", f"+rollout.last={last}"]
        engine = "rollout.name=tests.end_to_end.plugins:Brittle"
        return settings(model, problems, tmp_path / name, engine, *brittle, steps=2)

    def told(name: str) -> list[dict[str, object]]:
        every = records(tmp_path / name, None)
        return [{key: value for key, value in record.items() if not key.startswith("verifier/")} for record in every]

    finish_forked(run("renewed", 4, 4), tmp_path / "logs_renewed")
    with Forked(run("stopped", 4, 9), tmp_path / "logs_stopped") as broken:
        assert broken.wait() == [ENGINE], broken.output()
        assert "MemoryError: the engine's own trouble" in broken.output()
    left = status(tmp_path / "stopped")
    assert (left["state"], left["step"], left["restart"]) == ("failed", 1, True), left
    finish_forked(run("stopped", 0, 0), tmp_path / "logs_again")
    assert [record["step"] for record in told("stopped") if record["kind"] == "train"] == [1, 2]
    assert told("stopped") == told("renewed")


@pytest.mark.skipif(not FAULTS, reason="takes a minute a fault: PRORL_FAULTS=20 says how many")
def test_random_faults_in_a_row_lose_nothing_beyond_the_save_interval(
    model: Path, problems: Path, tmp_path: Path
) -> None:
    """Each befalls a run that goes on from what the one before has left, until the run is done and another begins."""
    random_, hit = random.Random(SEED), Counter[str]()
    common = [SPLIT, *SOON, "checkpoint.asynchronous=false", "rollout.name=tests.end_to_end.plugins:Unhurried"]
    finish_forked(settings(model, problems, tmp_path / "unbroken", *common), tmp_path / "logs", ranks=2)
    number = count = 0
    longest_loss = 0
    while count < FAULTS:
        run_dir = tmp_path / f"run_{number}"
        arguments = settings(model, problems, run_dir, *common)
        codes = [1]
        while any(codes) and count < FAULTS:
            phase = random_.choice(("starting", "rollout", "logprobs", "update", "validation", "checkpoint", "reset"))
            how = random_.choice(("kill", "kill", "stop", "hang", "raise"))
            rank = random_.randrange(2)
            if phase == "starting":
                rank, how = 1, random_.choice(("kill", "stop"))
            death = Death(phase, random_.choice((1, 1, 2)), random_.uniform(0, 0.2), rank, how)
            done = max((record["step"] for record in records(run_dir)), default=0)
            codes, said = struck(arguments, tmp_path / f"logs_{count}", death)
            resumed = int(said.partition("resumed after step ")[2].split()[0]) if "resumed after step" in said else 0
            if phase != "starting" and "validation at step 0" not in said:
                longest_loss = max(longest_loss, done - resumed)
            print(death, codes, flush=True)
            if any(codes):
                count += 1
                hit[f"{how} in {phase}"] += 1
                assert f"rank {rank}" in said or how == "kill", f"seed {SEED}: {death}\n{said}"
                assert set(codes) <= {LOST, HUNG, KILLED, 1}, f"seed {SEED}: {death} {codes}\n{said}"
        finish_forked(arguments, tmp_path / f"logs_run_{number}", ranks=2)
        for file in ("metrics.jsonl", "samples.jsonl"):
            assert records(run_dir, None, file) == records(tmp_path / "unbroken", None, file), f"seed {SEED}"
        number += 1
    assert longest_loss <= 2, f"seed {SEED}: the interval is two steps"
    print(json.dumps({"seed": SEED, "runs": number, "longest_loss_steps": longest_loss, "hit": hit}))
