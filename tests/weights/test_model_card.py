from pathlib import Path

import pytest
import yaml

from nemo_prorl.config.load import load_config, stated_values
from nemo_prorl.config.problems import missing_paths
from nemo_prorl.weights.model_card import base_model_of, model_card
from nemo_prorl.weights.training_card import training_card


def front_matter(card):
    return yaml.safe_load(card.split("---\n")[1])


def test_a_model_is_called_as_its_hub_knows_it_or_as_its_folder():
    assert base_model_of(Path("/models/qwen"), {"_name_or_path": "Qwen/Qwen2.5-1.5B"}) == "Qwen/Qwen2.5-1.5B"
    assert base_model_of(Path("/models/qwen"), {"_name_or_path": "/home/me"}) == "qwen"
    assert base_model_of(Path("/models/qwen"), {}) == "qwen"


def test_the_front_matter_names_a_base_on_the_hub_and_no_folder_of_ours():
    assert front_matter(model_card("mine", "Qwen/Qwen2.5-1.5B", "A story.", {}))["base_model"] == "Qwen/Qwen2.5-1.5B"
    assert "base_model" not in front_matter(model_card("mine", "folder", "A story.", {}))


def test_settings_stand_in_a_table_whatever_is_in_them():
    card = model_card("mine", "folder", "A story.", {"data": "math | code", "clip": {"low": 0.2}})
    assert "| data | math \\| code |\n" in card
    assert '| clip | {"low": 0.2} |\n' in card


def test_a_trained_models_card_tells_its_run():
    """What the default recipe sets: the paper's clip, temperature and KL weight; no path of the machine."""
    config = load_config("train", ["model.path=/models/base", "recipe=prorl", *given()])
    card = training_card("mine", "train", config.model_dump(mode="json"), {}, steps=50)
    assert front_matter(card)["tags"] == ["nemo-prorl", "reinforcement-learning"]
    for part in ("Base model: base\n", "dynamic sampling", "KL penalty", "| steps taken | 50 |", "temperature 1.2"):
        assert part in card
    assert "/models" not in card
    first = next(iter(config.recipe.stages))
    assert f"| stage {first} | {config.recipe.stages[first].steps} steps of " in card


def test_a_cold_start_is_no_reinforcement_learning():
    overrides = ["model.path=/models/base", "sft.source.path=rows.jsonl"]
    card = training_card("mine", "sft", load_config("sft", overrides).model_dump(mode="json"), {})
    assert front_matter(card)["tags"] == ["nemo-prorl", "sft"]
    assert "Fine-tuned on demonstrations" in card
    assert "| optimizer | AdamW, lr" in card


@pytest.mark.parametrize(
    ("recipe", "told"),
    [
        ("prorl", "resets of the reference and the optimizer where"),
        ("prorl_auto", "resets of the reference and the optimizer where"),  # by plateau and drop alone
        ("prorl_v2", "resets of the reference where"),  # it keeps the optimizer
        ("grpo", None),
    ],
)
def test_a_card_tells_what_is_reset_if_anything_is(recipe, told):
    config = load_config("train", ["model.path=/models/base", f"recipe={recipe}", *given()])
    card = training_card("mine", "train", config.model_dump(mode="json"), {})
    assert told in card if told else "resets" not in card


def given():
    missing = missing_paths(stated_values("train", ["model.path=/models/base", "recipe=prorl"]))
    return [f"{'.'.join(map(str, path))}=given" for path in missing]
