"""docs/parallelism.md names every setting of the engine, and none that isn't there."""

import re

from nemo_prorl.config.schema import MegatronConfig
from tests.house.source import ROOT

TEXT = (ROOT / "docs" / "parallelism.md").read_text()


def test_every_setting_of_the_engine_is_documented():
    named = set(re.findall(r"`([a-z_0-9]+)(?:: \w+)?`", TEXT))
    elsewhere = {"megatron", "context_tokens", "prompts_per_update", "activations"}
    values = {"selective", "full", "none", "gradients", "optimizer", "reference", "false", "bf16", "fp8_hybrid"}
    assert named - elsewhere - values == set(MegatronConfig.model_fields)
