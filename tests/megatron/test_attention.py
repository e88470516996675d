"""Core attention over packs against a mask written out; which pieces go into one call; who holds which tokens."""

import pytest
import torch
from torch.testing import assert_close

from nemo_prorl.megatron.attention import Block, blocks_of, held_by, zigzag
from nemo_prorl.megatron.packing import Packer, Piece
from nemo_prorl.megatron.token_rows import TokenRows
from tests.megatron import module_scenarios as scenarios
from tests.processes import run_ranks

LENGTHS, PROMPTS = (9, 6, 9, 12, 5, 3, 6), (4, 4, 4, 4, 3, 2, 4)  # rows 0, 1, 2, 3 and 6 have the same prompt


@pytest.mark.parametrize(
    ("pieces", "blocks"),
    [
        ([(0, 4)], [(1, 4, None)]),
        ([(0, 4), (4, 4), (8, 3), (11, 4)], [(2, 4, None), (1, 3, None), (1, 4, None)]),
        (  # a prompt with three responses, then another with one
            [(0, 3), (3, 2, 0), (5, 2, 0), (7, 1, 0), (8, 3), (11, 2, 4)],
            [(1, 3, None), (2, 2, 0), (1, 1, 0), (1, 3, None), (1, 2, 3)],
        ),
        (  # neighbours of equal length: single rows join, a prompt that others come after stands alone on either side
            [(0, 3), (3, 3), (6, 3), (9, 3, 2), (12, 3), (15, 3)],
            [(2, 3, None), (1, 3, None), (1, 3, 1), (2, 3, None)],
        ),
        (  # responses of equal length to different prompts
            [(0, 2), (2, 1, 0), (3, 2), (5, 1, 2), (6, 1, 2)],
            [(1, 2, None), (1, 1, 0), (1, 2, None), (2, 1, 2)],
        ),
    ],
)
def test_which_pieces_are_attended_to_in_one_call(pieces, blocks):
    pieces = tuple(Piece(*piece) for piece in pieces)
    found = blocks_of(pieces)
    assert found == [Block(*block) for block in blocks]
    assert sum(block.tokens for block in found) == sum(piece.length for piece in pieces)


# -- core attention ----------------------------------------------------------------------------------------------------


def rows():
    generator = torch.Generator().manual_seed(0)
    tokens_BS = torch.randint(0, 50, (len(LENGTHS), max(LENGTHS)), generator=generator)
    tokens_BS[[1, 2, 3, 6], :4] = tokens_BS[0, :4]
    return TokenRows(tokens_BS, torch.tensor(LENGTHS), torch.tensor(PROMPTS))


def dense(pieces, query, key, value):
    """[L, heads * D] by one softmax over the whole pack."""
    repeated = query.shape[1] // key.shape[1]
    key, value = (tensor.repeat_interleave(repeated, dim=1) for tensor in (key, value))
    scores_hLL = torch.einsum("qhd,khd->hqk", query, key) / query.shape[-1] ** 0.5
    p_hLL = scores_hLL.masked_fill(~scenarios.allowed(pieces), -torch.inf).softmax(dim=-1)
    return torch.einsum("hqk,khd->qhd", p_hLL, value).flatten(1)


def example(packs, seed=0):
    """Random queries, keys and values of each pack, and weights of a loss."""
    generator = torch.Generator().manual_seed(seed)

    def random(pack, *shape):
        return torch.randn(len(pack.tokens_L), *shape, generator=generator)

    kinds = (scenarios.HEADS, scenarios.GROUPS, scenarios.GROUPS)
    heads = [[random(pack, count, scenarios.SIZE) for count in kinds] for pack in packs]
    return heads, [random(pack, scenarios.HEADS * scenarios.SIZE) for pack in packs]


@pytest.mark.processes
@pytest.mark.parametrize(
    ("ranks", "packers"),
    [
        (
            1,
            [
                Packer(max_tokens=100),
                Packer(max_tokens=100, share_prompts=False),
                Packer(max_tokens=100, packing=False, pack_multiple=8),
                Packer(max_tokens=20),
            ],
        ),
        (
            2,
            [
                Packer(max_tokens=100, row_multiple=4, pack_multiple=8),
                Packer(max_tokens=20, row_multiple=4, packing=False),
            ],
        ),
    ],
    ids=["one rank", "context parallel"],
)
def test_attention_in_packs_is_dense_attention_under_their_mask_and_so_are_its_gradients(ranks, packers):
    packs = [pack for packer in packers for pack in packer.packs(rows())]
    heads, weights = example(packs)
    told = run_ranks(scenarios.attended, ranks, packs, heads, weights, ranks)
    for number, pack in enumerate(packs):
        whole = [tensor.clone().requires_grad_() for tensor in heads[number]]
        context_LD = dense(pack.pieces, *whole)
        (context_LD * weights[number]).sum().backward()
        for rank in told:
            held_l, found, gradients = rank[number]
            assert_close(found, context_LD.detach()[held_l], atol=1e-5, rtol=1e-5)
            for gradient, tensor in zip(gradients, whole, strict=True):
                assert_close(gradient, tensor.grad[held_l], atol=1e-5, rtol=1e-5)


# -- who holds what ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "size", "held"),
    [
        (8, 1, [[0, 1, 2, 3, 4, 5, 6, 7]]),
        (8, 2, [[0, 1, 6, 7], [2, 3, 4, 5]]),
        (12, 3, [[0, 1, 10, 11], [2, 3, 8, 9], [4, 5, 6, 7]]),
    ],
)
def test_the_zigzag_by_hand(length, size, held):
    assert [zigzag(length, rank, size).tolist() for rank in range(size)] == held


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("chunk", [1, 5])
def test_the_zigzag_is_a_partition_that_gives_every_rank_the_same_work(size, chunk):
    """Work: how many keys a query looks at under causality, summed over a rank's queries."""
    length = 2 * size * chunk
    held = [zigzag(length, rank, size) for rank in range(size)]
    assert torch.cat(held).sort().values.tolist() == list(range(length))
    assert len({int((tokens_l + 1).sum()) for tokens_l in held}) == 1


def test_every_piece_of_a_pack_is_cut_by_itself():
    (pack,) = Packer(max_tokens=100, row_multiple=4).packs(
        TokenRows(torch.zeros(2, 9, dtype=torch.int64), torch.tensor([9, 5]))
    )
    assert [(piece.start, piece.length) for piece in pack.pieces] == [(0, 8), (8, 4)]
    assert held_by(pack, 0, 2).tolist() == [0, 1, 6, 7, 8, 11]
    assert held_by(pack, 1, 2).tolist() == [2, 3, 4, 5, 9, 10]
    assert held_by(pack, 0, 1).tolist() == list(range(12))
