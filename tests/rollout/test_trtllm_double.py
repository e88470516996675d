"""The contract double keeps to what is on record of TensorRT-LLM: names, signatures, defaults, in each version."""

import dataclasses
import inspect
import json
import re
from enum import Enum
from pathlib import Path

import pytest
from pydantic_core import PydanticUndefined

from nemo_prorl.rollout.tensorrt_llm import weights as refit
from tests.rollout.trtllm_double import VERSIONS, doubled
from tests.rollout.trtllm_double.asked import loop_of

CONTRACT = json.loads((Path(__file__).parents[1] / "cases/trtllm/contract.json").read_text())
MISSING = object()
# By version: entries that begin or end within the recorded range.
NOT_YET = {"1.2.1": {"sleep_config", "logprobs_mode", "logprobs_simple_format"}}
NOT_YET["1.3.0rc7"] = {"sleep_config", "logprobs_simple_format"}
NOT_YET["1.3.0rc21"] = {"enable_sleep"}  # gone by then


def entries(*objects: str) -> dict[str, dict]:
    return {entry["name"]: entry for entry in CONTRACT["entries"] if entry["object"] in objects}


def told(default):
    """A default as the record writes it down."""
    if default in (inspect.Parameter.empty, PydanticUndefined):
        return "<required>"
    if isinstance(default, Enum):
        return f"LoadFormat.AUTO({default.value})" if default.name == "AUTO" else default.value
    return default


def agrees(recorded, found) -> bool:
    if isinstance(recorded, str) and recorded.startswith("LogprobMode."):
        recorded = recorded.removeprefix("LogprobMode.").lower()
    return recorded == "<factory>" or found == recorded


def of_model(model) -> dict:
    return {name: told(None if field.default_factory else field.default) for name, field in model.model_fields.items()}


def of_function(function) -> dict:
    parameters = [p for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]
    return {p.name: told(p.default) for p in parameters if p.name != "self"}


def of_dataclass(kind) -> dict:
    def default(field):
        if field.default_factory is not dataclasses.MISSING:
            return field.default_factory()
        return "<required>" if field.default is dataclasses.MISSING else told(field.default)

    return {field.name: default(field) for field in dataclasses.fields(kind)}


def compare(recorded: dict[str, dict], found: dict, absent: set[str], *, whole: bool = True) -> None:
    """`whole`: what isn't on record isn't in the double either."""
    kinds = ("ctor_param", "ctor_kwarg", "method_param", "dataclass_field")
    wanted = {name: entry for name, entry in recorded.items() if entry["kind"] in kinds and name not in absent}
    assert wanted.keys() <= found.keys(), f"the double lacks {wanted.keys() - found.keys()}"
    if whole:
        assert found.keys() <= wanted.keys(), f"not on record: {found.keys() - wanted.keys()}"
    for name, entry in wanted.items():
        assert agrees(entry["default"], found[name]), f"{name}: {found[name]!r} instead of {entry['default']!r}"


@pytest.mark.parametrize("version", VERSIONS)
def test_names_and_defaults_are_those_on_record(version):
    absent = NOT_YET[version]
    with doubled(version) as library:
        from tensorrt_llm.executor.result import CompletionOutput, Logprob
        from tensorrt_llm.llmapi import llm_args

        own, rest = "tensorrt_llm.LLM.__init__", "tensorrt_llm.llmapi.TorchLlmArgs (LLM **kwargs)"
        compare(entries(own), of_function(library.LLM.__init__), absent)
        compare(entries(own, rest), of_model(llm_args.TorchLlmArgs), absent)
        compare(entries("tensorrt_llm.llmapi.KvCacheConfig"), of_model(llm_args.KvCacheConfig), absent)
        compare(entries("tensorrt_llm.llmapi.CudaGraphConfig"), of_model(llm_args.CudaGraphConfig), absent)
        compare(entries("tensorrt_llm.llmapi.llm_args.SchedulerConfig"), of_model(llm_args.SchedulerConfig), absent)
        for method in ("generate", "generate_async"):
            compare(entries(f"tensorrt_llm.LLM.{method}"), of_function(getattr(library.LLM, method)), absent)
        compare(entries("tensorrt_llm.SamplingParams"), of_dataclass(library.SamplingParams), absent)
        compare(entries("tensorrt_llm.llmapi.CompletionOutput"), of_dataclass(CompletionOutput), absent)
        compare(entries("tensorrt_llm.executor.result.Logprob"), of_dataclass(Logprob), absent)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_reached_in_process_has_the_names_on_record(version, folder):
    with doubled(version) as library:
        from tensorrt_llm._torch import virtual_memory
        from tensorrt_llm.executor.result import RequestOutput
        from tensorrt_llm.llmapi import llm_args

        llm = library.LLM(str(folder))
        executor = llm._executor
        for name in ("control_action", "reset_prefix_cache"):
            assert name in entries("PyExecutor") and hasattr(executor.engine, name)
        loader = executor.engine.model_engine.model_loader
        compare(entries("ModelLoader.reload"), of_function(loader.reload), set())
        is_late = version == "1.3.0rc21"
        for name in entries("ModelLoader"):
            assert hasattr(loader, name) == is_late
        for name in entries("BaseWorker"):
            assert hasattr(executor, name) == is_late
        types = llm_args if is_late else virtual_memory
        tags = entries("tensorrt_llm._torch.virtual_memory.ExecutorMemoryType")["values"]["default"]
        later = ["model_weights", "draft_model_weights"] if is_late else []
        assert [str(kind.value) for kind in types.ExecutorMemoryType] == tags + later
        for name in entries("tensorrt_llm._torch.virtual_memory"):
            assert hasattr(virtual_memory, name)
        for name, entry in entries("tensorrt_llm.llmapi.RequestOutput").items():
            if entry["kind"] == "method":
                assert hasattr(RequestOutput, name)
        with pytest.raises(RuntimeError):
            RequestOutput()
        llm.shutdown()


def test_every_environment_variable_on_record_is_dealt_with():
    from nemo_prorl.rollout.tensorrt_llm import environment

    seen = {"TLLM_DISABLE_MPI": "1", "RAY_LOCAL_WORLD_SIZE": "8", "PMI_RANK": "0", "PMIX_RANK": "0", "MPI_X": "1"}
    seen |= {"OMPI_COMM_WORLD_SIZE": "8", "SLURM_PROCID": "3"}
    assert set(environment.hidden(seen)) == set(seen)
    of_other_modes = {"NCCL_CUMEM_ENABLE", "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"}
    ours = {*environment.lasting({}), *seen, "PMI*/PMIX*/MPI*/OMPI*/SLURM*"}
    assert set(entries("env")) - of_other_modes - {"TLLM_ALLOW_N_GREEDY_DECODING"} <= ours  # we never ask for n > 1


def recorded_steps(*, is_late: bool) -> list[str]:
    """Names of what a refit calls, in the record's order; some steps only later versions have."""
    steps = [step for step in CONTRACT["sequences"]["inproc_update"] if is_late or "if present" not in step]
    called = [name for step in steps for name in re.findall(r"(\w+)\(", step)]
    return [name for name in called if name not in ("modules", "dict")]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_steps_of_a_refit_are_those_on_record(version, start, weights, monkeypatch):
    """What the adapter calls, each name where it comes first."""
    calls = []

    def note(owner, name, called_as=None):
        real = getattr(owner, name)

        def noted(*arguments, **named):
            calls.append(called_as or name)
            return real(*arguments, **named)

        monkeypatch.setattr(owner, name, noted)

    with doubled(version):
        engine = start(load=False, releases="nothing")
        loop = loop_of(engine)
        model, loader = loop.model_engine.model, loop.model_engine.model_loader
        for owner in (loop, loader, *model.modules()):
            for name in recorded_steps(is_late=True):
                if hasattr(owner, name):
                    note(owner, name)
        note(refit, "settle", "synchronize")
        engine.load_weights(weights.items())
        assert list(dict.fromkeys(calls)) == recorded_steps(is_late=version == VERSIONS[-1])
