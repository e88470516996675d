"""The processes that judge, as their settings say."""

from __future__ import annotations

from nemo_prorl.config.verifiers import VerifierPoolConfig
from nemo_prorl.verifiers.pool import VerifierPool
from nemo_prorl.verifiers.sandbox import SandboxSettings


def verifier_pool(verifiers: VerifierPoolConfig) -> VerifierPool:
    """To be used with `with`."""
    settings = verifiers.model_dump(exclude={"sandbox"})
    return VerifierPool(**settings, sandbox=SandboxSettings(**verifiers.sandbox.model_dump()))
