import subprocess
import sys
from dataclasses import replace

import pytest

from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.estimate import rank_parameter_count, training_cost, training_operations, utilization
from nemo_prorl.weights.families import weight_map
from nemo_prorl.weights.hf_folder import TensorReader
from tests.published_shapes import BY_HAND as TINY
from tests.published_shapes import QWEN_1_5B


def test_a_plan_is_made_without_loading_torch():
    """`prorl train --dry-run` answers at once; torch alone takes seconds to load."""
    program = "import sys, nemo_prorl.megatron.memory; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


@pytest.mark.parametrize("tp_size", [1, 2, 4])
def test_a_ranks_parameters_are_those_of_its_shards(model_folder, tp_size):
    architecture = Architecture.read(model_folder)
    held = 0
    with TensorReader(model_folder) as reader:
        for operation in weight_map(architecture).values():
            if operation.exported:
                tensors = [reader.get(name) for name in operation.hf_names]
                held += operation.to_megatron(tensors, 0, tp_size, 384).numel()
    counted = rank_parameter_count(
        architecture, tensor_parallel_size=tp_size, pipeline_parallel_size=1, padded_vocab=384
    )
    assert counted == held


def test_a_pipeline_stage_holds_its_layers_and_one_end():
    """Two stages: 128 for a layer, embeddings 48, and the final norm's 4 on the last."""
    architecture = Architecture.from_hf_config(TINY, "here")
    counted = rank_parameter_count(architecture, tensor_parallel_size=1, pipeline_parallel_size=2, padded_vocab=12)
    assert counted == 128 + 48 + 4


def test_the_cost_of_a_token_and_of_a_pair_by_hand():
    """Two layers of 128 weights and an output layer of 10 x 4; queries of 2 heads x 2 in each layer."""
    cost = training_cost(Architecture.from_hf_config(TINY, "here"))
    assert (cost.a_token, cost.a_pair) == (2 * (2 * 128 + 40), 2 * 2 * 4)


def test_an_operation_of_attention_counts_as_much_as_was_measured():
    architecture = Architecture.from_hf_config(TINY, "here")
    assert training_cost(architecture, 2.5) == replace(training_cost(architecture), a_pair=2.5 * 2 * 2 * 4)


def test_operations_of_training_by_hand():
    """A row of 10 tokens and one of 5: 3 x (592 x 15 + 16 x (100 + 25)); 32,640 operations in 2 seconds of a device
    that could do 40,800 in each are 40 %."""
    operations = training_operations(Architecture.from_hf_config(TINY, "here"), [10, 5])
    assert operations == 3 * (592 * 15 + 16 * 125) == 32_640
    assert utilization(operations, 2.0, 40_800.0) == pytest.approx(0.4)


def test_a_token_of_the_papers_model_takes_six_operations_a_weight_and_attentions():
    """1.54 billion weights in products (the embedding is looked up): 9.3 GFLOP a token, and at 8k tokens a row
    3 x 2 x 28 layers x 1536 x 8192 = 2.1 GFLOP more for attention."""
    architecture = Architecture.from_hf_config(QWEN_1_5B, "here")
    of_a_row = training_operations(architecture, [8192])
    in_products = architecture.parameter_count - 151_936 * 1536
    assert in_products == pytest.approx(1.54e9, rel=0.01)
    assert of_a_row / 8192 == pytest.approx(6 * in_products + 6 * 28 * 1536 * 8192, rel=1e-4)
