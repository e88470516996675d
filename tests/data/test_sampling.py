"""Where a completion's randomness comes from, and how much room it has."""

import subprocess
import sys

import pytest

from nemo_prorl.data.sampling import SamplingParams, step_seed
from nemo_prorl.errors import ConfigError

PARAMS = SamplingParams(samples_per_prompt=4, max_response_tokens=100, context_tokens=128, seed=5)


def test_the_response_is_bounded_by_its_own_limit_and_by_the_context():
    """Context 128, response at most 100: after 20 tokens of prompt 100 are left (108 would fit), after 120 only 8."""
    assert PARAMS.response_room(20) == 100
    assert PARAMS.response_room(120) == 8
    assert PARAMS.response_room(128) == 0


def test_every_completion_of_a_run_has_a_seed_of_its_own():
    seeds = {
        SamplingParams(4, 8, 16, seed=step_seed(run, step, purpose)).completion_seed(uid, sample)
        for run in (0, 1)
        for step in (0, 1, 10)
        for purpose in ("train", "validation")
        for uid in ("a", "a1", "b")
        for sample in (0, 1, 11)
    }
    assert len(seeds) == 2 * 3 * 2 * 3 * 3
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_no_two_ways_of_writing_uid_and_sample_meet():
    """uid "a1" sample 1 is not uid "a" sample 11."""
    assert PARAMS.completion_seed("a1", 1) != PARAMS.completion_seed("a", 11)


def test_another_process_gives_the_same_seed():
    program = (
        "from nemo_prorl.data.sampling import SamplingParams, step_seed; "
        "print(SamplingParams(1, 8, 16, seed=step_seed(3, 4)).completion_seed('lcm-ab', 2))"
    )
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert int(printed) == SamplingParams(1, 8, 16, seed=step_seed(3, 4)).completion_seed("lcm-ab", 2)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("samples_per_prompt", 0), ("max_response_tokens", 0), ("context_tokens", 1)),
        *(("temperature", -0.1), ("top_p", 0.0), ("top_p", 1.1), ("top_k", -1)),
    ],
)
def test_a_setting_out_of_range_is_refused_by_name(field, value):
    settings = {"samples_per_prompt": 1, "max_response_tokens": 1, "context_tokens": 2, field: value}
    with pytest.raises(ConfigError, match=rf"SamplingParams\.{field}={value}"):
        SamplingParams(**settings)
