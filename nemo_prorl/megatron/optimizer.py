"""AdamW through Megatron's optimizer: clipped, on a schedule, refusing gradients that are not numbers, resettable.

Megatron takes Transformer Engine's fused Adam, or Apex's, where one is installed, and torch's AdamW elsewhere, whose
state it expects a little otherwise; the places where that matters carry a comment.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache
from typing import Any

import torch
import torch.distributed as dist
from megatron.core.optimizer import OptimizerConfig as MegatronOptimizerConfig
from megatron.core.optimizer import get_megatron_optimizer
from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer

from nemo_prorl.algorithm.reduction import Max, Mean, Metric
from nemo_prorl.config.schema import OptimizerConfig
from nemo_prorl.errors import BadUpdateError
from nemo_prorl.megatron.model import PolicyModel
from nemo_prorl.megatron.precision import optimizer_settings

log = logging.getLogger(__name__)


class PolicyOptimizer:
    """The optimizer of one model. Every method is collective."""

    def __init__(self, model: PolicyModel, config: OptimizerConfig, *, total_steps: int) -> None:
        self._model, self._config, self._total_steps = model, config, total_steps
        self.updates = 0  # since the run began; the learning rate's clock, which a reset doesn't touch
        _let_distributed_optimizer_restore_adamw()
        _let_distributed_optimizer_find_what_it_saves()
        self.megatron: Any = get_megatron_optimizer(_megatron_config(model, config), model.chunks)
        self._make_moments()
        log.info("precision %s, weights updated by the Adam of %s", model.config.precision, self.kind)

    @property
    def kind(self) -> str:
        """Whose Adam it is: transformer_engine's or apex's, fused, where one is installed; else torch's."""
        return next((type(optimizer).__module__.partition(".")[0] for optimizer in self.torch_optimizers()), "torch")

    @property
    def lr(self) -> float:
        """The learning rate of the next update."""
        config, done = self._config, self.updates
        if done < config.warmup_steps:
            return config.lr * (done + 1) / config.warmup_steps
        left = max(self._total_steps - config.warmup_steps, 1)
        share = min((done - config.warmup_steps) / left, 1.0)
        return config.lr * (1.0 - share * (1.0 - config.final_lr_fraction))

    def zero_grad(self) -> None:
        for chunk in self._model.chunks:
            chunk.zero_grad_buffer()
        self.megatron.zero_grad()

    def step(self, *, objection: str = "", norm_limit: float | None = None) -> dict[str, Metric | float]:
        """Clip the gradients and update the weights, unless this rank or another objects to the update.

        Says the gradients' norm before clipping, as a mean and as a maximum over the updates that somebody puts
        together, and the learning rate.

        Raises:
            BadUpdateError: some rank has an `objection`, a gradient is not a finite number, or their norm is above
                `norm_limit`; no weight and no moment has been touched, on any rank.
        """
        self._refuse_bad_gradients(objection)
        if norm_limit is not None:
            self._refuse_spike(norm_limit)
        lr = self.lr
        for torch_optimizer in self.torch_optimizers():
            for group in torch_optimizer.param_groups:
                group["lr"] = lr
                # Megatron leaves this to its own scheduler: vectors (norms, biases) are not decayed.
                group["weight_decay"] = self._config.weight_decay * group["wd_mult"]
        _, grad_norm, _ = self.megatron.step()
        self.updates += 1
        norm = torch.tensor(float(grad_norm))
        return {
            "optimizer/grad_norm": Mean(norm, torch.tensor(1)),
            "optimizer/grad_norm_max": Max(norm),
            "optimizer/lr": lr,
        }

    def reset(self) -> None:
        """Fresh moments and step count; fp32 master weights are read from the weights again. The schedule goes on."""
        for torch_optimizer in self.torch_optimizers():
            torch_optimizer.state.clear()
            for group in torch_optimizer.param_groups:
                group.pop("step", None)  # fused optimizers count there
        self.reload_weights()
        self._make_moments()

    def reload_weights(self) -> None:
        """Tell the optimizer that the weights were changed behind its back."""
        self.megatron.reload_model_params()

    def load_state_dict(self, loaded: dict[str, Any]) -> None:
        """Take up what `megatron.sharded_state_dict` has saved.

        Two things of torch's AdamW are mended. A step count of zero, right after a reset, is not stored at all, and
        the state can't be loaded without one. And afterwards all parameters share one step tensor, which would then
        advance once for each of them. Fused ones count in their groups, and know no step of a parameter.
        """
        inner = loaded.get("optimizer", loaded)
        if "state" in inner and self.kind == "torch":
            inner["state"].setdefault("common_step", torch.zeros(()))
        with torch.no_grad():
            self.megatron.load_state_dict(loaded)
        for torch_optimizer in self.torch_optimizers():
            if isinstance(torch_optimizer, torch.optim.AdamW):
                for state in torch_optimizer.state.values():
                    state["step"] = torch.as_tensor(float(state.get("step", 0.0)), dtype=torch.float32)

    def _refuse_bad_gradients(self, objection: str) -> None:
        buffers = [buffer for chunk in self._model.chunks for buffer in chunk.buffers]
        # Whatever is not a number shows in one of the two; to look at every element would need a buffer's size again.
        ends = torch.stack([end for buffer in buffers for end in torch.aminmax(buffer.grad_data)])
        is_finite = torch.isfinite(ends).all()
        reasons = torch.stack([~is_finite, torch.full_like(is_finite, bool(objection))]).int()
        dist.all_reduce(reasons, op=dist.ReduceOp.MAX)
        gradient_is_bad, is_objected_to = reasons.tolist()
        if gradient_is_bad:
            also = f" ({objection})" if objection else ""
            raise BadUpdateError(f"the gradient of update {self.updates + 1} is not a finite number{also}")
        if is_objected_to:
            raise BadUpdateError(f"update {self.updates + 1} is refused: {objection or 'another rank objects to it'}")

    def _refuse_spike(self, limit: float) -> None:
        self.megatron.prepare_grads()
        norm = float(self.megatron.get_grad_norm())
        largest = torch.tensor(norm, device=self._model.chunks[0].buffers[0].grad_data.device)
        dist.all_reduce(largest, op=dist.ReduceOp.MAX)  # all ranks must decide alike
        if not float(largest) <= limit:
            raise BadUpdateError(
                f"the gradient of update {self.updates + 1} has norm {float(largest):.4g}, above {limit:.4g}",
                is_spike=True,
            )

    def _make_moments(self) -> None:
        # They are made at the first step, but Megatron's state_dict wants them before.
        for part in self._parts():
            if not isinstance(part.optimizer, torch.optim.AdamW):
                part.init_state_fn(part.optimizer, part.config)
                continue
            # optimizer/__init__.py:391, which Megatron calls for any Adam, leaves out the step that torch's needs.
            for group in part.optimizer.param_groups:
                for parameter in group["params"]:
                    part.optimizer.state[parameter] = {
                        "step": torch.zeros((), dtype=torch.float32),
                        "exp_avg": torch.zeros_like(parameter),
                        "exp_avg_sq": torch.zeros_like(parameter),
                    }

    def _parts(self) -> Iterator[Any]:
        """Megatron's optimizers, each around one of torch or of Transformer Engine; one without parameters has none."""
        for part in getattr(self.megatron, "chained_optimizers", [self.megatron]):
            if part.optimizer is not None:
                yield part

    def torch_optimizers(self) -> Iterator[torch.optim.Optimizer]:
        """Those that Megatron's are around."""
        for part in self._parts():
            yield part.optimizer


@cache
def _let_distributed_optimizer_restore_adamw() -> None:
    """distrib_optimizer.py:939 looks for a stored tensor for every entry of torch's AdamW state, `step` too.

    No checkpoint has one: the step is stored once for all parameters. Give it the one that is there.
    """
    original = DistributedOptimizer._set_main_param_and_optimizer_states

    def restore(self: DistributedOptimizer, model_param: torch.nn.Parameter, tensors: dict[str, Any]) -> None:
        group, place = self.model_param_group_index_map[model_param]
        state = self.optimizer.state[self.optimizer.param_groups[group]["params"][place]]
        step = {"step": state["step"]} if "step" in state else {}
        original(self, model_param, {**step, **tensors})

    DistributedOptimizer._set_main_param_and_optimizer_states = restore


@cache
def _let_distributed_optimizer_find_what_it_saves() -> None:
    """distrib_optimizer.py:1119 lays buckets end to end; :1484 looks for parameters where the padded buffer has them.

    These places differ where another bucket follows a padded one, as that of a tied embedding does on a pipeline's
    first stage. Its weights and moments would be saved shifted, and be others after a resume.
    """
    original = DistributedOptimizer.get_parameter_state_dp_zero

    def gathered(self: DistributedOptimizer, *args: Any, **kwargs: Any) -> dict[Any, Any] | None:
        state: dict[Any, Any] | None = original(self, *args, **kwargs)
        if state is None:
            return None
        for number, buffer in enumerate(self.buffers):
            for world in state[number].values():
                world |= {name: _placed(found, buffer) for name, found in world.items() if torch.is_tensor(found)}
        return state

    DistributedOptimizer.get_parameter_state_dp_zero = gathered


def _placed(found: torch.Tensor, buffer: Any) -> torch.Tensor:
    """What stands bucket after bucket, each where the buffer has it."""
    if len(buffer.buckets) == 1:
        return found
    placed = found.new_zeros(buffer.numel)
    parts = found.split([bucket.numel_unpadded for bucket in buffer.buckets])
    for bucket, part in zip(buffer.buckets, parts, strict=True):
        placed[bucket.offset : bucket.offset + len(part)] = part
    return placed


def _megatron_config(model: PolicyModel, config: OptimizerConfig) -> MegatronOptimizerConfig:
    return MegatronOptimizerConfig(
        optimizer="adam",
        lr=config.lr,
        weight_decay=config.weight_decay,
        adam_beta1=config.beta1,
        adam_beta2=config.beta2,
        adam_eps=config.eps,
        clip_grad=config.clip_grad_norm,
        **optimizer_settings(model.config),
        use_distributed_optimizer=model.config.distributed_optimizer,
    )
