"""The tiny model and its tokenizer are ordinary: every way of loading them agrees."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from nemo_prorl.data.sources.demonstrations import ReasoningGymDemonstrations
from nemo_prorl.data.sources.reasoning_gym import ReasoningGymSource
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.quickstart.tiny_model import (
    LEARNING_TASKS,
    learning_questions,
    make_tiny_model,
    make_tokenizer,
    merges_for,
    shared_words,
)

TASKS = {task: dict(knobs) for task, knobs in LEARNING_TASKS.items()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("tiny"))


def texts(count):
    """Rendered prompts with their demonstrations."""
    demonstrations = ReasoningGymDemonstrations(tasks=TASKS, seed=3, hasty_fraction=0.3)
    for index in range(count):
        row = demonstrations.row(index)
        question = row.messages[0]["content"]
        yield f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n<think>{row.response}<|im_end|>"


def test_every_loader_gives_the_same_ids_and_every_text_comes_back(folder):
    """AutoTokenizer rebuilds a qwen2 tokenizer from its vocabulary, whatever tokenizer.json says."""
    rebuilt, published = AutoTokenizer.from_pretrained(folder), PreTrainedTokenizerFast.from_pretrained(folder)
    ours = Tokenizer.load(folder)
    others = ["naïve  text\n\twith 12,345 and 数学 🙂", "it's \\boxed{\\frac{1}{2}}", "Find FindLeast  the\n\n the"]
    for text in [*texts(500), *others]:
        ids = ours.encode(text)
        assert ids == rebuilt(text)["input_ids"] == published(text)["input_ids"]
        assert ours.decode(ids, skip_special=False) == text


def test_ids_do_not_depend_on_the_process(folder, tmp_path):
    """A set's order differs from process to process; PYTHONHASHSEED makes sure that it does here."""
    program = (
        "import sys; from nemo_prorl.quickstart.tiny_model import make_tokenizer, learning_questions; "
        "make_tokenizer(learning_questions()).save_pretrained(sys.argv[1])"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], check=True, env={**os.environ, "PYTHONHASHSEED": "1"}
    )
    assert (tmp_path / "tokenizer.json").read_bytes() == (folder / "tokenizer.json").read_bytes()


def test_shared_wording_is_one_token_a_word_and_a_prompt_stays_short(folder):
    tokenizer = Tokenizer.load(folder)
    prompt = [{"role": "user", "content": "Find the Least Common Multiple (LCM) of these numbers: 12, 8"}]
    pieces = [tokenizer.decode([i], skip_special=False) for i in tokenizer.render(prompt)]
    assert pieces[:7] == ["<|im_start|>", "user", "\n", "Find", " the", " Least", " Common"]
    tail = [" ", "1", "2", ",", " ", "8", "<|im_end|>", "\n", "<|im_start|>", "assistant", "\n", "<think>"]
    assert pieces[-12:] == tail
    assert max(len(tokenizer.render([{"role": "user", "content": q}])) for q in learning_questions(50)) <= 32


def test_every_shared_word_is_one_token():
    questions = learning_questions(50)
    tokenizer = make_tokenizer(questions)
    for word in shared_words(questions):
        assert tokenizer.convert_ids_to_tokens(tokenizer(word.replace("Ġ", " "))["input_ids"]) == [word]


def test_a_later_word_never_undoes_an_earlier_one():
    """ "abc" first: ab, abc. "bcd" then starts as b c d and merges bc, bcd; in "abc", ab still comes first."""
    assert merges_for(["abc", "bcd", "abcd"]) == [("a", "b"), ("ab", "c"), ("b", "c"), ("bc", "d"), ("abc", "d")]


def test_a_tag_is_one_token_and_survives_decoding(folder):
    tokenizer = Tokenizer.load(folder)
    ids = tokenizer.encode("<think></think><answer></answer>")
    assert len(ids) == 4
    assert tokenizer.decode(ids) == "<think></think><answer></answer>"


def test_plain_transformers_loads_and_generates(folder):
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), Tokenizer.load(folder)
    assert model.dtype == torch.float32
    assert 400_000 < sum(parameter.numel() for parameter in model.parameters()) < 550_000
    prompt = torch.tensor([tokenizer.render([{"role": "user", "content": "1?"}])])
    answer = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=4, do_sample=False)
    assert answer.shape[1] > prompt.shape[1]


def test_weights_are_tied_float32_and_of_the_seed(folder, tmp_path):
    weights = load_file(folder / "model.safetensors")
    assert "lm_head.weight" not in weights
    assert {tensor.dtype for tensor in weights.values()} == {torch.float32}
    state = torch.random.get_rng_state()
    again, other = (load_file(make_tiny_model(tmp_path / str(s), seed=s) / "model.safetensors") for s in (0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(tensor, again[name]) for name, tensor in weights.items())
    assert not torch.equal(weights["model.embed_tokens.weight"], other["model.embed_tokens.weight"])


def test_the_folder_names_the_end_token(folder):
    end = Tokenizer.load(folder).end_id
    assert json.loads((folder / "generation_config.json").read_text())["eos_token_id"] == [end]
    assert Tokenizer.load(folder).decode([end], skip_special=False) == "<|im_end|>"


def test_sizes_are_knobs(tmp_path):
    made = make_tiny_model(
        tmp_path, hidden_size=32, layers=1, heads=2, kv_heads=1, ffn_size=48, questions=["Say hello"]
    )
    config = json.loads((made / "config.json").read_text())
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "intermediate_size")
    assert [config[name] for name in names] == [32, 1, 2, 1, 48]


@pytest.mark.parametrize(
    ("task", "problems", "guess"), [("lcm", 144, 0.2), ("products", 100, 0.25), ("count_bits", 127, 0.32)]
)
def test_a_learning_task_has_enough_problems_and_no_good_guess(task, problems, guess):
    """Enough to hold out 24 and train on the rest; `guess` bounds how often its most frequent answer is right.

    Of 7 bits, 3 or 4 are set in 70 of 127 numbers: 35 / 127 = 0.28 each. A product with a zero is 19 of 100. The
    problems of lcm prefer numbers with a common factor, and 12 is the answer to about one in six.
    """
    source = ReasoningGymSource(tasks={task: TASKS[task]})
    entries = [source.row_of(task, index).reference["entry"] for index in range(3000)]
    answers = [entry["answer"] for entry in entries]
    assert len({entry["question"] for entry in entries}) == problems
    assert max(answers.count(answer) for answer in set(answers)) / len(answers) < guess
