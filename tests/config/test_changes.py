"""What has changed between two configurations."""

from nemo_prorl.config.changes import changes


def test_every_value_that_differs_is_named_by_its_path():
    before = {"run": {"seed": 0, "dir": "a"}, "gone": 1, "same": [1, 2]}
    now = {"run": {"seed": 3, "dir": "a"}, "same": [1, 2], "new": {"x": 2}}
    assert list(changes(before, now)) == ["gone: 1 -> nothing", "new: nothing -> {'x': 2}", "run.seed: 0 -> 3"]


def test_nothing_has_changed_in_the_same_settings():
    assert list(changes({"a": {"b": 1}}, {"a": {"b": 1}})) == []
