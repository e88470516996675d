"""What the schema refuses by itself."""

import pytest
from pydantic import ValidationError

from nemo_prorl.config.data import AvoidConfig, TrainingSourceConfig
from nemo_prorl.config.kept import TelemetryConfig
from nemo_prorl.config.schema import OptimizerConfig
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
        (StageConfig, {"pass_rate_band": (0.5, 0.25)}),
        (StageConfig, {"pass_rate_band": (0.0, 1.5)}),
        (StageConfig, {"source_weights": {"a": -1.0}}),
        (AvoidConfig, {"solved_at": 0.5, "hopeless_at": 0.5}),
        (AvoidConfig, {"revisit_probability": 0.0}),
        (TrainingSourceConfig, {"name": "jsonl", "max_epochs": 0}),
        (TrainingSourceConfig, {"name": "jsonl", "weight": True}),
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
