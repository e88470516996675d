"""Rollouts of a server that others run: `trtllm-serve` behind its OpenAI-compatible API, for evaluation.

For a model that is served by several GPUs or on other hosts. Tokens go in and come out as ids: text in between would be
cut anew, and not always in the same way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError
from torch import Tensor

from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.errors import EngineFailedError, RolloutError
from nemo_prorl.json_api import LONGEST_WAIT_SECONDS, JsonApi, RefusedError, UnansweredError, UnreadableError
from nemo_prorl.rollout.as_finished import as_finished
from nemo_prorl.rollout.decoding import Decoded, Job, check_room, jobs_of
from nemo_prorl.rollout.engine import Sampled
from nemo_prorl.rollout.foreign import GIVEN_UP, believed

log = logging.getLogger(__name__)


class OpenAIEngine:
    """POST {base_url}/completions for every completion; see `RolloutEngine`. It serves the weights it was started with.

    Of the folder only the tokenizer is used, which must be the served model's. Knobs:

    base_url            of the server, with its /v1
    served_model        its name there; None: the name of the model's folder
    api_key_variable    the environment variable that has the key, if one is needed
    requests_at_once    under way at a time, from this rank
    timeout_minutes     of one request
    attempts            of one request, before the server is given up
    first_wait_seconds  before the second attempt; doubled each time
    ignore_eos          leave the end token to the stop ids; false for late versions of 1.3, which drop those, too, when
                        it is true
    """

    takes_weights = False

    def __init__(
        self,
        model_path: str | Path,
        tokenizer: Tokenizer,
        device: Any = None,
        *,
        base_url: str,
        served_model: str | None = None,
        api_key_variable: str = "OPENAI_API_KEY",
        requests_at_once: Annotated[int, Field(ge=1)] = 128,
        timeout_minutes: Annotated[float, Field(gt=0)] = 60.0,
        attempts: Annotated[int, Field(ge=1)] = 5,
        first_wait_seconds: Annotated[float, Field(gt=0)] = 1.0,
        ignore_eos: bool = True,
    ) -> None:
        self._tokenizer, self._at_once, self._ignore_eos = tokenizer, requests_at_once, ignore_eos
        self._model = served_model or Path(model_path).resolve().name
        self._who, self._has_said = f"the server at {base_url}", False
        # Every attempt of a request has had its time, and the wait after it, before nothing has come for so long.
        self._silent_seconds = attempts * (60 * timeout_minutes + LONGEST_WAIT_SECONDS)
        self._api_settings: dict[str, Any] = {
            "base_url": base_url,
            "api_key_variable": api_key_variable,
            "timeout_seconds": 60 * timeout_minutes,
            "attempts": attempts,
            "first_wait_seconds": first_wait_seconds,
            "who": f"the rollout server, model {self._model!r},",
            "advice": f"rollout.base_url, rollout.served_model and the key in the environment variable "
            f"{api_key_variable}",
        }

    def load_weights(self, stream: Iterable[tuple[str, Tensor]]) -> None:
        """
        Raises:
            RolloutError: always; there is no way to do this.
        """
        raise RolloutError(
            f"{self._who} serves the weights that it was started with: others can't be sent to it. rollout=openai is "
            "for evaluation of a model that is served; to train, choose rollout=tensorrt_llm (docs/rollouts.md)"
        )

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams) -> Iterator[Sampled]:
        """See `RolloutEngine.generate`. Completions have logprobs where temperature is 1 and nothing is cut: at others
        servers differ in what they tell.

        Raises:
            EngineFailedError: the server doesn't answer within all attempts.
            RolloutError: it refuses a request, or answers what can't be used.
            ConfigError: the address, the model or the key is wrong.
        """
        check_room(prompts, sampling)
        return self._sampled(prompts, sampling)

    def release(self) -> None:
        """Nothing is held."""

    def _sampled(self, prompts: Sequence[Prompt], sampling: SamplingParams) -> Iterator[Sampled]:
        api = JsonApi(**self._api_settings)

        async def answer(job: Job) -> Decoded:
            return await self._answer(api, job, sampling)

        for decoded in as_finished(
            jobs_of(prompts, sampling),
            answer,
            at_once=self._at_once,
            silent_seconds=self._silent_seconds,
            who=self._who,
            longer_by="rollout.timeout_minutes",
            around=api,
        ):
            yield decoded.sampled(self._tokenizer)

    async def _answer(self, api: JsonApi, job: Job, sampling: SamplingParams) -> Decoded:
        where = f"{self._who}, prompt {job.prompt}, sample {job.sample}"
        wants_logprobs = sampling.temperature == 1 and sampling.top_p == 1 and sampling.top_k == 0
        try:
            completion = await api.post("completions", self._body(job, sampling, wants_logprobs), _completion)
        except UnansweredError as error:
            raise EngineFailedError(f"{where}: no answer: {error}. Look at its log") from error
        except RefusedError as error:
            raise RolloutError(
                f"{where}: the request was refused: {error}. If it is the length, start the server with "
                f"--max_seq_len and max_input_len of {len(job.token_ids) + job.room} or more"
            ) from error
        (choice,), prompt_ids = completion.choices, completion.prompt_token_ids
        if choice.token_ids is None:
            raise RolloutError(
                f"{where}: the answer has no token_ids. rollout=openai needs a server that gives them for "
                "detokenize=false, as trtllm-serve does; from text they can't be had again"
            )
        if prompt_ids is not None and prompt_ids != list(job.token_ids):
            raise RolloutError(
                f"{where}: the server has read another prompt ({len(prompt_ids)} tokens) than it was given "
                f"({len(job.token_ids)} tokens); it must take token ids as they are, without cutting them"
            )
        logprobs = self._logprobs(choice) if wants_logprobs else None
        return believed(
            *(job, choice.token_ids, choice.finish_reason or "", logprobs),
            stop_ids=self._tokenizer.stop_ids,
            who=self._who,
        )

    def _body(self, job: Job, sampling: SamplingParams, wants_logprobs: bool) -> dict[str, Any]:
        greedy = sampling.temperature == 0
        return {
            "model": self._model,
            "prompt": list(job.token_ids),
            "max_tokens": job.room,
            "n": 1,  # a seed is a request's, not a sample's
            "seed": job.seed >> 1,
            "temperature": 1.0 if greedy else sampling.temperature,
            "top_p": 1.0 if greedy else sampling.top_p,
            "top_k": 1 if greedy else sampling.top_k,
            # The end token is one of the stop ids, which can be kept in the answer.
            "ignore_eos": self._ignore_eos,
            "stop_token_ids": list(self._tokenizer.stop_ids),
            "include_stop_str_in_output": True,
            "detokenize": False,
            "add_special_tokens": False,
            **({"logprobs": 1} if wants_logprobs else {}),
        }

    def _logprobs(self, choice: _Choice) -> Callable[[Any], list[float]] | None:
        """What gives the tokens' logprobs, or None where the server tells none: not all versions do for ids."""
        told = choice.logprobs.token_logprobs if choice.logprobs is not None else None
        if told is None:
            if not self._has_said:
                self._has_said = True
                log.warning("%s tells no logprobs: nothing shows whether it serves the model of model.path", self._who)
            return None
        return lambda token_ids: told


class _Logprobs(BaseModel):
    token_logprobs: list[float] | None = None


class _Choice(BaseModel):
    """What is read of a choice; whatever else a server tells is left aside."""

    finish_reason: str | None
    token_ids: list[Annotated[int, Field(ge=0, lt=2**31)]] | None = None
    logprobs: _Logprobs | None = None


class _Completion(BaseModel):
    choices: Annotated[list[_Choice], Field(min_length=1, max_length=1)]
    prompt_token_ids: list[int] | None = None


def _completion(answer: Any) -> _Completion:
    try:
        completion = _Completion.model_validate(answer)
    except ValidationError as error:
        raise UnreadableError(f"an answer that is no completion ({error.errors()[0]['loc']})") from None
    reason = completion.choices[0].finish_reason
    if reason in GIVEN_UP:
        raise UnreadableError(f"the server gave the request up ({reason})")
    return completion
