"""Which charts a run's page has, in which order. What a metric means is told in docs/metrics.md.

A metric may have <domain> in its name: then there is a line for each domain. Charts and lines of metrics that a run
doesn't have are left out; metrics of steps that no chart here shows are shown at the end of the page.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace
from typing import Literal

from nemo_prorl.data.prompt import DOMAINS

Of = Literal["steps", "validation"]
TOKENS_PER_SECOND = "derived/sampled_tokens_per_second"


@dataclass(frozen=True)
class Line:
    """`error`: the metric of its standard error. `colour`: a name of page.css."""

    label: str
    metric: str
    of: Of = "steps"
    error: str | None = None
    colour: str | None = None

    def expanded(self) -> list[Line]:
        """Itself, or a line a domain."""
        if "<domain>" not in self.metric:
            return [self]
        return [
            replace(self, label=domain, metric=self.metric.replace("<domain>", domain), colour=domain)
            for domain in DOMAINS
        ]


@dataclass(frozen=True)
class Panel:
    """A chart over steps. Its scale reaches from `bottom` to `top` at least; None: as the data want it."""

    title: str
    unit: str
    lines: Sequence[Line]
    note: str = ""
    bottom: float | None = 0.0
    top: float | None = None

    def within(self, known: Set[tuple[Of, str]]) -> Panel | None:
        """With the lines that there are data for; None: there are none."""
        lines = [line for one in self.lines for line in one.expanded() if (line.of, line.metric) in known]
        return replace(self, lines=lines) if lines else None


@dataclass(frozen=True)
class Section:
    """`short`: its title in the navigation. `wide`: its charts lie one below the other, over the whole width."""

    id: str
    title: str
    short: str
    lead: str
    panels: Sequence[Panel]
    wide: bool = False


def line(label: str, metric: str, colour: str | None = None) -> Line:
    return Line(label, metric, colour=colour)


def held_out(place: str, ks: Sequence[int], title: str = "") -> Panel:
    """pass@1 and pass@k of a place with their standard errors, or its score where there is no pass@k."""
    measures = [(f"pass@{k}", f"pass_at_{k}") for k in dict.fromkeys([ks[0], ks[-1]])] if ks else [("score", "score")]
    lines = []
    for label, measure in measures:
        metric = f"validation/{place}/{measure}"
        lines.append(Line(label, metric, "validation", f"{metric}_standard_error"))
    return Panel(title or place, "fraction of held-out problems", lines, "Shaded: one standard error.", top=1.0)


def dynamics(ks: Sequence[int]) -> Section:
    """The paper's Figure 2."""
    return Section(
        "dynamics",
        "Training dynamics",
        "Dynamics",
        "What the paper's Figure 2 shows: held-out scores, reward, length and entropy over the whole run.",
        [
            held_out("all", ks, "Held-out problems"),
            Panel(
                "Training reward",
                "mean reward",
                [line("all sampled", "reward/sampled_mean"), line("groups that teach", "reward/kept_mean")],
                top=1.0,
            ),
            Panel("Response length", "mean tokens", [line("tokens", "rollout/response_tokens_mean")]),
            Panel("Entropy", "nats a token", [line("entropy", "policy/entropy")]),
            Panel("Cross-entropy of the demonstrations", "nats a token", [line("loss", "sft/loss")]),
        ],
        wide=True,
    )


KL = Section(
    "kl",
    "KL to the reference",
    "KL",
    "What the paper's Figure 8 shows: how far the policy has gone from its reference. A hard reset puts it back to 0.",
    [
        Panel(
            "KL divergence", "nats a token", [line("to the reference", "kl/reference"), line("to the base", "kl/base")]
        ),
        Panel("Share of the loss", "0 to 1", [line("KL term", "kl/loss_share")], "Above 0.5 updates shrink."),
        Panel("By domain", "nats a token", [line("", "kl/<domain>/reference")]),
        Panel("To the base, by domain", "nats a token", [line("", "kl/<domain>/base")]),
    ],
)

REWARDS = Section(
    "rewards",
    "Rewards",
    "Rewards",
    "Of everything that was sampled for training, before groups are chosen.",
    [
        Panel("Mean reward by domain", "reward", [line("", "reward/<domain>/sampled_mean")], top=1.0),
        Panel("Solved by domain", "fraction of answers", [line("", "reward/<domain>/solved_fraction")], top=1.0),
        Panel(
            "Groups by what they teach",
            "fraction of groups",
            [
                line("teach", "rollout/teaching_fraction"),
                line("all right", "rollout/all_right_fraction", "good"),
                line("all wrong", "rollout/all_wrong_fraction", "bad"),
            ],
            "Groups whose rewards are all equal teach nothing and are sampled anew.",
            top=1.0,
        ),
        Panel(
            "Shaping",
            "mean reward of trained answers",
            [line("verifier's", "reward/kept_mean"), line("after shaping", "reward/shaped_mean")],
            top=1.0,
        ),
        Panel("Groups that teach, by domain", "fraction", [line("", "rollout/<domain>/teaching_fraction")], top=1.0),
        Panel(
            "Not judged",
            "fraction of answers",
            [
                line("no answer", "rollout/no_answer_fraction"),
                line("verifier failed", "rollout/unjudged_fraction", "bad"),
            ],
        ),
    ],
)

LENGTHS = Section(
    "lengths",
    "Lengths and endings",
    "Lengths",
    "How long answers are, and whether they come to an end by themselves.",
    [
        Panel(
            "Response length",
            "tokens",
            [
                line("mean", "rollout/response_tokens_mean"),
                line("longest", "rollout/response_tokens_max"),
                line("mean of trained", "rollout/kept_response_tokens_mean"),
            ],
        ),
        Panel("Mean length by domain", "tokens", [line("", "rollout/<domain>/response_tokens_mean")]),
        Panel(
            "Without an end",
            "fraction of answers",
            [
                line("cut at the limit", "rollout/truncated_fraction"),
                line("no end token", "rollout/missing_end_fraction"),
            ],
        ),
        Panel("Cut at the limit, by domain", "fraction of answers", [line("", "rollout/<domain>/truncated_fraction")]),
        Panel("Repetition", "share of repeated 3-grams", [line("all", "rollout/repetition_mean")]),
        Panel("Repetition by domain", "share of repeated 3-grams", [line("", "rollout/<domain>/repetition_mean")]),
    ],
)

UPDATES = Section(
    "updates",
    "Updates",
    "Updates",
    "How undecided the policy is, and how far each step moves it.",
    [
        Panel("Entropy by domain", "nats a token", [line("", "policy/<domain>/entropy")]),
        Panel(
            "Clipped tokens",
            "fraction of tokens",
            [
                line("all", "policy/clip_fraction"),
                line("above, of good answers", "policy/clip_high_fraction_positive", "good"),
                line("below, of bad answers", "policy/clip_low_fraction_negative", "bad"),
            ],
            "Tokens that a bound of the ratio robs of their gradient.",
        ),
        Panel(
            "Gradient norm",
            "before clipping",
            [line("mean", "optimizer/grad_norm"), line("largest of the step", "optimizer/grad_norm_max")],
        ),
        Panel(
            "KL of a step", "nats a token", [line("policy that sampled, and now", "policy/approximate_kl")], bottom=None
        ),
        Panel("Loss", "", [line("surrogate", "policy/loss"), line("with KL", "policy/total_loss")], bottom=None),
        Panel("Ratio", "", [line("largest", "policy/ratio_max"), line("smallest", "policy/ratio_min")]),
        Panel("Learning rate", "", [line("learning rate", "optimizer/lr")]),
    ],
)

MISMATCH = Section(
    "mismatch",
    "Sampler and trainer",
    "Mismatch",
    "The same tokens have the same probabilities in the engine that samples and in the model that trains, or should.",
    [
        Panel(
            "Multiplicative error",
            "mean of exp |difference of logprobs|",
            [line("error", "policy/sampler_multiplicative_error")],
            "1 is perfect; above 1.05 is trouble.",
            bottom=1.0,
        ),
        Panel("KL of sampler and trainer", "nats a token", [line("KL", "policy/sampler_kl")], bottom=None),
        Panel("Largest difference", "of logprobs", [line("difference", "policy/sampler_logprob_difference_max")]),
        Panel(
            "Correction",
            "weights of the sampler correction",
            [
                line("mean weight", "policy/correction_weight"),
                line("truncated", "policy/correction_clipped_fraction", "bad"),
            ],
        ),
        Panel(
            "Ratio at a step's first update",
            "",
            [line("largest", "policy/ratio_max_first_update"), line("smallest", "policy/ratio_min_first_update")],
            "1, or else old and new logprobs are computed differently.",
            bottom=None,
        ),
    ],
)

TIME = Section(
    "time",
    "Time",
    "Time",
    "Where the time goes. These numbers alone depend on the machine.",
    [
        Panel(
            "A step",
            "seconds",
            [
                line("step", "time/step_seconds"),
                line("rollout", "time/rollout_seconds"),
                line("update", "time/update_seconds"),
                line("logprobs", "time/logprobs_seconds"),
            ],
        ),
        Panel(
            "Throughput",
            "sampled tokens a second",
            [line("tokens a second", TOKENS_PER_SECOND)],
            "Answers that were judged, times their mean length, over the time of the whole step.",
        ),
        Panel("Rounds of sampling", "until enough groups taught", [line("rounds", "rollout/rounds")]),
        Panel("Slowest verdicts", "seconds, 99th percentile", [line("", "time/verifier_<domain>_p99_seconds")]),
        Panel(
            "Between steps",
            "seconds",
            [
                Line("validation", "time/validation_seconds", "validation"),
                line("checkpoint", "time/checkpoint_seconds"),
            ],
        ),
    ],
)

SECTIONS_OF_STEPS = (KL, REWARDS, LENGTHS, UPDATES, MISMATCH, TIME)


def shown_metrics(sections: Iterable[Section]) -> set[str]:
    """The metrics of steps that some chart shows."""
    return {
        one.metric
        for section in sections
        for panel in section.panels
        for each in panel.lines
        for one in each.expanded()
    }
