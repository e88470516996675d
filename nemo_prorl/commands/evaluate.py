"""`prorl evaluate MODEL_OR_CHECKPOINT`: a model's answers to benchmarks, stored, judged and scored."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from nemo_prorl.commands.attempt import attempt
from nemo_prorl.config.choice import as_knobs
from nemo_prorl.config.evaluate import BenchmarkConfig, EvaluateConfig
from nemo_prorl.errors import SettingsError


def run(arguments: list[str], *, dry_run: bool) -> int:
    """Evaluate, or with `dry_run` print the plan. `arguments`: the model's path, and Hydra overrides. Returns the exit
    code."""
    arguments = with_model(arguments)
    if dry_run:
        from nemo_prorl.config.load import load_config

        print(evaluation_plan(load_config("evaluate", arguments)))
        return 0
    return attempt("evaluate", arguments, opens="evaluation", does=_evaluate)


def with_model(arguments: list[str]) -> list[str]:
    """`arguments` as overrides alone: what is none of them, or a folder whatever its name, is the model's path.

    >>> with_model(["models/one", "benchmarks=math"])
    ['model.path="models/one"', 'benchmarks=math']
    """
    paths = [one for one in arguments if os.path.isdir(one) or ("=" not in one and not one.startswith("~"))]
    if len(paths) > 1:
        raise SettingsError(f"prorl evaluate takes one model at a time; found {', '.join(paths)}")
    escaped = [path.replace("\\", "\\\\").replace('"', '\\"') for path in paths]
    return [*(f'model.path="{path}"' for path in escaped), *(one for one in arguments if one not in paths)]


def _evaluate(evaluator: Any) -> None:
    evaluator.run()
    if evaluator.is_main:
        print(evaluator.tables, end="")


def evaluation_plan(config: EvaluateConfig) -> str:
    """What would be asked, said before it is done. No model is loaded, and no problems."""
    from nemo_prorl.commands.choices import check_choices
    from nemo_prorl.evaluation.published import check_published

    check_choices(config)
    check_published(config.scores.beside, "scores.beside")
    sampling = config.sampling
    lines = [
        f"model     {config.model.path}",
        f"folder    {config.run.dir}",
        f"engine    {config.rollout.name}",
        f"sampling  temperature {sampling.temperature:g}, top-p {sampling.top_p:g}, up to "
        f"{sampling.max_response_tokens:,} tokens, seed {config.run.seed}",
        *(_set_line(name, one, config) for name, one in sorted(config.benchmarks.items())),
    ]
    return "\n".join(lines)


def _set_line(name: str, one: BenchmarkConfig, config: EvaluateConfig) -> str:
    knobs: Mapping[str, Any] = as_knobs(one)
    many = "all problems" if one.problems_per_task is None else f"{one.problems_per_task:,} problems of each task"
    samples = one.samples_per_prompt or config.sampling.samples_per_prompt
    return f"set       {name}: {many} of {knobs.get('set', one.name)}, {samples} answers to each"
