"""The board: all ranks come to the same end of a round, whoever knows what first."""

import random

import pytest

from nemo_prorl.rollout.board import Board
from nemo_prorl.world import LocalWorld
from tests.rollout.stand_ins import on_ranks


def test_a_round_is_over_when_enough_teach_and_all_before_are_known():
    """Two are wanted of five. 3 and 1 teach, but 0 and 2 aren't known; then 0 is, then 2, which teaches, too."""
    board = Board(LocalWorld(), 5, 2)
    for draw, teaches, over, needed in [(3, True, False, 5), (1, True, False, 5), (0, False, False, 5)]:
        board.tell(draw, teaches)
        assert (board.is_over(), board.needed) == (over, needed)
    board.tell(2, True)
    assert (board.is_over(), board.needed) == (True, 3)
    board.finish()
    assert board.needed == 3


def test_a_round_of_which_all_is_wanted_is_over_when_all_is_known():
    board = Board(LocalWorld(), 3, None)
    for draw in range(3):
        assert not board.is_over()
        board.tell(draw, True)
    assert board.is_over() and board.needed == 3


def test_a_round_in_which_too_few_teach_is_over_when_all_is_known():
    board = Board(LocalWorld(), 2, 2)
    board.tell(0, True)
    board.tell(1, False)
    assert board.is_over() and board.needed == 2


@pytest.mark.parametrize("seed", range(8))
def test_ranks_agree_on_what_is_needed_in_whatever_order_they_find_out(seed):
    """Three ranks hold every third of 20 draws each, and look at the board at random moments."""
    teaches = [random.Random(seed).random() < 0.5 for _ in range(20)]

    def live(world):
        own = random.Random(f"{seed}, {world.rank}")
        board = Board(world, 20, 6)
        mine = list(range(world.rank, 20, 3))
        own.shuffle(mine)
        for draw in mine:
            board.tell(draw, teaches[draw])
            if own.random() < 0.5 and board.is_over():
                break
        board.finish()
        return board.needed

    found = [draw for draw, teach in enumerate(teaches) if teach]
    wanted = found[5] + 1 if len(found) >= 6 else 20
    assert on_ranks(3, live) == [wanted] * 3


def test_a_rank_that_gives_up_ends_the_round_for_all():
    def live(world):
        board = Board(world, 4, None)
        if world.rank == 0:
            board.finish(gives_up=True)
        else:
            board.tell(1, True)
            while not board.is_over():
                pass
            board.finish()
        return board.needed

    assert on_ranks(2, live) == [4, 4]
