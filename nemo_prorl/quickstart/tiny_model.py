"""A random Qwen2 model of about 0.5 million parameters with its tokenizer, as an ordinary Hugging Face folder.

The tokenizer is a byte-level BPE made through transformers' own `Qwen2Tokenizer`: for `model_type: qwen2`,
`AutoTokenizer` rebuilds that class whatever tokenizer.json says, so that any other kind would come back with other ids.
Its merges turn the words that most questions share into one token each; digits and all else stay single bytes, so a
prompt is short and the model has little to read before it can think.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import pre_tokenizers
from transformers import AddedToken, GenerationConfig, Qwen2Config, Qwen2ForCausalLM, Qwen2Tokenizer

from nemo_prorl.data.sources.reasoning_gym import ReasoningGymSource

END_OF_TEXT, TURN_START, TURN_END = SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TAGS = ("<think>", "</think>", "<answer>", "</answer>")  # one token each, and kept when an answer is decoded
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>{% endif %}"
)

# What the tiny model learns, as `data.sources.*.tasks` takes it: hard to guess, and quick to work out in writing.
LEARNING_TASKS: Mapping[str, Mapping[str, Any]] = {
    "lcm": {"min_numbers": 2, "max_numbers": 2, "min_value": 1, "max_value": 12},
    "products": {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1},
    "count_bits": {"min_n": 1, "max_n": 127},
}

SHARED_WORD_FRACTION = 0.05  # a word in more of the questions than this is part of their wording, not of their data
POSITIONS = 1024


def make_tiny_model(
    folder: str | Path,
    *,
    seed: int = 0,
    hidden_size: int = 96,
    layers: int = 4,  # even, so that two pipeline stages can share them
    heads: int = 4,
    kv_heads: int = 2,
    ffn_size: int = 288,
    questions: Sequence[str] | None = None,
) -> Path:
    """Write a model with random weights from `seed`, its tokenizer and generation config; returns the folder.

    `questions` are examples of what the model will be asked; None takes them from `LEARNING_TASKS`. The tokenizer
    depends on them alone, so that models of every seed speak the same tokens.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(learning_questions() if questions is None else questions)
    config = Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        intermediate_size=ffn_size,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        max_position_embeddings=POSITIONS,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
        tie_word_embeddings=True,
        initializer_range=0.05,  # at this width, 0.02 starts so flat that the first hundred steps teach nothing
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="float32",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2ForCausalLM(config)
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        eos_token_id=[tokenizer.eos_token_id], pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def learning_questions(per_task: int = 200) -> list[str]:
    """Examples of `LEARNING_TASKS`, the same in every process."""
    source = ReasoningGymSource("learning", tasks={task: dict(knobs) for task, knobs in LEARNING_TASKS.items()})
    return [source.question_of(task, index) for task in source.tasks for index in range(per_task)]


def make_tokenizer(questions: Sequence[str] = ()) -> Qwen2Tokenizer:
    """A byte-level BPE with Qwen's chat markup; words that many `questions` share are one token each."""
    merges = merges_for(shared_words(questions))
    vocabulary = {token: number for number, token in enumerate(SPECIAL_TOKENS)}
    # Sorted and in order of birth: an id must not depend on the order of a set, which differs from process to process.
    for token in [*sorted(pre_tokenizers.ByteLevel.alphabet()), *(left + right for left, right in merges)]:
        vocabulary.setdefault(token, len(vocabulary))
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary,
        merges=merges,  # type: ignore[arg-type]  # its annotation says list[str], it takes pairs
        eos_token=TURN_END,
        pad_token=END_OF_TEXT,
        additional_special_tokens=[TURN_START],
        padding_side="left",
        model_max_length=POSITIONS,
    )
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in TAGS])
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def shared_words(questions: Sequence[str]) -> list[str]:
    """Words of the chat markup and of the questions' wording, most frequent first, as the tokenizer cuts them."""
    cut = Qwen2Tokenizer().backend_tokenizer.pre_tokenizer.pre_tokenize_str
    counts = Counter(word for question in questions for word in sorted({word for word, _ in cut(question)}))
    common = [word for word, count in counts.items() if count > SHARED_WORD_FRACTION * len(questions) and len(word) > 1]
    in_order = sorted(common, key=lambda word: (-counts[word], word))
    return list(dict.fromkeys(["system", "user", "assistant", *in_order]))


def merges_for(words: Sequence[str]) -> list[tuple[str, str]]:
    """BPE merges that build each word, in turn, from its left end; later merges never undo an earlier word."""
    merges: list[tuple[str, str]] = []
    for word in words:
        pieces = list(word)
        for pair in merges:  # by rank, lowest first, as BPE applies them
            pieces = _merge(pieces, pair)
        while len(pieces) > 1:
            pair = (pieces[0], pieces[1])
            merges.append(pair)
            pieces = _merge(pieces, pair)
    return merges


def _merge(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for piece in pieces:
        if merged and (merged[-1], piece) == pair:
            merged[-1] += piece
        else:
            merged.append(piece)
    return merged
