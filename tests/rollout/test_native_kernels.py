"""kernels.c against the same in plain torch. What attention does is held by whole models (test_native_engine.py)."""

import pytest
import torch
from torch.nn import functional
from torch.testing import assert_close

from nemo_prorl.rollout.native.kernels import compiled, pack
from nemo_prorl.rollout.token_draw import draw_tokens

WIDTHS = [1, 15, 16, 17, 255, 257, 600]


@pytest.mark.parametrize("columns", WIDTHS)
@pytest.mark.parametrize("rows", [1, 2, 7, 8, 13])
def test_a_product_is_torchs_linear(rows, columns):
    x, weight, bias, out = (
        torch.randn(rows, 40),
        torch.randn(columns, 40),
        torch.randn(columns),
        torch.ones(rows, columns),
    )
    wanted = functional.linear(x, weight, bias)
    assert_close(compiled().product(x, pack(weight), columns, bias), wanted, atol=1e-5, rtol=1e-5)
    compiled().product(x, pack(weight), columns, bias, out)
    assert_close(out, wanted + 1, atol=1e-5, rtol=1e-5)


def test_a_row_of_a_product_does_not_depend_on_its_company():
    """Bit for bit, so that what is in the batch can't change a token."""
    x, packed = torch.randn(13, 300), pack(torch.randn(70, 300))
    together = compiled().product(x, packed, 70)
    assert all(torch.equal(compiled().product(x[row : row + 1], packed, 70)[0], together[row]) for row in range(13))


def test_threads_change_no_bit():
    """64 x 512 x 4,100 multiply-adds are worth two threads."""
    x, packed, before = torch.randn(64, 512), pack(torch.randn(4100, 512)), torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(compiled().product(x, packed, 4100))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


@pytest.mark.parametrize("width", WIDTHS)
def test_rms_norm_is_torchs(width):
    x, weight = torch.randn(5, width), torch.randn(width)
    assert_close(compiled().rms_norm(x, 1e-6), functional.rms_norm(x, (width,), eps=1e-6))
    assert_close(compiled().rms_norm(x, 1e-6, weight), functional.rms_norm(x, (width,), weight, eps=1e-6))


@pytest.mark.parametrize("width", WIDTHS)
def test_swiglu_is_silu_of_the_gate_times_up(width):
    """Also where e to the gate is beyond float32."""
    gate_up = torch.cat([torch.linspace(-200, 200, width).expand(3, -1), torch.randn(3, width)], dim=1)
    gate, up = gate_up.chunk(2, dim=1)
    assert_close(compiled().swiglu(gate_up), functional.silu(gate) * up, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("vocabulary", [*WIDTHS, 5000])
@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.2])
def test_a_draw_is_that_of_draw_tokens(vocabulary, temperature):
    """1,000 rows; where a number falls on the border of two tokens, rounding decides, so one may differ."""
    logits, uniform = 3 * torch.randn(1000, vocabulary), torch.rand(1000)
    logits[:, vocabulary // 3 + 1 :: 7] = -torch.inf
    token, logprob = compiled().draw(logits, uniform, temperature)
    wanted, wanted_logprob = draw_tokens(logits, uniform, temperature=temperature)
    same = token == wanted
    assert (~same).sum() <= 1
    assert_close(logprob[same], wanted_logprob[same], atol=2e-6, rtol=1e-5)


def test_the_ends_of_the_unit_interval_draw_tokens_that_can_be():
    logits = torch.tensor([[-torch.inf, 0.0, -torch.inf, 1.0, -torch.inf]]).repeat(2, 1)
    token, logprob = compiled().draw(logits, torch.tensor([0.0, 1 - 2**-24]), 1.0)
    assert token.tolist() == [1, 3]
    assert logprob.isfinite().all()


def test_a_logit_that_is_no_number_makes_no_logprob():
    logits = torch.randn(3, 40)
    logits[1, 7] = torch.nan
    _, logprob = compiled().draw(logits, torch.rand(3), 1.0)
    assert logprob.isnan().tolist() == [False, True, False]
