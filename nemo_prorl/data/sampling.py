"""How completions are sampled, and where each one's randomness comes from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from nemo_prorl.errors import ConfigError


@dataclass(frozen=True)
class SamplingParams:
    """Settings for `RolloutEngine.generate`.

    `context_tokens` bounds prompt and response together; `max_response_tokens` bounds the response alone. `top_p` = 1
    and `top_k` = 0 leave the distribution whole; `temperature` = 0 is greedy. Logprobs that an engine reports are
    those of softmax(logits / temperature) over the whole vocabulary, before top-p and top-k cut it (for temperature 0:
    of softmax(logits)).
    """

    samples_per_prompt: int
    max_response_tokens: int
    context_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0  # of this step: see `step_seed`

    def __post_init__(self) -> None:
        checks = {
            "samples_per_prompt": self.samples_per_prompt >= 1,
            "max_response_tokens": self.max_response_tokens >= 1,
            "context_tokens": self.context_tokens > 1,
            "temperature": self.temperature >= 0,
            "top_p": 0 < self.top_p <= 1,
            "top_k": self.top_k >= 0,
        }
        for name, holds in checks.items():
            if not holds:
                raise ConfigError(f"SamplingParams.{name}={getattr(self, name)} is out of range; see its docstring")

    def response_room(self, prompt_tokens: int) -> int:
        """Tokens that a response to a prompt of `prompt_tokens` may have."""
        return min(self.max_response_tokens, self.context_tokens - prompt_tokens)

    def completion_seed(self, uid: str, sample: int) -> int:
        """A 64-bit seed for one completion's random stream; it depends on nothing but (seed, uid, sample)."""
        return _digest(f"{self.seed}\x1f{uid}\x1f{sample}")


def step_seed(run_seed: int, step: int, purpose: str = "train") -> int:
    """The `SamplingParams.seed` of a step, so that a completion depends on (run seed, step, uid, sample) alone."""
    return _digest(f"{run_seed}\x1f{step}\x1f{purpose}")


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
