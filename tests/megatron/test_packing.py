"""Rows as packs, written out by hand. What holds for any rows stands in test_packing_laws.py."""

import pytest
import torch

from nemo_prorl.errors import ShapeError
from nemo_prorl.megatron.packing import Pack, Packer, Piece, best_fit
from nemo_prorl.megatron.token_rows import TokenRows

PROMPT = [1, 2, 3]
NOTHING = 99  # behind a row's end; never to be seen again


def rows_of(*rows, prompts=None):
    width = max(map(len, rows))
    tokens_BS = torch.tensor([[*row, *[NOTHING] * (width - len(row))] for row in rows])
    lengths_B = torch.tensor([len(row) for row in rows])
    return TokenRows(tokens_BS, lengths_B, None if prompts is None else torch.tensor(prompts))


def group():
    """Three responses of two, one and three tokens to a prompt of three."""
    return rows_of([*PROMPT, 4, 5], [*PROMPT, 6], [*PROMPT, 7, 8, 9], prompts=[3, 3, 3])


def assert_pack(pack, *, rows, tokens, positions, pieces, sources, targets, places, width):
    assert pack.rows_R.tolist() == rows
    assert pack.tokens_L.tolist() == tokens
    assert pack.positions_L.tolist() == positions
    assert pack.pieces == tuple(Piece(*piece) for piece in pieces)
    assert pack.sources_N.tolist() == sources
    assert pack.targets_N.tolist() == targets
    assert pack.places_N.tolist() == places
    assert pack.width == width


# -- layouts by hand ---------------------------------------------------------------------------------------------------


def test_a_shared_prompt_stands_once_and_predicts_the_first_token_of_every_response():
    """The second response, of one token, needs nothing in the pack but the prompt."""
    (pack,) = Packer(max_tokens=100).packs(group())
    assert_pack(
        pack,
        rows=[0, 1, 2],
        tokens=[1, 2, 3, 4, 7, 8],
        positions=[0, 1, 2, 3, 3, 4],
        pieces=[(0, 3), (3, 1, 0), (4, 2, 0)],
        sources=[2, 3, 2, 2, 4, 5],
        targets=[4, 5, 6, 7, 8, 9],
        places=[2, 3, 5 + 2, 10 + 2, 10 + 3, 10 + 4],
        width=5,
    )


def test_rows_that_share_nothing_stand_end_to_end_the_longest_first():
    (pack,) = Packer(max_tokens=100, share_prompts=False).packs(group())
    assert_pack(
        pack,
        rows=[2, 0, 1],
        tokens=[1, 2, 3, 7, 8, 1, 2, 3, 4, 1, 2, 3],
        positions=[0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 1, 2],
        pieces=[(0, 5), (5, 4), (9, 3)],
        sources=[2, 3, 4, 7, 8, 11],
        targets=[7, 8, 9, 4, 5, 6],
        places=[2, 3, 4, 5 + 2, 5 + 3, 10 + 2],
        width=5,
    )


def test_without_packing_rows_are_padded_to_the_longest_of_their_pack():
    (pack,) = Packer(max_tokens=100, packing=False).packs(group())
    assert_pack(
        pack,
        rows=[1, 0, 2],
        tokens=[1, 2, 3, 0, 0, 1, 2, 3, 4, 0, 1, 2, 3, 7, 8],
        positions=[0, 1, 2, 3, 4] * 3,
        pieces=[(0, 5), (5, 5), (10, 5)],
        sources=[2, 5 + 2, 5 + 3, 10 + 2, 10 + 3, 10 + 4],
        targets=[6, 4, 5, 7, 8, 9],
        places=[2, 5 + 2, 5 + 3, 10 + 2, 10 + 3, 10 + 4],
        width=5,
    )


def test_padded_rows_of_similar_length_stand_together_as_many_as_fit_with_their_padding():
    """3 and 4 tokens make 2 x 4 = 8; a third row of 5 would make 3 x 5."""
    packs = Packer(max_tokens=10, packing=False).packs(group())
    assert [pack.rows_R.tolist() for pack in packs] == [[1, 0], [2]]
    assert [len(pack.tokens_L) for pack in packs] == [8, 5]


def test_without_known_prompts_every_prediction_is_scored_and_nothing_is_shared():
    (pack,) = Packer(max_tokens=100).packs(rows_of([1, 2, 3], [1, 2]))
    assert_pack(
        pack,
        rows=[0, 1],
        tokens=[1, 2, 1],
        positions=[0, 1, 0],
        pieces=[(0, 2), (2, 1)],
        sources=[0, 1, 2],
        targets=[2, 3, 2],
        places=[0, 1, 2],
        width=2,
    )


def test_prompts_are_shared_only_where_all_of_them_is_equal():
    """The second differs in its last token; the third has the same tokens, but its prompt ends earlier."""
    rows = rows_of([1, 2, 3, 4], [1, 2, 5, 4], [1, 2, 3, 4], [1, 2, 3, 6], prompts=[3, 3, 2, 3])
    (pack,) = Packer(max_tokens=100).packs(rows)
    assert {piece.after for piece in pack.pieces} == {None}  # responses to the shared prompt have one token
    assert sorted(pack.rows_R.tolist()) == [0, 1, 2, 3]
    assert len(pack.tokens_L) == 3 + 3 + 3  # the first and the last together


def test_an_empty_prompt_is_like_one_token_that_nothing_predicts():
    (pack,) = Packer(max_tokens=100).packs(rows_of([7, 8, 9], [7, 5, 5], prompts=[0, 0]))
    assert_pack(
        pack,
        rows=[0, 1],
        tokens=[7, 8, 5],
        positions=[0, 1, 1],
        pieces=[(0, 1), (1, 1, 0), (2, 1, 0)],
        sources=[0, 1, 0, 2],
        targets=[8, 9, 5, 5],
        places=[0, 1, 2, 3],
        width=2,
    )


@pytest.mark.parametrize("max_tokens", [9, 11])
def test_a_group_larger_than_the_budget_is_cut_and_each_part_has_the_prompt(max_tokens):
    """A prompt of 3 and 3 tokens of each response: 9 for two of them, 12 for three."""
    rows = rows_of(*([*PROMPT, n, n, n, n] for n in (4, 5, 6, 7, 8)), prompts=[3] * 5)
    packs = Packer(max_tokens=max_tokens).packs(rows)
    assert [pack.rows_R.tolist() for pack in packs] == [[0, 1], [2, 3], [4]]
    assert packs[0].tokens_L.tolist() == [1, 2, 3, 4, 4, 4, 5, 5, 5]
    assert packs[1].tokens_L.tolist() == [1, 2, 3, 6, 6, 6, 7, 7, 7]
    assert packs[2].tokens_L.tolist() == [1, 2, 3, 8, 8, 8]
    assert packs[2].pieces == (Piece(0, 6),)


def test_a_row_longer_than_the_budget_has_a_pack_of_its_own():
    packs = Packer(max_tokens=4).packs(rows_of([1] * 9, [2] * 3, [3] * 3))
    assert [pack.rows_R.tolist() for pack in packs] == [[0], [1, 2]]
    assert [len(pack.tokens_L) for pack in packs] == [8, 4]


def test_pieces_that_ranks_cut_are_padded_and_share_nothing():
    """Context parallelism over two ranks cuts every piece in four; sequence parallelism the pack in three."""
    (pack,) = Packer(max_tokens=100, row_multiple=4, pack_multiple=12).packs(group())
    assert_pack(
        pack,
        rows=[2, 0, 1],
        tokens=[1, 2, 3, 7, 8, 0, 0, 0, 1, 2, 3, 4, 1, 2, 3, 0, *[0] * 8],
        positions=[0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3, 0, 1, 2, 3, *[0] * 8],
        pieces=[(0, 8), (8, 4), (12, 4), (16, 8)],
        sources=[2, 3, 4, 8 + 2, 8 + 3, 12 + 2],
        targets=[7, 8, 9, 4, 5, 6],
        places=[2, 3, 4, 5 + 2, 5 + 3, 10 + 2],
        width=5,
    )


def test_a_filled_pack_scores_the_same():
    (pack,) = Packer(max_tokens=100).packs(group())
    filled = pack.filled(8)
    assert filled.tokens_L.tolist() == [1, 2, 3, 4, 7, 8, 0, 0]
    assert filled.positions_L.tolist() == [0, 1, 2, 3, 3, 4, 0, 0]
    assert filled.pieces == (*pack.pieces, Piece(6, 2))
    assert filled.sources_N is pack.sources_N
    assert filled.width == pack.width
    assert pack.filled(6) is pack


def test_an_empty_pack_has_tokens_and_no_rows():
    pack = Packer(max_tokens=100, row_multiple=4, pack_multiple=8).empty_pack()
    assert_pack(
        pack,
        rows=[],
        tokens=[0] * 8,
        positions=[0] * 8,
        pieces=[(0, 8)],
        sources=[],
        targets=[],
        places=[],
        width=0,
    )
    assert pack.spread(torch.zeros(0)).shape == (0, 0)


# -- spread ------------------------------------------------------------------------------------------------------------


def test_values_are_spread_to_their_places_and_gradients_come_back_from_there():
    """Two rows of three predictions: the second of the first, the first and the last of the second."""
    nothing = torch.zeros(0, dtype=torch.int64)
    pack = Pack(torch.tensor([5, 2]), nothing, nothing, (), nothing, nothing, torch.tensor([1, 3, 5]), 3)
    values_N = torch.tensor([10.0, 20.0, 30.0], requires_grad=True)
    spread = pack.spread(values_N)
    assert spread.tolist() == [[0, 10, 0], [20, 0, 30]]
    (spread * torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])).sum().backward()
    assert values_N.grad.tolist() == [2, 4, 6]


# -- best fit ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sizes", "bins"),
    [
        ([], []),
        ([5, 3, 7, 2, 3], [[2, 1], [0, 4, 3]]),  # 7+3, 5+3+2: the second 3 finds room only beside the 5
        ([6, 5, 4, 3], [[0, 2], [1, 3]]),  # 6+4 is full, so 3 goes to 5
        ([4, 8, 7, 2], [[1, 3], [2], [0]]),  # 2 goes to the fullest with room: 8, not 7 nor 4
        ([10, 10], [[0], [1]]),
        ([3, 12, 4], [[1], [2, 0]]),  # 12 fits nowhere, and nothing joins it
    ],
)
def test_best_fit_by_hand(sizes, bins):
    assert best_fit(sizes, 10) == bins


# -- rows --------------------------------------------------------------------------------------------------------------


def test_what_is_scored_by_hand():
    """Columns 2 and 3 predict the response of the first row, column 2 that of the second."""
    rows = rows_of([*PROMPT, 4, 5], [*PROMPT, 6], prompts=[3, 3])
    assert rows.scored_BT.int().tolist() == [[0, 0, 1, 1], [0, 0, 1, 0]]
    unknown = TokenRows(rows.tokens_BS, rows.lengths_B)
    assert unknown.scored_BT.int().tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]


@pytest.mark.parametrize(
    ("tokens", "lengths", "prompts", "said"),
    [
        ((4,), [4], None, r"tokens_BS is \(4,\)"),
        ((2, 4), [4], None, r"tokens_BS is \(2, 4\), lengths_B \(1,\)"),
        ((0, 4), [], None, "no rows at all"),
        ((1, 4), [1], None, "nothing is to be predicted"),
        ((2, 4), [4, 3], [2, 3], "nothing is to be predicted"),
        ((2, 4), [4, 5], None, "a row of 5 tokens in tokens_BS of width 4"),
    ],
)
def test_rows_that_make_no_sense_are_refused(tokens, lengths, prompts, said):
    with pytest.raises(ShapeError, match=said):
        TokenRows(
            torch.zeros(tokens, dtype=torch.int64),
            torch.tensor(lengths),
            None if prompts is None else torch.tensor(prompts),
        )


# -- what a GPU's 8-bit products ask for -------------------------------------------------------------------------------


@pytest.mark.parametrize("multiple", [16, 32, 128])
def test_a_packs_end_is_filled_with_tokens_that_nothing_is_scored_from(multiple):
    """9 tokens, of which the prompt's 3 are shared; up to the next multiple stand zeros, a piece of their own."""
    (bare,) = Packer(max_tokens=200).packs(group())
    (filled,) = Packer(max_tokens=200, pack_multiple=multiple).packs(group())
    used = len(bare.tokens_L)
    assert len(filled.tokens_L) == multiple
    assert torch.equal(filled.tokens_L[:used], bare.tokens_L) and not filled.tokens_L[used:].any()
    assert filled.pieces == (*bare.pieces, Piece(used, multiple - used))
    assert not any(piece.after == len(filled.pieces) - 1 for piece in filled.pieces)
    for name in ("rows_R", "sources_N", "targets_N", "places_N"):
        assert torch.equal(getattr(filled, name), getattr(bare, name)), name
    assert int(filled.sources_N.max()) < used


def test_an_empty_pack_is_filled_too():
    assert len(Packer(max_tokens=200, pack_multiple=128).empty_pack().tokens_L) == 128


def test_parts_of_rows_stand_alone():
    """Rows 0 and 1, then 2 and 3, each part cut to its longest."""
    rows = rows_of([1, 2, 3, 4], [5, 6], [7, 8], [9, 8, 7])
    whole = TokenRows(rows.tokens_BS, rows.lengths_B, torch.tensor([1, 1, 1, 2]), parts=2)
    (first, one), (second, other) = whole.each_part()
    assert (first, second) == (slice(0, 2), slice(2, 4))
    assert one.tokens_BS.tolist() == [[1, 2, 3, 4], [5, 6, NOTHING, NOTHING]]
    assert other.tokens_BS.tolist() == [[7, 8, NOTHING], [9, 8, 7]]
    assert other.prompt_lengths_B.tolist() == [1, 2]
    with pytest.raises(ShapeError, match="4 rows can't be scored in 3 equal parts"):
        TokenRows(rows.tokens_BS, rows.lengths_B, parts=3)
