"""What every rollout engine does, and the table of engines.

An engine knows three verbs. It eats the same stream of Hugging Face named tensors that converters and the export
use, so that any trainer can feed any engine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple, Protocol, TypeVar

from torch import Tensor

from nemo_prorl.config.choice import Choice, as_knobs
from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.data.trajectory import Completion
from nemo_prorl.errors import RolloutError
from nemo_prorl.plugins import configured

ROLLOUT_ENGINES = {
    "native": "nemo_prorl.rollout.native.engine:native_or_transformers",  # CPU, the default there
    "transformers": "nemo_prorl.rollout.transformers_engine:TransformersEngine",  # CPU and GPU, any model
    "tensorrt_llm": "nemo_prorl.rollout.tensorrt_llm.engine:TensorRTLLMEngine",  # CUDA, production
    "openai": "nemo_prorl.rollout.openai_engine:OpenAIEngine",  # a server of a fixed model, for evaluation
    "scripted": "nemo_prorl.rollout.scripted_engine:ScriptedEngine",  # answers from a list, for tests
}


class Sampled(NamedTuple):
    """A completion and where it belongs: `prompt` and `sample` count from 0 in the call's order."""

    prompt: int
    sample: int
    completion: Completion


class RolloutEngine(Protocol):
    """Samples completions. Rewards and Megatron are unknown here."""

    def load_weights(self, stream: Iterable[tuple[str, Tensor]]) -> None:
        """Take the policy's newest weights. Every tensor of the model must come, under its Hugging Face name.

        Raises:
            WeightsError: a tensor is missing, unknown, or of another shape; all of them are listed.
        """
        ...

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams) -> Iterator[Sampled]:
        """`sampling.samples_per_prompt` completions of every prompt, each as soon as it is finished, in any order.

        Closing the iterator drops what isn't finished. A completion's tokens depend on `sampling.completion_seed` and
        the weights alone, not on what else is in the call (up to float arithmetic).

        Raises:
            RolloutError: a prompt leaves no room for a response.
        """
        ...

    def release(self) -> None:
        """Give back what generation alone needs (caches); weights may go too. `load_weights` comes before more work."""
        ...


E = TypeVar("E", bound=RolloutEngine)
T = TypeVar("T")


@contextmanager
def closed_at_end(engine: E) -> Iterator[E]:
    """Inside, the engine may be used. One that holds threads, connections or a library's memory has a `close`."""
    try:
        yield engine
    finally:
        getattr(engine, "close", _nothing)()


def chosen_engine(choice: Choice) -> Callable[..., RolloutEngine]:
    """What makes the engine that a config chooses; this process is set up for it by the `prepare_process` of its class.

    To be called before anything that looks for a GPU is imported: which ones a process sees is settled by then.

    Raises:
        ConfigError: there is no such engine, or a knob of it is wrong.
    """
    make: Callable[..., RolloutEngine] = configured(as_knobs(choice), ROLLOUT_ENGINES, "rollout")
    getattr(getattr(make, "func", make), "prepare_process", _nothing)()
    return make


def takes_weights(engine: RolloutEngine) -> bool:
    """False of an engine that serves what it was started with: its `load_weights` only says so."""
    return getattr(engine, "takes_weights", True)


def in_order(found: Mapping[int, T], prompt: Prompt, sampling: SamplingParams, engine: RolloutEngine) -> list[T]:
    """What was found of each sample of `prompt`, by its number, in the order of samples.

    Raises:
        RolloutError: the engine left one out, or gave one that it wasn't asked for.
    """
    wanted = range(sampling.samples_per_prompt)
    if set(found) != set(wanted):
        raise RolloutError(
            f"the rollout engine gave samples {sorted(found)} of prompt {prompt.uid!r}, expected each of 0 to "
            f"{wanted[-1]}; this is a bug in {getattr(engine, 'name', type(engine).__name__)}"
        )
    return [found[sample] for sample in wanted]


def _nothing() -> None:
    pass
