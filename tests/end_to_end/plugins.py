"""Plug-ins of the tests' own, named in configs by their path as a user's would be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from nemo_prorl.algorithm.objective import clip_higher
from nemo_prorl.data.trajectory import Verdict


class VowelShare:
    """Rewards any text, a model's first babble too: the share of its characters that are vowels."""

    def check(self, reference: Mapping[str, Any], text: str) -> Verdict:
        return Verdict(sum(letter in "aeiou" for letter in text.lower()) / max(len(text), 1))


def not_a_number(logp_BT: Tensor, old_logp_BT: Tensor, advantage_BT: Tensor) -> Tensor:
    """An objective whose value is fine and whose gradient is not a number."""
    loss_BT = clip_higher(logp_BT, old_logp_BT, advantage_BT)
    return loss_BT + 0.0 * (logp_BT - logp_BT.detach()).abs().sqrt()  # d sqrt(0) = inf, times 0
