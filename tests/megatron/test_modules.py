"""Our modules of a layer against transformers', over a pack with a shared prompt: outputs and all gradients."""

import pytest
import torch
from megatron.core.transformer.transformer_config import TransformerConfig
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

from nemo_prorl.megatron import attention, cpu_layers
from nemo_prorl.megatron.modules import RMSNorm
from nemo_prorl.megatron.packing import Packer
from nemo_prorl.megatron.token_rows import TokenRows
from tests.megatron import module_scenarios as scenarios
from tests.processes import run_ranks
from tests.tiny_models import tiny_hf_folder

HIDDEN = 32


@pytest.fixture(scope="module")
def pack():
    """Two rows that share a prompt of 3, another of a single token, and one that shares nothing."""
    tokens_BS = torch.arange(1, 9).repeat(4, 1)
    tokens_BS[3] += 10
    lengths_B, prompt_lengths_B = torch.tensor([8, 6, 4, 5]), torch.tensor([3, 3, 3, 2])
    (found,) = Packer(max_tokens=100).packs(TokenRows(tokens_BS, lengths_B, prompt_lengths_B))
    return found


@pytest.fixture(scope="module")
def inputs_and_weights(pack):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, len(pack.tokens_L), HIDDEN, generator=generator).bfloat16().float()


def of_transformers(folder, pack, hidden_LH, weights_LH):
    """The same as `scenarios.of_the_first_layer`, in fp32; parameters by name."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").model
    layer = model.layers[0]
    mask = torch.zeros(1, 1, len(hidden_LH), len(hidden_LH)).masked_fill(~scenarios.allowed(pack.pieces), -torch.inf)
    turning = model.rotary_emb(hidden_LH, pack.positions_L[None])
    modules = {
        "input_layernorm": layer.input_layernorm,
        "self_attn": lambda hidden: layer.self_attn(hidden, turning, mask)[0],
        "mlp": layer.mlp,
    }
    told = {}
    for name, module in modules.items():
        hidden_1LH = hidden_LH[None].clone().requires_grad_()
        output_1LH = module(hidden_1LH)
        (output_1LH[0] * weights_LH).sum().backward()
        own = {f"model.layers.0.{inner}": p.grad for inner, p in layer.named_parameters() if inner.startswith(name)}
        told[name] = output_1LH.detach()[0], hidden_1LH.grad[0], own
    return told


@pytest.mark.processes
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 0.02)])
@pytest.mark.parametrize(("family", "head_dim"), [("qwen2", 8), ("qwen3", 16)])  # qwen3 norms queries and keys
@pytest.mark.parametrize("as_on_gpu", [False, True])
def test_every_module_of_a_layer_is_transformers_with_its_gradients(
    as_on_gpu, family, head_dim, precision, tolerance, pack, inputs_and_weights, tmp_path
):
    """Rotary embedding by positions in rows, norms of queries and keys, the gate; bf16 to within its rounding."""
    folder = tiny_hf_folder(tmp_path, family, hidden_size=HIDDEN, head_dim=head_dim, tied=True)
    expected = of_transformers(folder, pack, *inputs_and_weights)
    settings = {"precision": precision}
    (found,) = run_ranks(scenarios.of_the_first_layer, 1, folder, settings, as_on_gpu, pack, *inputs_and_weights)
    for module, (output_LH, gradient_LH, parameters) in expected.items():
        ours = found[module]
        assert_close_of_its_size(ours[0], output_LH, tolerance, module)
        assert_close_of_its_size(ours[1], gradient_LH, tolerance, f"the gradient of {module}'s input")
        assert parameters
        for name, gradient in parameters.items():
            assert_close_of_its_size(ours[2][name], gradient, tolerance, name)


def assert_close_of_its_size(found, expected, tolerance, name):
    """The largest difference as a share of the largest number."""
    assert (found.float() - expected).abs().max() <= tolerance * expected.abs().max(), name


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 0.01)])
@pytest.mark.parametrize("shape", [(5, 1, 6), (3, 2, 4, 6), (0, 1, 6)])
def test_the_norm_is_torchs_of_tensors_of_any_shape(shape, dtype, tolerance):
    """Its own result in the input's dtype, computed in fp32; eps matters for the small row."""
    generator = torch.Generator().manual_seed(0)
    norm = RMSNorm(
        TransformerConfig(num_layers=1, hidden_size=6, num_attention_heads=1, params_dtype=dtype), 6, eps=1e-3
    )
    x = torch.randn(shape, generator=generator).to(dtype)
    x[:1] *= 0.01
    weights = torch.randn(shape, generator=generator)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(6, generator=generator))
    ours, wide, weight = (
        x.clone().requires_grad_(),
        x.float().requires_grad_(),
        norm.weight.detach().float().requires_grad_(),
    )
    (norm(ours) * weights).sum().backward()
    (torch.nn.functional.rms_norm(wide, (6,), weight, 1e-3) * weights).sum().backward()
    assert norm(x).dtype == dtype
    assert_close(
        norm(x).float(), torch.nn.functional.rms_norm(wide, (6,), weight, 1e-3), atol=tolerance, rtol=tolerance
    )
    assert_close(ours.grad.float(), wide.grad, atol=tolerance, rtol=10 * tolerance)
    assert_close(norm.weight.grad.float(), weight.grad, atol=10 * tolerance, rtol=10 * tolerance)


@pytest.fixture(scope="module")
def states():
    """More tokens than a chunk takes, [600, 1, 16], rounded so that bf16 begins where fp32 does."""
    return torch.randn(600, 1, 16, generator=torch.Generator().manual_seed(2)).bfloat16().float()


def with_gradients(function, *tensors):
    """A result, weighted at random, and its gradients by the tensors; all in fp32."""
    leaves = [tensor.clone().requires_grad_() for tensor in tensors]
    output = function(*leaves)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(3)).bfloat16()
    (output * weights.to(output.dtype)).sum().backward()
    return [output.detach().float(), *(leaf.grad.float() for leaf in leaves)]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
def test_an_mlp_in_chunks_is_an_mlp(dtype, tolerance, states):
    """silu(gate) * up between two products; the last of three chunks is a short one."""
    generator = torch.Generator().manual_seed(4)
    gate_up = torch.randn(2 * 24, 16, generator=generator).bfloat16().float()
    down = torch.randn(16, 24, generator=generator).bfloat16().float()

    def whole(x, gate_up, down):
        gate, up = (x @ gate_up.t()).chunk(2, dim=-1)
        return (torch.nn.functional.silu(gate) * up) @ down.t()

    def in_chunks(x, gate_up, down):
        return cpu_layers._GatedMLP.apply(x, gate_up, down, torch.is_grad_enabled())

    expected = with_gradients(whole, states, gate_up, down)
    found = with_gradients(in_chunks, *(tensor.to(dtype) for tensor in (states, gate_up, down)))
    for number, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        assert_close_of_its_size(ours, theirs, tolerance, number)
    with torch.no_grad():
        assert_close_of_its_size(in_chunks(states, gate_up, down), expected[0], 1e-5, "without gradients")


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_heads_turned_in_chunks_give_the_products_of_heads_turned_at_once(dtype, tolerance, has_bias, states):
    """Two query groups of three heads of 4: every query with its key and with the next token's, and the values."""
    angles = torch.rand(600, 2, generator=torch.Generator().manual_seed(5)) * 6
    turning = angles.cos(), angles.sin()
    weight = torch.randn(2 * 5 * 4, 16, generator=torch.Generator().manual_seed(6)).bfloat16().float()
    bias = [torch.randn(40, generator=torch.Generator().manual_seed(7)).bfloat16().float()] if has_bias else []

    def products(heads):
        query, key, value = heads
        pairs = [(query * keys[:, :, None]).sum(-1) for keys in (key, key.roll(1, 0))]
        return torch.cat([*(pair.flatten(1) for pair in pairs), value.flatten(1)], dim=1)

    def at_once(x, weight, bias=None):
        mixed = torch.nn.functional.linear(x, weight, bias).view(600, 2, 5, 4)
        return products(attention._TurnedHeads.apply(mixed, *turning))

    def in_chunks(x, weight, bias=None):
        return products(cpu_layers._TurnedProjection.apply(x, weight, bias, *turning, 2))

    expected = with_gradients(at_once, states, weight, *bias)
    found = with_gradients(in_chunks, *(tensor.to(dtype) for tensor in (states, weight, *bias)))
    for number, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        assert_close_of_its_size(ours, theirs, tolerance, number)
