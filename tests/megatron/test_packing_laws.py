"""What holds for packs of any rows, however they are packed."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_prorl.megatron.packing import Packer
from nemo_prorl.megatron.token_rows import TokenRows


@st.composite
def any_rows(draw):
    """Rows with prompts from a short list, so that many are equal, and random tokens behind every end."""
    prompts = draw(st.lists(st.lists(st.integers(0, 2), max_size=5), min_size=1, max_size=3))
    shapes = draw(
        st.lists(st.tuples(st.integers(0, len(prompts) - 1), st.integers(1, 9)), min_size=1, max_size=12)
    )  # (number of the prompt, tokens of the response)
    generator = np.random.default_rng(draw(st.integers(0, 99)))
    lengths = [max(len(prompts[prompt]) + response, 2) for prompt, response in shapes]
    tokens = generator.integers(0, 50, (len(shapes), max(lengths)))
    for row, (prompt, _) in zip(tokens, shapes, strict=True):
        row[: len(prompts[prompt])] = prompts[prompt]
    knows_prompts = draw(st.booleans())
    return TokenRows(
        torch.from_numpy(tokens),
        torch.tensor(lengths),
        torch.tensor([len(prompts[prompt]) for prompt, _ in shapes]) if knows_prompts else None,
    )


@st.composite
def any_packer(draw):
    multiple = draw(st.sampled_from([1, 4]))
    return Packer(
        max_tokens=draw(st.integers(1, 60)),
        packing=draw(st.booleans()),
        share_prompts=draw(st.booleans()),
        row_multiple=multiple,
        pack_multiple=multiple * draw(st.sampled_from([1, 2])),
    )


def seen_from(pack, source):
    """The tokens and positions that the hidden state at `source` may know, in the order of the row."""
    (piece,) = [piece for piece in pack.pieces if piece.start <= source < piece.start + piece.length]
    places = list(range(piece.start, source + 1))
    if piece.after is not None:
        prompt = pack.pieces[piece.after]
        places = [*range(prompt.start, prompt.start + prompt.length), *places]
    return pack.tokens_L[places].tolist(), pack.positions_L[places].tolist()


@settings(deadline=None)
@given(any_rows(), any_packer())
def test_every_prediction_is_made_once_from_exactly_its_rows_tokens_so_far(rows, packer):
    found = []
    for pack in packer.packs(rows):
        for source, target, place in zip(pack.sources_N, pack.targets_N, pack.places_N, strict=True):
            number, column = divmod(int(place), pack.width)
            row = int(pack.rows_R[number])
            found.append((row, column))
            assert target == rows.tokens_BS[row, column + 1]
            assert pack.positions_L[source] == column
            assert seen_from(pack, int(source)) == (
                rows.tokens_BS[row, : column + 1].tolist(),
                list(range(column + 1)),
            )
    assert sorted(found) == [tuple(place) for place in rows.scored_BT.nonzero().tolist()]


@settings(deadline=None)
@given(any_rows(), any_packer())
def test_every_row_is_in_one_pack_and_packs_keep_to_the_budget_but_for_a_row_that_alone_exceeds_it(rows, packer):
    packs = packer.packs(rows)
    assert torch.cat([pack.rows_R for pack in packs]).sort().values.tolist() == list(range(len(rows.lengths_B)))
    for pack in packs:
        assert len(pack.tokens_L) == len(pack.positions_L) == sum(piece.length for piece in pack.pieces)
        assert len(pack.tokens_L) % packer.pack_multiple == 0
        assert all(piece.length % packer.row_multiple == 0 for piece in pack.pieces)
        assert len(pack.rows_R) == 1 or len(pack.tokens_L) < packer.max_tokens + packer.pack_multiple


@settings(deadline=None)
@given(any_rows())
def test_sharing_and_packing_leave_out_exactly_the_repeated_prompts_and_the_padding(rows):
    def tokens(**how):
        return sum(len(pack.tokens_L) for pack in Packer(max_tokens=10_000, **how).packs(rows))

    inputs = (rows.lengths_B - 1).tolist()
    assert tokens(share_prompts=False) == sum(inputs)
    assert tokens(packing=False) == len(inputs) * max(inputs)
    prompts = [1] * len(inputs) if rows.prompt_lengths_B is None else rows.prompt_lengths_B.clamp(min=1).tolist()
    beginnings = {tuple(row[:prompt]) for row, prompt in zip(rows.tokens_BS.tolist(), prompts, strict=True)}
    shared = sum(map(len, beginnings)) + sum(inputs) - sum(prompts)
    assert tokens() == (sum(inputs) if rows.prompt_lengths_B is None else shared)


@settings(deadline=None)
@given(any_rows(), any_packer())
def test_packs_are_the_same_again_whatever_stands_behind_the_rows(rows, packer):
    behind_BS = torch.arange(rows.tokens_BS.shape[1]) >= rows.lengths_B[:, None]
    others = TokenRows(rows.tokens_BS.masked_fill(behind_BS, -1), rows.lengths_B, rows.prompt_lengths_B)
    for one, other in zip(packer.packs(rows), packer.packs(others), strict=True):
        for field in ("rows_R", "tokens_L", "positions_L", "sources_N", "targets_N", "places_N"):
            assert torch.equal(getattr(one, field), getattr(other, field))
        assert (one.pieces, one.width) == (other.pieces, other.width)
