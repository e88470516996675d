"""How much memory a run takes on its fullest rank, phase by phase: arithmetic alone, nothing is built.

Weights, gradients, optimizer state and frozen copies are counted exactly, up to an allocator's rounding. Activations
are what a forward pass keeps for the backward pass, tensor by tensor as the layers keep them. Not counted: what Python,
CUDA and NCCL take for themselves, and what an allocator loses between blocks (see RUNTIME_BYTES).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nemo_prorl.config.schema import MegatronConfig
from nemo_prorl.megatron.layout import chunk_height, padded_vocabulary
from nemo_prorl.megatron.precision import precision_of
from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.estimate import layers_per_stage, rank_parameter_count

FP32, BF16, FP8 = 4, 2, 1  # bytes of a number
RUNTIME_BYTES = 2 << 30  # what CUDA, NCCL and an allocator's gaps take on a GPU, which no estimate counts


@dataclass(frozen=True)
class EngineMemory:
    """What the rollout engine keeps on the device: bytes of its own copy of the weights, and of its cache when full."""

    weights: int = 0
    cache: int = 0


@dataclass(frozen=True)
class Phase:
    """Bytes on the fullest rank in one phase of a step, part by part."""

    name: str
    parts: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.parts.values())


@dataclass(frozen=True)
class RankMemory:
    """The three phases of a step, in their order."""

    phases: tuple[Phase, Phase, Phase]

    @property
    def fullest(self) -> Phase:
        return max(self.phases, key=lambda phase: phase.total)

    def __iter__(self) -> Iterator[Phase]:
        return iter(self.phases)


@dataclass(frozen=True)
class MemoryEstimate:
    """Of one rank of a layout. `of_step` is the answer; the other methods are its terms, in bytes."""

    architecture: Architecture
    config: MegatronConfig
    data_parallel_size: int = 1

    def of_step(self, *, reference: bool = False, base: bool = False, engine: EngineMemory | None = None) -> RankMemory:
        """Rollout, scoring and update. `reference`, `base`: whether those frozen copies of the weights are kept."""
        engine, offload = engine or EngineMemory(), self.config.offload
        on_host = "reference" in offload
        lasting = {
            "parameters": self.parameters(),
            "8-bit copies": self.eight_bit_copies(),
            "reference": self.parameters() if reference and not on_host else 0,
            "rollout engine": engine.weights,
        }
        training = {"gradients": self.gradients(), "optimizer": self.optimizer()}
        held = {name: size for name, size in training.items() if name not in offload}
        fetched = self.parameters() if base or (reference and on_host) else 0
        return RankMemory(
            (
                Phase("rollout", {**lasting, **held, "cache": engine.cache}),
                Phase(
                    "scoring",
                    {
                        **lasting,
                        **held,
                        "fetched copy": fetched,
                        "activations": self._of_layer(self._width()),
                        "logits": self.logits(),
                    },
                ),
                Phase("update", {**lasting, **training, "activations": self.activations(), "logits": self.logits()}),
            )
        )

    def parameter_count(self) -> int:
        """Weights of the fullest rank, padding included."""
        return rank_parameter_count(
            self.architecture,
            tensor_parallel_size=self.config.tensor_parallel_size,
            pipeline_parallel_size=self.config.pipeline_parallel_size,
            padded_vocab=padded_vocabulary(self.architecture, self.config),
        )

    def parameters(self) -> int:
        """In the precision's dtype; with fp8.parameters the matrices of FP8 layers in 8 bits."""
        saved = self._fp8_matrices() * (BF16 - FP8) if self.config.fp8.parameters else 0
        return self.parameter_count() * self._element() - saved

    def eight_bit_copies(self) -> int:
        """Transformer Engine keeps each matrix of an FP8 layer in 8 bits, and transposed, for all microbatches."""
        return self._fp8_matrices() * (FP8 if self.config.fp8.parameters else 2 * FP8)

    def gradients(self) -> int:
        """In fp32, whatever the weights are in."""
        return self.parameter_count() * FP32

    def optimizer(self) -> int:
        """Two fp32 moments, and below fp32 a master of each weight; shared out by the distributed optimizer."""
        whole = self.parameter_count() * FP32 * (3 if precision_of(self.config).bf16 else 2)
        return -(-whole // self.data_parallel_size) if self.config.distributed_optimizer else whole

    def activations(self) -> int:
        """Kept for the backward pass, and what one layer's backward pass needs at a time."""
        stages, virtual = self.config.pipeline_parallel_size, self.config.virtual_pipeline_size
        # The first of p stages holds p microbatches when the first backward pass begins (1F1B), interleaved some more.
        extra = (stages - 1) / (stages * virtual) if virtual > 1 else 0.0
        in_flight = int(layers_per_stage(self.architecture, stages) * stages * (1 + extra))
        backward = self._of_layer(self._width())
        ends = 3 * self._cut_over_ranks(self.architecture.hidden_size) * self._element()  # embedded, normed, chosen
        tokens = self.config.max_tokens_per_microbatch
        if self.config.recompute != "full":
            return in_flight * self.layer_activations() + backward + ends * tokens
        inputs = self._cut_over_ranks(self.architecture.hidden_size) * self._element() * tokens
        return in_flight * inputs + self.layer_activations() + backward + ends * tokens

    def layer_activations(self) -> int:
        """What one layer keeps of a microbatch, nothing recomputed.

        Whole on every TP rank, unless sequence parallelism cuts them: the layer's input, the residual, and both norms'
        results (4 x hidden). Cut: queries, keys and values, attention's result, gate and up. Transformer Engine keeps
        queries and keys before they are turned, too, and the product of gate and up; on a CPU that is made again. In
        8 bits are what goes into a product and comes from no other: norms' results, and copies of attention's result
        and of the product. Selective recomputation keeps all of it: what it leaves out, flash attention never has.
        """
        model, tensor = self.architecture, self.config.tensor_parallel_size
        query, keys, ffn = model.query_size // tensor, model.kv_size // tensor, model.ffn_size // tensor
        hidden = self._cut_over_ranks(model.hidden_size)
        if not self._on_gpu:
            numbers = 4 * hidden + 2 * query + 2 * keys + 2 * ffn
        elif self._uses_te():
            numbers = 4 * hidden + 3 * query + 3 * keys + 3 * ffn
        else:
            numbers = 4 * hidden + 2 * query + 2 * keys + 3 * ffn
        size = numbers * self._element()
        if precision_of(self.config).fp8:
            size += query * FP8 - (2 * hidden + ffn) * (BF16 - FP8)
        return self._of_layer(size)

    def logits(self) -> int:
        """Of one chunk of tokens: logits, and their exponentials or gradients; the output weight's gradient in bf16."""
        columns = padded_vocabulary(self.architecture, self.config) // self.config.tensor_parallel_size
        rows = min(chunk_height(columns, "cuda" if self._on_gpu else "cpu"), self.config.max_tokens_per_microbatch)
        chunk = rows * columns * 2 * FP32
        if not precision_of(self.config).bf16:
            return chunk
        return chunk + rows * columns * BF16 + columns * self.architecture.hidden_size * BF16

    def _of_layer(self, bytes_a_token: int) -> int:
        return self.config.max_tokens_per_microbatch * bytes_a_token

    def _width(self) -> int:
        """Bytes a token at the widest place of a layer, forward or backward: the MLP, with its input and result."""
        if not self._on_gpu:  # done in chunks
            return 2 * self.architecture.hidden_size * self._element()
        ffn = self.architecture.ffn_size // self.config.tensor_parallel_size
        return (3 * ffn + 2 * self._cut_over_ranks(self.architecture.hidden_size)) * self._element()

    def _cut_over_ranks(self, hidden: int) -> int:
        return hidden // (self.config.tensor_parallel_size if self.config.sequence_parallel else 1)

    def _element(self) -> int:
        return BF16 if precision_of(self.config).bf16 else FP32

    @property
    def _on_gpu(self) -> bool:
        """What `device: auto` will find isn't known here: a GPU, if a chip is planned for."""
        return self.config.device == "cuda" or (self.config.device == "auto" and self.config.chip is not None)

    def _uses_te(self) -> bool:
        return self._on_gpu and precision_of(self.config).bf16

    def _fp8_matrices(self) -> int:
        """Numbers in the matrices of the fullest rank's FP8 layers."""
        if not precision_of(self.config).fp8:
            return 0
        model, stages = self.architecture, self.config.pipeline_parallel_size
        ends = {1: 2, 2: 1}.get(stages, 0)  # of the model, that every stage has; with three stages one has none
        layers = layers_per_stage(model, stages) - self.config.fp8.bf16_end_layers * ends
        attention = model.hidden_size * (2 * model.query_size + 2 * model.kv_size)
        return layers * (attention + 3 * model.hidden_size * model.ffn_size) // self.config.tensor_parallel_size
