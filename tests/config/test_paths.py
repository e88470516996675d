"""The schema's own keys, and the one a user may have meant."""

import pytest

from nemo_prorl.config.paths import closed_model_at, default_tree, holds_names, is_unknown, nearest, placeholder
from nemo_prorl.config.schema import KLConfig, ProRLConfig, SFTConfig
from nemo_prorl.config.stage import StageConfig

VALUES = {"recipe": {"stages": {"warm": {}, "long": {}}}, "data": {"sources": {"logic": {}}}}


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("optimizer.lrr", "optimizer.lr"),
        ("optimiser", "optimizer"),
        ("optimiser.lr", "optimizer.lr"),
        ("lr", "optimizer.lr"),
        ("recipe.stages.long.kl_wieght", "recipe.stages.long.kl_weight"),
        ("recipe.stages.long.every_steps", "recipe.stages.long.reset.every_steps"),
        ("tensor_paralel_size", "megatron.tensor_parallel_size"),
        ("data.source", "data.sources"),
        ("xyzzy", None),
    ],
)
def test_a_misspelled_or_misplaced_key_leads_to_the_right_one(typed, meant):
    assert nearest(ProRLConfig, typed.split("."), VALUES) == meant


def test_a_path_leads_through_models_and_dicts_of_models():
    assert closed_model_at(ProRLConfig, ("loss", "kl")) is KLConfig
    assert closed_model_at(ProRLConfig, ("recipe", "stages", "any name")) is StageConfig
    assert closed_model_at(ProRLConfig, ("recipe", "stages")) is None
    assert closed_model_at(ProRLConfig, ("run", "seed")) is None
    assert closed_model_at(ProRLConfig, ("nothing", "here")) is None


def test_only_dicts_of_models_hold_names():
    assert holds_names(ProRLConfig, ("recipe", "stages"))
    assert holds_names(ProRLConfig, ("data", "held_out"))
    assert not holds_names(ProRLConfig, ("recipe", "stages", "a", "domain_weights"))  # its keys are domains
    assert not holds_names(ProRLConfig, ("recipe",))
    assert not holds_names(ProRLConfig, ())


def test_knobs_are_free_and_fields_are_not():
    assert is_unknown(KLConfig, "valu")
    assert not is_unknown(KLConfig, "value")
    objective = closed_model_at(ProRLConfig, ("loss", "objective"))
    assert objective is not None and not is_unknown(objective, "clip_low")


def test_a_required_value_is_described_by_its_field():
    assert placeholder(ProRLConfig, ("model", "path")) == "FOLDER"
    assert placeholder(ProRLConfig, ("data", "sources", "math", "path")) == "FILE"
    assert placeholder(ProRLConfig, ("run", "seed")) == "VALUE"


@pytest.mark.parametrize("schema", [ProRLConfig, SFTConfig])
def test_the_tree_of_defaults_is_what_the_fields_say(schema):
    tree = default_tree(schema)
    assert tree["run"] == schema.model_fields["run"].default.model_dump()
    assert "model" not in tree  # its only field has no default
