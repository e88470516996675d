"""What the schema refuses by itself."""

import pytest
from pydantic import ValidationError

from nemo_prorl.config.schema import OptimizerConfig, TelemetryConfig
from nemo_prorl.config.stage import ResetConfig, StageConfig


@pytest.mark.parametrize(
    ("model", "values"),
    [
        (StageConfig, {"kl_weight": True}),
        (StageConfig, {"samples_per_prompt": 1}),
        (StageConfig, {"kl_weight": float("nan")}),
        (StageConfig, {"domain_weights": {"maths": 1.0}}),
        (StageConfig, {"domain_weights": {"math": -1.0}}),
        (ResetConfig, {"every_steps": True}),
        (ResetConfig, {"every_steps": 0}),
        (OptimizerConfig, {"lr": float("inf")}),
        (OptimizerConfig, {"beta1": 1.0}),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(model, values):
    with pytest.raises(ValidationError):
        model(**values)


def test_a_switch_is_still_a_switch():
    assert TelemetryConfig(tensorboard=False).tensorboard is False


def test_a_configuration_cannot_be_changed():
    with pytest.raises(ValidationError, match="frozen"):
        OptimizerConfig().lr = 1.0  # type: ignore[misc]
