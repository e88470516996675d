"""A validation curve drives the whole trainer through stages and resets, exactly as it was planned."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.runs import SCRIPTED, records, settings, with_recipe
from tests.end_to_end.scripted_validation import follow
from tests.processes import run_ranks

pytestmark = [pytest.mark.end_to_end, pytest.mark.processes]

# Three stages. `quickstart` is the one that tests.end_to_end.runs sets the sizes of; the others inherit them.
PLAN = (
    "recipe.stages.quickstart.steps=10",
    "recipe.stages.quickstart.reset.every_steps=null",
    "+recipe.stages.quickstart.end={plateau: {patience: 2}}",
    "+recipe.stages.second={steps: 6, end: {plateau: null}, reset: {at_entry: true, drop: {limit: 0.1}, to: best}}",
    "+recipe.stages.third={steps: 3, reset: {drop: null, every_steps: 2, to: policy, optimizer: false}}",
    "validation.every_steps=1",
    "checkpoint.every_steps=5",
)
# Stage one: the best is step 1's .4, and two later ones are not better, so it ends after step 3, long before its 10.
# Stage two begins with a reset, to that best. Its own best is step 4's .5; step 6's .38 lies .12 below, over .1: back
# to step 4's policy. It ends after its 6 steps, at step 9. Stage three finds 3 steps since the reset, over 2, at once,
# and 2 more at 11.
SCORES = {
    0: 0.2,
    1: 0.4,
    2: 0.3,
    3: 0.35,
    4: 0.5,
    5: 0.45,
    6: 0.38,
    7: 0.55,
    8: 0.6,
    9: 0.58,
    10: 0.1,
    11: 0.2,
    12: 0.3,
}


# The paper's runs on the problems of these tests, which are all of the domain that its first two runs leave out.
SMALL = (
    "~data.sources.practice",
    "~data.sources.instructions",
    "validation.every_steps=1",
    "checkpoint.every_steps=null",
    *(f"recipe.common.{size}" for size in ("prompts_per_step=2", "prompts_per_update=2", "samples_per_prompt=4")),
    "recipe.common.max_response_tokens=12",
    "recipe.stages.run1.exclude_domains=[]",
    "recipe.stages.run6.samples_per_prompt=8",
    "recipe.stages.run8={samples_per_prompt: 4, max_response_tokens: 12}",
    "recipe.stages.run1.end={plateau: null, drop: {limit: 0.05, smoothing: 1}}",
)


@pytest.mark.parametrize("ranks", [1, 2], ids=["one_process", "tensor_parallel_2"])
def test_scores_drive_stages_and_resets_as_planned(ranks: int, model: Path, problems: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    arguments = settings(model, problems, run_dir, *SCRIPTED, *PLAN, f"megatron.tensor_parallel_size={ranks}")
    for resets in run_ranks(follow, ranks, arguments, SCORES):
        assert [reset["step"] for reset in resets] == [3, 6, 9, 11]
        assert all(reset["gap"] <= 1e-6 for reset in resets), "the reference is the policy"
        assert [reset["moments_zero"] for reset in resets] == [True, True, False, False]
        assert [reset["moments_kept"] for reset in resets] == [False, False, True, True]
        assert not any(reset["lr_changed"] for reset in resets)
        assert [reset["weights_of"] for reset in resets] == [[1], [4], [9], [11]], "two went back to the best"

    trained = records(run_dir)
    assert [record["note"] for record in trained] == ["quickstart"] * 3 + ["second"] * 6 + ["third"] * 3
    assert [record["reset/steps_since"] for record in trained] == [1, 2, 3, 1, 2, 3, 1, 2, 3, 1, 2, 1]
    assert [(record["step"], record["note"]) for record in records(run_dir, "stage")] == [
        (3, "quickstart is over, no validation better than 0.4000 in the last 2; second begins"),
        (9, "second is over, its 6 steps are done; third begins"),
    ]
    assert [record["note"] for record in records(run_dir, "reset")] == [
        "reference and optimizer to the best policy, of step 1: a stage begins",
        "reference and optimizer to the best policy, of step 4: "
        "validation has fallen to 0.3800 from 0.5000, by more than 0.1",
        "reference: 3 steps since the last reset, due every 2",
        "reference: 2 steps since the last reset, due every 2",
    ]
    # Each effect is told when the next reset comes, or the run is over.
    assert [(r["step"], r["reset_effect/reset_at_step"]) for r in records(run_dir, "reset_effect")] == [
        *((6, 3), (9, 6), (11, 9), (12, 11))
    ]


def test_the_eight_runs_of_the_paper_follow_each_other_on_a_curve_that_falls(
    model: Path, problems: Path, tmp_path: Path
) -> None:
    """Scores .5 and .4 in turn: each .4 lies .1 below, over .05, and ends a run. Run 1 sees one after its first step,
    the others after their second; run 8, whose context is another, does not look back at run 7's last score.
    """
    run_dir = tmp_path / "run"
    arguments = [*with_recipe("prorl_tiny", model, problems, run_dir), *SCRIPTED, *SMALL]
    scores = {step: 0.5 - 0.1 * (step % 2) for step in range(20)}
    (resets,) = run_ranks(follow, 1, arguments, scores)
    assert [reset["step"] for reset in resets] == [1, 3, 5, 7, 9, 11, 13]
    assert all(reset["gap"] <= 1e-6 and reset["moments_zero"] for reset in resets)
    names = [record["note"] for record in records(run_dir)]
    assert names == ["run1", *(f"run{number}" for number in range(2, 9) for _ in range(2))]


def test_a_best_policy_that_is_lost_is_said_and_the_present_one_has_to_do(
    model: Path, problems: Path, tmp_path: Path
) -> None:
    """Step 1 is the best; by step 3, when stage one ends, its checkpoint has lost its manifest."""
    run_dir = tmp_path / "run"
    two_stages = [setting for setting in PLAN if "third" not in setting]
    more = ("recipe.stages.second.steps=1", "checkpoint.asynchronous=false")
    arguments = settings(model, problems, run_dir, *SCRIPTED, *two_stages, *more)
    manifest = run_dir / "checkpoints" / "iter_0000001" / "manifest.json"
    (resets,) = run_ranks(follow, 1, arguments, SCORES, manifest)
    assert [reset["weights_of"] for reset in resets] == [[3]]
    (record,) = records(run_dir, "reset")
    assert record["note"] == "reference and optimizer: a stage begins"
    assert "reset/best_step" not in record
