"""Groups become tensors: column t of a [B, T] tensor speaks of the prediction of token t + 1."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from nemo_prorl.data.batch import RolloutBatch
from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.trajectory import Completion, Group, Verdict
from nemo_prorl.errors import ShapeError


def group(uid, prompt_ids, responses, rewards, domain="math", logprobs=True):
    prompt = Prompt(uid, domain, "sums", "file", ({"role": "user", "content": "?"},), prompt_ids, "math", {})
    completions = tuple(
        Completion(
            np.array(ids, dtype=np.int32),
            np.array([-0.1 * i for i in ids], dtype=np.float32) if logprobs else None,
            "stop",
            "",
        )
        for ids in responses
    )
    return Group(prompt, completions, tuple(Verdict(reward) for reward in rewards))


@pytest.fixture
def batch():
    """Two groups of two. Rows (prompt | response): 1 2 3 | 4 5; 1 2 3 | 6; 7 | 8 9 10; 7 | 11."""
    first = group("a", (1, 2, 3), [(4, 5), (6,)], (1.0, 0.0))
    second = group("b", (7,), [(8, 9, 10), (11,)], (0.0, 0.5), domain="logic")
    return RolloutBatch.from_groups([first, second], temperature=1.2)


def test_rows_are_prompt_then_response_padded_on_the_right(batch):
    assert batch.tokens_BS.tolist() == [[1, 2, 3, 4, 5], [1, 2, 3, 6, 0], [7, 8, 9, 10, 0], [7, 11, 0, 0, 0]]
    assert batch.prompt_lengths_B.tolist() == [3, 3, 1, 1]
    assert batch.lengths_B.tolist() == [5, 4, 4, 2]
    assert batch.rewards_GN.tolist() == [[1.0, 0.0], [0.0, 0.5]]
    assert batch.domains_B == ("math", "math", "logic", "logic")
    assert (len(batch), batch.temperature) == (4, 1.2)


def test_the_mask_marks_the_predictions_of_response_tokens(batch):
    """Row 0 has its response at columns 3 and 4, which columns 2 and 3 predict."""
    wanted = [[0, 0, 1, 1], [0, 0, 1, 0], [1, 1, 1, 0], [1, 0, 0, 0]]
    assert batch.response_mask_BT.int().tolist() == wanted


def test_sampler_logprobs_stand_where_their_tokens_are_predicted(batch):
    wanted = torch.tensor([[0, 0, -0.4, -0.5], [0, 0, -0.6, 0], [-0.8, -0.9, -1.0, 0], [-1.1, 0, 0, 0]])
    assert_close(batch.sampler_logprobs_BT, wanted)


def test_one_completion_without_logprobs_leaves_the_batch_without():
    known, unknown = group("a", (1,), [(2,)], (1.0,)), group("b", (1,), [(2,)], (1.0,), logprobs=False)
    assert RolloutBatch.from_groups([known, unknown], 1.0).sampler_logprobs_BT is None


def test_shaped_rewards_are_what_the_batch_holds():
    plain = group("a", (1,), [(2,), (3,)], (1.0, 1.0))
    shaped = Group(plain.prompt, plain.completions, plain.verdicts, (1.0, 0.25))
    assert RolloutBatch.from_groups([shaped], 1.0).rewards_GN.tolist() == [[1.0, 0.25]]


def test_an_advantage_of_a_response_is_that_of_each_of_its_tokens(batch):
    with_advantages = batch.with_(advantages=torch.tensor([[1.0, -1.0], [2.0, -2.0]]))
    assert with_advantages.advantages_BT.tolist() == [[1.0] * 4, [-1.0] * 4, [2.0] * 4, [-2.0] * 4]
    assert batch.advantages_BT is None


def test_what_is_added_must_fit(batch):
    with pytest.raises(ShapeError, match=r"old_logprobs_BT is \(4, 5\), expected \(4, 4\)"):
        batch.with_(old_logprobs=torch.zeros(4, 5))


def test_split_keeps_groups_whole_and_cuts_each_part_to_its_longest_row(batch):
    """The second group's longest row has 4 tokens, so its part is 4 wide and its masks 3."""
    scored = batch.with_(old_logprobs=torch.arange(16.0).view(4, 4))
    first, second = replace(scored, updates=2).split()
    assert (first.updates, second.updates) == (1, 1)
    assert first.tokens_BS.tolist() == [[1, 2, 3, 4, 5], [1, 2, 3, 6, 0]]
    assert second.tokens_BS.tolist() == [[7, 8, 9, 10], [7, 11, 0, 0]]
    assert second.rewards_GN.tolist() == [[0.0, 0.5]]
    assert second.old_logprobs_BT.tolist() == [[8.0, 9.0, 10.0], [12.0, 13.0, 14.0]]
    assert second.domains_B == ("logic", "logic")
    assert second.reference_logprobs_BT is None


def test_groups_that_cannot_be_split_evenly_are_refused(batch):
    with pytest.raises(ShapeError, match="2 groups can't be split into 3"):
        replace(batch, updates=3)


def test_single_rows_are_groups_of_one(batch):
    row = batch.rows([2])
    assert row.tokens_BS.tolist() == [[7, 8, 9, 10]]
    assert row.rewards_GN.tolist() == [[0.0]]


def test_groups_of_different_sizes_are_refused():
    groups = [group("a", (1,), [(2,)], (1.0,)), group("b", (1,), [(2,), (3,)], (1.0, 0.0))]
    with pytest.raises(ShapeError, match=r"sizes \[1, 2\]"):
        RolloutBatch.from_groups(groups, 1.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rewards_GN": torch.zeros(1, 2)}, "1 groups of 2"),
        ({"domains_B": ("math",)}, "1 domains, but 4 rows"),
        ({"lengths_B": torch.tensor([5, 4, 4])}, r"lengths_B is \(3,\)"),
        ({"lengths_B": torch.tensor([5, 4, 4, 1])}, "a prompt and a response of at least one token"),
        ({"prompt_lengths_B": torch.tensor([0, 3, 1, 1])}, "a prompt and a response of at least one token"),
        ({"lengths_B": torch.tensor([6, 4, 4, 2])}, "a row of 6 tokens in tokens_BS of width 5"),
    ],
)
def test_parts_that_do_not_fit_each_other_are_refused(batch, changes, message):
    with pytest.raises(ShapeError, match=message):
        RolloutBatch(**{**vars(batch), **changes})
