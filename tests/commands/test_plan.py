"""--dry-run: the plan of a run, worked out by hand for small numbers."""

import os
import subprocess
import sys

import pytest

from nemo_prorl.commands.plan import supervised_plan, training_plan
from nemo_prorl.config.load import load_config
from nemo_prorl.errors import ConfigError, WeightsError
from tests.house.source import ROOT
from tests.tiny_models import tiny_hf_folder


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_hf_folder(tmp_path_factory.mktemp("models") / "qwen2", max_position_embeddings=512)


@pytest.fixture
def run_python_with(tmp_path):
    """What a program prints; run in a fresh process, away from the checkout."""

    def run(code):
        environment = {key: value for key, value in os.environ.items() if key != "WORLD_SIZE"}
        environment["PYTHONPATH"] = str(ROOT)
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


def plan(model, *overrides, environment=None):
    config = load_config("train", ["recipe=tiny", f"model.path='{model}'", *overrides])
    return training_plan(config, environment or {})


def line(text, label):
    """What stands behind a label, blanks squeezed."""
    (found,) = [row for row in text.splitlines() if row.startswith(label + "  ")]
    return " ".join(found.removeprefix(label).split())


def test_a_step_is_counted_stage_by_stage(model):
    """4 prompts x 2 samples = 8 sequences of at most 448 + 16 = 464 tokens: 3,712; the second stage has twice as many.

    2 stages x 3 steps x 2 updates = 12 updates.
    """
    text = plan(model)
    assert line(text, "run") == "6 steps, 12 updates, in 2 stages; seed 0"
    assert line(text, "stage") == "tiny_first tiny_second"
    assert line(text, "sequences/step") == "8 16"
    assert line(text, "updates/step") == "2", "what is the same in all stages stands once"
    assert line(text, "sequences/update") == "4 8"
    assert line(text, "tokens/step") == "<= 3,712 <= 7,424"
    assert line(text, "reset when") == "- entry"
    assert line(text, "reset what") == "reference, optimizer"
    assert line(text, "ends early") == "-"


def test_what_may_end_or_reset_a_stage_is_said(model):
    text = plan(
        model,
        "recipe.stages.tiny_first.end={plateau: {patience: 2}, max_hours: 3}",
        "recipe.stages.tiny_second.reset={at_entry: true, kl_limit: 0.5, to: best, optimizer: false}",
    )
    assert line(text, "run") == "at most 6 steps, 12 updates, in 2 stages; seed 0"
    assert line(text, "ends early") == "plateau, max_hours"
    assert line(text, "reset when") == "- entry, KL > 0.5"
    assert line(text, "reset what") == "reference, optimizer reference to the best"


def test_the_plan_tells_what_is_validated_and_how_rewards_are_shaped(model):
    text = plan(
        model,
        "validation.every_steps=2",
        "data.held_out.logic_held_out.weight=2",
        "data.held_out.logic_held_out.every_validations=3",
        "loss.advantage.name=group_mean",
        "+recipe.stages.tiny_first.shaping.cut={name: termination_penalty}",
        "+recipe.stages.tiny_second.shaping.cut=null",
    )
    assert line(text, "validation") == "every 2 steps and after the last: logic_held_out (weight 2, in one of 3)"
    assert line(text, "shaping") == "termination_penalty -"
    assert line(text, "advantage") == "group_mean"


def test_a_shaping_with_a_knob_that_it_does_not_have_is_named(model):
    with pytest.raises(ConfigError, match=r"recipe.stages.tiny_first.shaping.cut.penlty is not a knob.*'penalty'"):
        plan(model, "+recipe.stages.tiny_first.shaping.cut={name: termination_penalty, penlty: 1}")


def test_the_model_is_measured_but_not_built(model, run_python_with):
    """279 x 32 embeddings + 2 x (3,072 + 64 attention + 64 norms + 6,144 MLP) + 32 final norm = 27,648 parameters."""
    text = plan(model)
    assert line(text, "parameters") == "27,648 (qwen2, 2 layers, tied embeddings of 279 tokens, padded to 384)"
    said = run_python_with(
        "import sys; from nemo_prorl.cli import main\n"
        f"code = main(['train', 'recipe=tiny', 'model.path={model}', '--dry-run'])\n"
        "print(code, [name for name in sys.modules if name.startswith('megatron.core')])"
    )
    assert said.endswith("0 []")


def test_ranks_come_from_the_environment_or_are_as_few_as_fit(model):
    cut = ("megatron.tensor_parallel_size=2", "megatron.pipeline_parallel_size=2")
    assert line(plan(model, *cut), "layout") == (
        "4 ranks = 2 tensor x 2 pipeline x 1 context x 1 data parallel "
        "(the fewest that fit; --world-size plans for more)"
    )
    assert line(plan(model, *cut, environment={"WORLD_SIZE": "8"}), "layout") == (
        "8 ranks = 2 tensor x 2 pipeline x 1 context x 2 data parallel"
    )


def test_a_reference_takes_memory_only_where_it_is_used(model):
    assert "reference" in line(plan(model), "memory of a rank")
    without = plan(model, "recipe.common.kl_weight=0")
    assert "reference" not in line(without, "memory of a rank")


def test_a_layout_that_does_not_fit_is_refused_like_in_the_run(model):
    with pytest.raises(ConfigError, match="tensor_parallel_size=3 does not divide the model's 4 attention heads"):
        plan(model, "megatron.tensor_parallel_size=3")
    with pytest.raises(ConfigError, match="3 ranks can't be cut into groups"):
        plan(model, "megatron.tensor_parallel_size=2", environment={"WORLD_SIZE": "3"})


def test_every_plug_in_that_cannot_be_had_is_named_at_once(model):
    with pytest.raises(ConfigError) as caught:
        plan(model, "loss.objective.clip_hi=1", "rollout.name=vlm", "data.sources.logic.seeed=3")
    message = str(caught.value)
    assert "loss.objective.clip_hi is not a knob of clip_higher. Did you mean 'clip_high'?" in message
    assert "rollout.name='vlm' is unknown" in message
    assert "data.sources.logic.seeed is not a knob of ReasoningGymSource. Did you mean 'seed'?" in message


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"config\.json is missing"):
        plan(tmp_path)


def test_a_cold_start_has_a_plan_too(model):
    config = load_config("sft", ["sft=quickstart_careful", f"model.path='{model}'", "sft.steps=7"])
    text = supervised_plan(config, {})
    assert line(text, "run") == "7 steps, one update each; seed 0"
    assert line(text, "sequences a step") == "32 of up to 128 tokens"
    assert line(text, "tokens a step") == "up to 4,096"
