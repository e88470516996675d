"""From what a user types to a configuration, or to one message with everything that is wrong."""

import pytest

from nemo_prorl.config.load import load_config
from nemo_prorl.errors import ConfigError

MODEL = "model.path=somewhere"


def problems(root, *overrides):
    """The lines of the message about everything that is wrong."""
    with pytest.raises(ConfigError) as caught:
        load_config(root, overrides)
    return [line.removeprefix("  - ") for line in str(caught.value).splitlines()[1:]]


def test_defaults_come_from_the_field_and_settings_from_files_and_the_command_line():
    config = load_config("train", ["recipe=tiny", MODEL, "run.seed=7", "optimizer.lr=1e-5"])
    assert config.optimizer.lr == 1e-5  # typed
    assert config.optimizer.beta2 == 0.95  # the field's
    assert config.loss.objective.as_mapping() == {"name": "clip_higher", "clip_low": 0.2, "clip_high": 0.4}  # a file's
    assert config.data.sources["logic"].as_mapping()["seed"] == 7  # ${run.seed} in a file


def test_a_default_that_no_file_states_can_be_referred_to():
    assert load_config("sft", ["sft=reasoning_gym", MODEL]).sft.source.as_mapping()["seed"] == 0


def test_the_papers_settings_are_the_default_recipe():
    config = load_config("train", [MODEL])
    stages = config.recipe.stages
    assert list(stages) == [f"run{number}" for number in range(1, 9)]
    stage = stages["run1"]
    assert (stage.prompts_per_step, stage.prompts_per_update, stage.samples_per_prompt) == (256, 64, 16)
    assert (stage.context_tokens, stage.temperature, stage.kl_weight) == (8192, 1.2, 1e-4)
    assert [run.samples_per_prompt for run in stages.values()] == [16, 16, 16, 16, 16, 32, 32, 16]
    assert [run.context_tokens for run in stages.values()] == [8192] * 7 + [16384]
    assert [run.reset.at_entry for run in stages.values()] == [False] + [True] * 7
    assert [run.exclude_domains for run in stages.values()] == [["instruction"]] * 2 + [[]] * 6
    assert [run.end.response_jump is not None for run in stages.values()] == [False] * 2 + [True] + [False] * 5
    assert all(
        run.end.plateau and run.end.drop and run.reset.reference and run.reset.optimizer for run in stages.values()
    )
    assert config.optimizer.lr == 2e-6
    assert (config.validation.temperature, config.validation.top_p) == (0.6, 0.95)


def test_everything_wrong_is_said_at_once():
    found = problems(
        "train",
        "optimizer.lrr=3",
        "optimizer.lr=-1",
        "megatron.device=tpu",
        "loss.objctive.name=x",
        "recipe.stages.run1.stepz=3",
        "recipe.stages.runn.steps=3",
        "recipe.stages.run1.temperature=hot",
        "kl_weight=0",
        "telemetry.log_level=${nope}",
        "data.sources.logic.weight=-1",
        "run.dir=2024",
        "megatron.tensor_parallel_size=true",
    )
    assert sorted(found) == sorted(
        [
            "optimizer.lrr: unknown key. Did you mean optimizer.lr?",
            "optimizer.lr: should be greater than 0; found -1",
            "megatron.device: should be 'auto', 'cpu' or 'cuda'; found 'tpu'",
            "loss.objctive: unknown key. Did you mean loss.objective?",
            "recipe.stages.run1.stepz: unknown key. Did you mean recipe.stages.run1.steps?",
            "recipe.stages.runn.steps: recipe.stages has no 'runn'. Did you mean 'run8'? It has run1, run2, run3, "
            "run4, run5, run6, run7, run8; to add one, write +recipe.stages.runn.steps=...",
            "recipe.stages.run1.temperature: should be a valid number, unable to parse string as a number; found 'hot'",
            "kl_weight: unknown key. Did you mean recipe.stages.run1.kl_weight?",
            "telemetry.log_level: Interpolation key 'nope' not found",
            "data.sources.logic.weight: should be greater than 0; found -1",
            "run.dir: should be a valid string; found 2024. To give a number as text, quote it twice: \"'2024'\"",
            "megatron.tensor_parallel_size: should be a number; found true",
            "model.path is required: model.path=FOLDER",
        ]
    )


def test_what_must_be_given_is_asked_for_by_what_to_type():
    assert problems("sft") == [
        "model.path is required: model.path=FOLDER",
        "sft.source.path is required: sft.source.path=FILE",
    ]


def test_choices_that_cannot_be_made_are_listed_with_other_certain_mistakes():
    assert problems("train", "recipe=foo", "loss=grp", "megatronn=gpu", "optimizer.lrr=1", "oops", MODEL) == [
        "'oops' can't be read: a setting is KEY=VALUE; quote a value with commas, spaces or = as in 'run.dir=\"a b\"'",
        "recipe=foo is unknown. Choose one of dapo, dapo_tiny, grpo, grpo_tiny, prorl, prorl_auto, "
        "prorl_tiny, prorl_v2, prorl_v2_tiny, quickstart, tiny",
        "loss=grp is unknown. Did you mean 'grpo'? Choose one of dapo, dual_clip, grpo, prorl, prorl_v2",
        "megatronn: unknown key. Did you mean megatron?",
        "optimizer.lrr: unknown key. Did you mean optimizer.lr?",
    ]


def test_an_entry_that_is_taken_away_is_no_unknown_key():
    (found,) = problems("train", "oops", "~data.sources.logic", MODEL)
    assert found.startswith("'oops' can't be read")


def test_one_run_takes_one_value():
    (found,) = problems("train", "optimizer.lr=1e-6,1e-5", MODEL)
    assert found.startswith("'optimizer.lr=1e-6,1e-5' gives several values to optimizer.lr; one run has one")


def test_a_setting_of_hydra_itself_has_no_effect_and_is_refused():
    (found,) = problems("train", "hydra.run.dir=x", MODEL)
    assert found.startswith("hydra.run.dir has no effect here")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("sft=jsonl", "it doesn't choose from conf/sft"),
        ("~optimizer.momentum", "Could not delete from config. 'optimizer.momentum' does not exist"),
        ("hydra.searchpath=null", "hydra.searchpath"),
    ],
)
def test_what_hydra_refuses_is_a_config_error_too(override, message):
    with pytest.raises(ConfigError, match=f"^the settings of prorl train can't be composed: .*{message}"):
        load_config("train", [override, MODEL])


def test_settings_that_contradict_each_other_say_why():
    (found,) = problems("train", MODEL, "data.max_prompt_tokens=9000")
    assert found == (
        "data.max_prompt_tokens=9000 leaves no room for a response in stage 'run1' with context_tokens=8192; "
        "choose less than 8192"
    )
    (found,) = problems("train", MODEL, "recipe.stages.run1.prompts_per_update=100")
    assert found.startswith("recipe.stages.run1: prompts_per_step=256 must be a multiple of prompts_per_update=100")


def test_a_mistake_that_stages_inherit_is_named_once_where_it_is_written():
    assert problems("train", "recipe=tiny", MODEL, "recipe.common.kl_wight=3") == [
        "recipe.common.kl_wight: unknown key. Did you mean recipe.common.kl_weight?"
    ]
    (found,) = problems("train", "recipe=tiny", MODEL, "recipe.common.prompts_per_step=5")
    assert found.startswith("recipe.stages.tiny_first: prompts_per_step=5 must be a multiple of prompts_per_update=2")


def test_a_stage_can_be_added_on_purpose_and_inherits():
    config = load_config("train", [MODEL, "+recipe.stages.last.context_tokens=16384", "recipe.stages.last.steps=200"])
    last = config.recipe.stages["last"]
    assert (last.steps, last.context_tokens, last.temperature) == (200, 16384, 1.2)


def test_stages_are_chosen_by_their_files_in_the_order_written():
    config = load_config("train", [MODEL, "stage=[tiny_second,main]"])
    assert list(config.recipe.stages) == ["tiny_second", "main"]


def test_a_folder_of_ones_own_adds_choices(tmp_path):
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "mine.yaml").write_text("objective: {name: 'my_package.losses:mine', sharpness: 2}\n")
    config = load_config("train", [f"hydra.searchpath=[{tmp_path}]", "loss=mine", MODEL])
    assert config.loss.objective.as_mapping() == {"name": "my_package.losses:mine", "sharpness": 2}


def test_a_typo_in_a_yaml_file_is_found_as_well(tmp_path):
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "mine.yaml").write_text("agregation: {name: token_mean}\n")
    assert problems("train", f"hydra.searchpath=[{tmp_path}]", "loss=mine", MODEL) == [
        "loss.agregation: unknown key. Did you mean loss.aggregation?"
    ]


def test_a_yaml_file_that_is_none_is_a_config_error(tmp_path):
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "mine.yaml").write_text("objective: [1\n")
    with pytest.raises(ConfigError, match="can't be composed"):
        load_config("train", [f"hydra.searchpath=[{tmp_path}]", "loss=mine", MODEL])


def test_a_reference_to_nothing_is_named_where_it_stands_also_below_a_name_with_dots(tmp_path):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "mine.yaml").write_text("v1.5: {name: jsonl, path: '${oc.env:NO_SUCH_VARIABLE}'}\n")
    (found,) = problems("evaluate", f"hydra.searchpath=[{tmp_path}]", "benchmarks=mine", MODEL)
    assert found.startswith("benchmarks.v1.5.path: ") and "'NO_SUCH_VARIABLE' not found" in found


def test_a_value_may_hold_what_the_grammar_uses_when_it_is_quoted():
    assert load_config("train", ["model.path='/a b/c,d=e'"]).model.path == "/a b/c,d=e"
