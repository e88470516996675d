"""The CPU door changes what Megatron sees, and nothing that anybody else does."""

import pytest

from tests.megatron import runtime_scenarios as scenarios
from tests.processes import run_ranks

pytestmark = pytest.mark.processes


def test_torch_stays_as_it_was_for_everyone_else():
    rank = run_ranks(scenarios.behind_the_door, 1)[0]
    assert rank["changed in torch"] == []
    assert rank["added to torch"] == []
    assert rank["megatron makes tensors on"] == "cpu"
    assert rank["megatron's late modules see the proxy"]
    assert rank["cuda for us"] == "AssertionError"
