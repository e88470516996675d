"""One question to an exported model with nothing but transformers, as whoever downloads it would ask."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from transformers import AutoModelForCausalLM, AutoTokenizer

from nemo_prorl.data.sources.reasoning_gym import ReasoningGymSource
from nemo_prorl.quickstart.tiny_model import LEARNING_TASKS

HELD_OUT_SEED = 999  # as conf/data/quickstart.yaml says: such a question was never trained on


class Exchange(NamedTuple):
    question: str
    answer: str  # the whole response of the model
    right_answer: str


def ask_with_transformers(export: Path, *, task: str = "lcm", number: int = 0, max_new_tokens: int = 64) -> Exchange:
    """Ask the model in the folder `export` held-out question `number` of a task of the quickstart, greedily."""
    source = ReasoningGymSource("held_out", tasks={task: dict(LEARNING_TASKS[task])}, seed=HELD_OUT_SEED)
    row = source.row(number)
    tokenizer: Any = AutoTokenizer.from_pretrained(export)
    model: Any = AutoModelForCausalLM.from_pretrained(export, dtype="float32")
    asked = tokenizer.apply_chat_template(
        list(row.messages), add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    answered = model.generate(**asked, do_sample=False, max_new_tokens=max_new_tokens)
    response = tokenizer.decode(answered[0, asked["input_ids"].shape[1] :], skip_special_tokens=True)
    return Exchange(row.messages[-1]["content"], response, str(row.reference["entry"]["answer"]))
