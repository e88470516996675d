"""From settings to a pool."""

from typing import get_args

import pytest
from pydantic import ValidationError

from nemo_prorl.config.verifiers import SandboxConfig, VerifierPoolConfig
from nemo_prorl.verifiers.configured_pool import verifier_pool
from nemo_prorl.verifiers.sandbox import SandboxSettings
from nemo_prorl.verifiers.sandbox.contract import Level


def test_what_is_demanded_of_the_sandbox_reaches_the_verifiers(misbehaving):
    config = VerifierPoolConfig(workers=1, sandbox=SandboxConfig(level="seccomp", allow_unconfined=True))
    with verifier_pool(config) as pool:
        assert pool.submit(misbehaving("HasSandbox"), "").result(60).reason == "seccomp True"


def test_the_levels_are_the_sandboxs_own():
    assert get_args(SandboxConfig.model_fields["level"].annotation) == get_args(Level)
    defaults = SandboxConfig()
    assert SandboxSettings(**defaults.model_dump()) == SandboxSettings()
    with pytest.raises(ValidationError):
        SandboxConfig(level="none")
