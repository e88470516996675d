"""Names and knobs become objects, or a message that says what to write instead."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import Field

from nemo_prorl.errors import ConfigError
from nemo_prorl.plugins import configured, resolve

TABLE = {"scale": "tests.test_plugins:scale", "needy": "tests.test_plugins:needy", "gone": "no_such_module:thing"}


def scale(number: float, *, factor: Annotated[float, Field(gt=0)] = 2.0, offset: int = 0) -> float:
    return number * factor + offset


def needy(*, length: int) -> int:
    return length


def test_a_name_or_a_path_of_your_own_is_found():
    assert configured({"name": "scale", "factor": 3}, TABLE, "thing")(2) == 6
    assert configured({"name": "tests.test_plugins:scale", "offset": 1}, TABLE, "thing")(2) == 5


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"name": "scael"}, r"thing.name='scael' is unknown. Did you mean 'scale'\?"),
        ({"name": "scale", "facter": 1}, r"thing.facter is not a knob of scale. Did you mean 'factor'\?"),
        ({"name": "scale", "factor": -1}, "thing.factor: Input should be greater than 0; found -1"),
        ({"name": "scale", "factor": "much"}, "thing.factor: .*; found 'much'"),
        ({"name": "needy"}, "thing: needy also needs length; set thing.length="),
        ({"name": "gone"}, "can't be loaded from 'no_such_module:thing'"),
        ({"name": "tests.test_plugins:nothing"}, "can't be loaded"),
    ],
)
def test_a_wrong_choice_says_what_is_wrong(choice, message):
    with pytest.raises(ConfigError, match=message):
        configured(choice, TABLE, "thing")


def test_reading_a_table_imports_nothing():
    assert resolve("scale", TABLE, "thing") is scale
