"""A rollout engine that knows its answers beforehand: for tests, and for trying verifiers without a model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from torch import Tensor

from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.data.trajectory import Completion
from nemo_prorl.errors import ConfigError, RolloutError
from nemo_prorl.rollout.decoding import check_room
from nemo_prorl.rollout.engine import Sampled

Answer = Callable[[Prompt, int], str | Sequence[int]]


class ScriptedEngine:
    """Answers without a model; see `RolloutEngine`. Any number of ranks gives the same answers to the same prompts.

    Give one knob. `answers`: texts, of which each completion gets the one that its seed picks. `path`: a JSONL file
    with a line {"uid": ..., "sample": 0, "text": ...} for every completion. `answer`: a function of (prompt, sample)
    that returns a text or token ids. A text is closed with the end token and cut where there is no more room; ids are
    taken as they are. `logprob` is reported for every token; without it the engine doesn't know logprobs.
    """

    def __init__(
        self,
        model_path: str | Path | None,
        tokenizer: Tokenizer,
        device: Any = None,
        *,
        answers: list[str] | None = None,
        path: str | Path | None = None,
        answer: Answer | None = None,
        logprob: float | None = None,
    ) -> None:
        if sum(knob is not None for knob in (answers, path, answer)) != 1 or answers == []:
            raise ConfigError(
                "rollout (scripted): give one of answers (a list of texts), path (a JSONL file) or answer"
            )
        self._tokenizer, self._logprob = tokenizer, logprob
        self._answers = answers or []
        self._answer = _answers_of_file(Path(path)) if path is not None else answer

    def load_weights(self, stream: Iterable[tuple[str, Tensor]]) -> None:
        """There is no model; the stream is drained since other ranks may be taking part in it."""
        for _ in stream:
            pass

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams) -> Iterator[Sampled]:
        """See `RolloutEngine.generate`."""
        check_room(prompts, sampling)
        return (
            Sampled(index, sample, self._completion(prompt, sample, sampling))
            for index, prompt in enumerate(prompts)
            for sample in range(sampling.samples_per_prompt)
        )

    def release(self) -> None:
        """Nothing is held."""

    def _completion(self, prompt: Prompt, sample: int, sampling: SamplingParams) -> Completion:
        if self._answer is not None:
            said = self._answer(prompt, sample)
        else:
            said = self._answers[sampling.completion_seed(prompt.uid, sample) % len(self._answers)]
        ids = [*self._tokenizer.encode(said), self._tokenizer.stop_ids[0]] if isinstance(said, str) else list(said)
        ids = ids[: sampling.response_room(len(prompt.token_ids))]
        reason: Literal["stop", "length"] = "stop" if ids[-1] in self._tokenizer.stop_ids else "length"
        logprobs = None if self._logprob is None else np.full(len(ids), self._logprob, dtype=np.float32)
        return Completion(np.array(ids, dtype=np.int32), logprobs, reason, self._tokenizer.decode(ids))


def _answers_of_file(path: Path) -> Answer:
    """The texts of a JSONL file by (uid, sample)."""
    texts: dict[tuple[str, int], str] = {}
    number = 0
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):  # noqa: B007 - the error names it
                if line.strip():
                    row = json.loads(line)
                    texts[row["uid"], row["sample"]] = row["text"]
    except OSError as error:
        raise ConfigError(f"rollout.path: {path} can't be read: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f'rollout.path: {path}, line {number}: {error!r}; a line is {{"uid": "...", "sample": 0, "text": "..."}}'
        ) from error

    def answer(prompt: Prompt, sample: int) -> str:
        if (prompt.uid, sample) not in texts:
            raise RolloutError(f"{path} has no answer for prompt {prompt.uid!r}, sample {sample}; add a line for it")
        return texts[prompt.uid, sample]

    return answer
