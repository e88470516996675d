"""`/v1/completions` as on record of trtllm-serve, around a contract double of the library, on loopback."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.json_server import Say, json_server

FIELDS = {"model", "prompt", "max_tokens", "n", "temperature", "top_p", "top_k", "min_p", "seed", "logprobs"}
FIELDS |= {"detokenize", "stop_token_ids", "include_stop_str_in_output", "ignore_eos", "min_tokens"}
FIELDS |= {"add_special_tokens", "skip_special_tokens", "truncate_prompt_tokens", "return_context_logits"}


@dataclass
class CompletionsServer:
    """What it was asked, and `mischief`: (request, how many came before) -> what is said instead, or None."""

    llm: Any
    mischief: Callable[[dict[str, Any], int], Say | None] = lambda request, before: None
    requests: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def respond(self, path: str, request: dict[str, Any], headers: Mapping[str, str | None]) -> Say:
        with self._lock:
            before = len(self.requests)
            self.requests.append(request)
        if (instead := self.mischief(request, before)) is not None:
            return instead
        if path != "/v1/completions":
            return Say.json({"message": "Not Found"}, status=404)
        if strange := request.keys() - FIELDS:
            return Say.json({"message": f"Extra inputs are not permitted: {sorted(strange)}"}, status=400)
        return Say.json(self.completion(request))

    def completion(self, request: dict[str, Any]) -> dict[str, Any]:
        from tensorrt_llm import SamplingParams, version

        ignores_eos = request.get("ignore_eos", False)
        ignores_stop_ids = ignores_eos and version.IGNORES_STOP_IDS
        params = SamplingParams(
            max_tokens=request["max_tokens"],
            temperature=request.get("temperature"),
            top_p=request.get("top_p"),
            top_k=request.get("top_k", 0),
            seed=request.get("seed"),
            logprobs=request.get("logprobs"),
            end_id=-1 if ignores_eos else None,
            stop_token_ids=None if ignores_stop_ids else request.get("stop_token_ids"),
            include_stop_str_in_output=request.get("include_stop_str_in_output", False),
        )
        output = self.llm.generate(request["prompt"], params, use_tqdm=False).outputs[0]
        told = [entry[token].logprob for entry, token in zip(output.logprobs, output.token_ids, strict=False)]
        choice = {
            "index": 0,
            "text": "",
            "token_ids": output.token_ids if request.get("detokenize") is False else None,
            "logprobs": {"token_logprobs": told, "tokens": [], "top_logprobs": []} if told else None,
            "finish_reason": output.finish_reason,
            "stop_reason": output.stop_reason,
        }
        return {"object": "text_completion", "choices": [choice], "prompt_token_ids": request["prompt"]}


@contextmanager
def completions_server(folder: str | Path) -> Iterator[CompletionsServer]:
    """It serves the model in `folder`, inside `doubled`."""
    from tensorrt_llm import LLM

    llm = LLM(str(folder), max_input_len=4096, sampler_type="TRTLLMSampler")
    server = CompletionsServer(llm)
    try:
        with json_server(server.respond) as server.url:
            yield server
    finally:
        llm.shutdown()
