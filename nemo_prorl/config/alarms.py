"""When a training run calls for a human. `null` in place of an alarm switches it off; see docs/metrics.md."""

from __future__ import annotations

from pydantic import Field

from nemo_prorl.config.closed import Closed


class LevelConfig(Closed):
    """The mean of the last `steps` steps lies beyond `limit`."""

    limit: float
    steps: int = Field(5, ge=1)


class RiseConfig(Closed):
    """The mean of the last `steps` steps is over `times` the median of the steps before, and over `at_least`."""

    times: float = Field(gt=1)
    steps: int = Field(5, ge=1)
    before_steps: int = Field(50, ge=1)
    at_least: float = Field(0.0, ge=0)


class EntropyCollapse(LevelConfig):
    limit: float = Field(0.05, ge=0, description="nats a token; the alarm is for less")


class EntropyExplosion(RiseConfig):
    times: float = Field(2.0, gt=1)
    at_least: float = Field(0.5, ge=0, description="nats a token")


class LengthJump(RiseConfig):
    times: float = Field(1.5, gt=1)


class Repetition(RiseConfig):
    times: float = Field(1.5, gt=1)
    at_least: float = Field(0.3, ge=0, description="share of 3-grams that were there before")


class MissingEnd(LevelConfig):
    limit: float = Field(0.3, gt=0, le=1, description="share of answers without an end token")


class RewardStuck(Closed):
    """The mean reward of the last `steps` steps is not by `gain` above that of as many before."""

    gain: float = 0.005
    steps: int = Field(100, ge=1)
    ceiling: float = Field(0.95, description="a mean reward from which nothing more is expected")


class VerifierFailures(LevelConfig):
    limit: float = Field(0.05, gt=0, le=1, description="share of answers that could not be judged")
    steps: int = Field(3, ge=1)


class KLSpike(RiseConfig):
    times: float = Field(5.0, gt=1)
    steps: int = Field(1, ge=1)
    before_steps: int = Field(20, ge=1, description="since the last reset")
    at_least: float = Field(0.05, ge=0, description="nats a token")


class KLDominates(LevelConfig):
    limit: float = Field(0.5, gt=0, le=1, description="share of the KL term in a token's loss")
    steps: int = Field(10, ge=1)


class GradientSpike(RiseConfig):
    times: float = Field(10.0, gt=1)
    steps: int = Field(1, ge=1)


class FewGroupsTeach(LevelConfig):
    limit: float = Field(0.05, ge=0, le=1, description="share of sampled groups that teach; the alarm is for less")
    steps: int = Field(3, ge=1)


class SamplerMismatch(LevelConfig):
    limit: float = Field(1.05, gt=1, description="mean of exp |trainer's - sampler's logprob|")
    steps: int = Field(3, ge=1)


class SamplerDrift(RiseConfig):
    times: float = Field(5.0, gt=1)
    steps: int = Field(3, ge=1)
    before_steps: int = Field(30, ge=1)
    at_least: float = Field(0.002, ge=0, description="nats a token; below it is rounding")


class CorrectionDrops(LevelConfig):
    limit: float = Field(0.2, gt=0, le=1, description="share of tokens that the sampler correction leaves out")
    steps: int = Field(5, ge=1)


class StaleGroups(LevelConfig):
    limit: float = Field(0.05, gt=0, description="nats a token, KL(policy that sampled, policy)")
    steps: int = Field(3, ge=1)


class RatiosNotOne(LevelConfig):
    limit: float = Field(1e-3, gt=0, description="approximate KL; less is rounding")
    steps: int = Field(1, ge=1)


class AlarmsConfig(Closed):
    entropy_collapse: EntropyCollapse | None = EntropyCollapse()
    entropy_explosion: EntropyExplosion | None = EntropyExplosion()
    length_jump: LengthJump | None = LengthJump()
    repetition: Repetition | None = Repetition()
    missing_end: MissingEnd | None = MissingEnd()
    reward_stuck: RewardStuck | None = RewardStuck()
    verifier_failures: VerifierFailures | None = VerifierFailures()
    kl_spike: KLSpike | None = KLSpike()
    kl_dominates: KLDominates | None = KLDominates()
    gradient_spike: GradientSpike | None = GradientSpike()
    few_groups_teach: FewGroupsTeach | None = FewGroupsTeach()
    sampler_mismatch: SamplerMismatch | None = SamplerMismatch()
    sampler_drift: SamplerDrift | None = SamplerDrift()
    correction_drops: CorrectionDrops | None = CorrectionDrops()
    stale_groups: StaleGroups | None = StaleGroups()
    ratios_not_one: RatiosNotOne | None = RatiosNotOne()
