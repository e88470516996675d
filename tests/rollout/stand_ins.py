"""Small real things to collect with: numbered prompts, a pool that judges at once, ranks that are threads."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import torch

from nemo_prorl.data.blend import Blend
from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.data.trajectory import Completion, Verdict
from nemo_prorl.quickstart.tiny_model import make_tokenizer
from nemo_prorl.recipe import Stage
from nemo_prorl.rollout.engine import RolloutEngine
from nemo_prorl.rollout.scripted_engine import ScriptedEngine
from nemo_prorl.world import LocalWorld

T = TypeVar("T")


def byte_tokenizer() -> Tokenizer:
    backend = make_tokenizer()
    return Tokenizer(backend, [backend.eos_token_id])


def prompt(uid: str, domain: str = "math", length: int = 3) -> Prompt:
    """A prompt of `length` tokens."""
    return Prompt(
        uid, domain, "sum", "test", ({"role": "user", "content": "?"},), tuple(range(5, 5 + length)), "math", {}
    )


def by_place(
    engine: RolloutEngine, prompts: Sequence[Prompt], sampling: SamplingParams
) -> dict[tuple[str, int], Completion]:
    """What an engine answers, by (uid, sample): all that it was asked for."""
    found = {(prompts[p].uid, sample): completion for p, sample, completion in engine.generate(prompts, sampling)}
    assert len(found) == len(prompts) * sampling.samples_per_prompt
    return found


def scored(model: Any, prompt_ids: Sequence[int], token_ids: Sequence[int], temperature: float) -> torch.Tensor:
    """Logprobs of a response by one plain forward pass of transformers, no cache and no padding, [T]."""
    row = torch.tensor([[*prompt_ids, *token_ids]])
    with torch.no_grad():
        logp = torch.log_softmax(model(row).logits[0].float() / temperature, dim=-1)
    start = len(prompt_ids)
    return logp[start - 1 : -1].gather(1, row[0, start:, None])[:, 0]


def stage(*, prompts: int = 4, update: int = 2, samples: int = 2, **settings: Any) -> Stage:
    sampling = SamplingParams(samples, max_response_tokens=32, context_tokens=64)
    return Stage("main", 10, prompts, update, sampling, kl_weight=0.0, **settings)


def scripted(answer: Callable[[Prompt, int], str]) -> ScriptedEngine:
    return ScriptedEngine(None, byte_tokenizer(), answer=answer)


class NumberedPrompts:
    """Prompts "0", "1", "2", ... for ever, `of` of them when given; even ones are math, odd ones logic."""

    def __init__(self, of: int | None = None) -> None:
        self.position, self.of = 0, of
        self.observed: list[tuple[str, Sequence[float]]] = []

    def draw(self, n: int, blend: Blend, *, avoid: Collection[str] = ()) -> list[Prompt]:
        drawn = range(self.position, self.position + n)
        self.position += n
        numbers = [i if self.of is None else i % self.of for i in drawn]
        return [prompt(str(i), "logic" if i % 2 else "math") for i in numbers]

    def put_back(self, n: int) -> None:
        self.position -= n

    def observe(self, groups: Iterable[tuple[str, Sequence[float]]]) -> None:
        self.observed += groups


class InlinePool:
    """Judges on the spot: the reward is the number that the text says."""

    def __init__(self, unhealthy: Exception | None = None) -> None:
        self.judged: list[tuple[str, str]] = []
        self.unhealthy = unhealthy

    def submit(self, prompt: Prompt, text: str) -> Future[Verdict]:
        self.judged.append((prompt.uid, text))
        verdict: Future[Verdict] = Future()
        verdict.set_result(Verdict(float(text)) if text else Verdict(0.0, outcome="no_answer"))
        return verdict

    def drain_metrics(self) -> dict[str, float]:
        count, self.judged = float(len(self.judged)), []
        return {"verifier/math/verdicts": count, "verifier/math/error": 0.0, "verifier/math/error_fraction": 0.0}

    def check_health(self) -> None:
        if self.unhealthy is not None:
            raise self.unhealthy


class Maximum:
    """Among `size` threads; each joins once."""

    def __init__(self, size: int) -> None:
        self._joined: list[Sequence[int]] = []
        self._size, self._all = size, threading.Event()

    def join(self, values: Sequence[int]) -> None:
        self._joined.append(values)
        if len(self._joined) == self._size:
            self._all.set()

    def is_done(self) -> bool:
        return self._all.is_set()

    def result(self) -> list[int]:
        assert self._all.wait(20), "a rank has not come to the exchange"
        return [max(column) for column in zip(*self._joined, strict=True)]


class Maxima:
    """All that these threads begin, by number."""

    def __init__(self, size: int) -> None:
        self._size, self._lock, self._by_number = size, threading.Lock(), dict[int, Maximum]()

    def join(self, number: int, values: Sequence[int]) -> Maximum:
        with self._lock:
            maximum = self._by_number.setdefault(number, Maximum(self._size))
            maximum.join(values)
            return maximum


class ThreadWorld(LocalWorld):
    """One of `size` ranks that are threads of this process."""

    def __init__(
        self, rank: int, size: int, board: list[Any], barrier: threading.Barrier, data_size: int, maxima: Maxima
    ) -> None:
        self.rank, self.size, self._board, self._barrier = rank, size, board, barrier
        self._maxima, self._begun = maxima, 0
        self.data_size = data_size
        self.data_rank = rank % data_size
        self.is_main = rank == 0

    def gather(self, value: T) -> list[T]:
        self._board[self.rank] = value
        self._barrier.wait()
        values = list(self._board)
        self._barrier.wait()
        return values

    def begin_maximum(self, values: Sequence[int]) -> Maximum:
        self._begun += 1
        return self._maxima.join(self._begun, values)

    def broadcast(self, value: T) -> T:
        return self.gather(value)[0]

    def barrier(self) -> None:
        self.gather(None)

    def share_out(self, held: Mapping[int, T], wanted: Sequence[int]) -> list[T]:
        everything: dict[int, T] = {}
        for part in self.gather(held):
            everything.update(part)
        return [everything[key] for key in wanted]


def on_ranks(size: int, work: Callable[[ThreadWorld], T], data_size: int | None = None) -> list[T | Exception]:
    """What `work` returns or raises on each of `size` ranks; a rank that waits for ever is an error after 20 s."""
    barrier, board, maxima = threading.Barrier(size, timeout=20), [None] * size, Maxima(size)

    def one(rank: int) -> T | Exception:
        try:
            return work(ThreadWorld(rank, size, board, barrier, data_size or size, maxima))
        except Exception as error:
            return error

    with ThreadPoolExecutor(size) as threads:
        return list(threads.map(one, range(size)))
