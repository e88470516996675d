"""Stages state what differs."""

from nemo_prorl.config.inheritance import inherit_stages, where_stated

RECIPE = {
    "common": {"steps": 5, "reset": {"every_steps": 2}},
    "stages": {
        "a": {"kl_weight": 0.1, "reset": {"at_entry": True}},
        "b": None,
        "c": {"steps": 9, "reset": {"every_steps": None}},
    },
}


def test_each_stage_starts_from_the_whole_stage_before_it():
    assert inherit_stages(RECIPE)["stages"] == {
        "a": {"steps": 5, "kl_weight": 0.1, "reset": {"every_steps": 2, "at_entry": True}},
        "b": {"steps": 5, "kl_weight": 0.1, "reset": {"every_steps": 2}},
        "c": {"steps": 9, "kl_weight": 0.1, "reset": {"every_steps": None}},
    }


def test_a_reset_at_entry_belongs_to_its_own_stage():
    stages = inherit_stages({"stages": {"a": {"reset": {"at_entry": True}}, "b": {}}})["stages"]
    assert stages == {"a": {"reset": {"at_entry": True}}, "b": {"reset": {}}}


def test_common_is_gone_and_the_rest_of_a_recipe_stays():
    assert inherit_stages({"common": {"steps": 1}, "stages": {"a": {}}, "x": 1}) == {
        "stages": {"a": {"steps": 1}},
        "x": 1,
    }


def test_nothing_that_was_given_is_changed():
    before = repr(RECIPE)
    inherit_stages(RECIPE)
    assert repr(RECIPE) == before


def test_what_is_no_mapping_is_left_for_the_schema_to_refuse():
    assert inherit_stages({"stages": [1]}) == {"stages": [1]}
    assert inherit_stages({"stages": {"a": 3, "b": {"steps": 1}}}) == {"stages": {"a": 3, "b": {"steps": 1}}}
    assert inherit_stages({"common": 4, "stages": {"a": {}}}) == {"common": 4, "stages": {"a": {}}}


def test_a_setting_is_traced_to_where_it_is_written():
    assert where_stated(RECIPE, ("stages", "c", "steps")) == ("stages", "c", "steps")
    assert where_stated(RECIPE, ("stages", "c", "kl_weight")) == ("stages", "a", "kl_weight")
    assert where_stated(RECIPE, ("stages", "b", "reset", "every_steps")) == ("common", "reset", "every_steps")
    assert where_stated(RECIPE, ("stages", "c", "temperature")) == ("stages", "c", "temperature")  # nobody states it
