"""Prompts drawn from several sources: seeded, the same on every rank, and resumed exactly where it stopped."""

from nemo_prorl.data.mixture.difficulty import Avoidance
from nemo_prorl.data.mixture.held_out import held_out, question_keys
from nemo_prorl.data.mixture.mixture import Mixture
from nemo_prorl.data.mixture.preparation import Objection, as_prompt
from nemo_prorl.data.mixture.shares import Weighting

__all__ = ["Avoidance", "Mixture", "Objection", "Weighting", "as_prompt", "held_out", "question_keys"]
