"""A folder is asked as any user of transformers would ask it."""

from nemo_prorl.quickstart.one_answer import ask_with_transformers
from nemo_prorl.quickstart.tiny_model import make_tiny_model


def test_a_held_out_question_gets_an_answer_beside_the_right_one(tmp_path):
    folder = make_tiny_model(tmp_path, hidden_size=32, layers=1, heads=2, kv_heads=1, ffn_size=32)
    exchange = ask_with_transformers(folder, task="count_bits", number=3, max_new_tokens=4)
    assert "binary" in exchange.question
    assert exchange.right_answer.isdigit()
    assert exchange.answer
    assert exchange == ask_with_transformers(folder, task="count_bits", number=3, max_new_tokens=4)
