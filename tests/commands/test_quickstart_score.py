"""The score of a folder beside a training's: the same problems, the same samples, so the same number."""

from nemo_prorl.commands.quickstart import jobs
from nemo_prorl.commands.quickstart_score import score
from nemo_prorl.config.load import load_config
from nemo_prorl.quickstart.tiny_model import make_tiny_model


def test_a_folder_is_scored_on_every_task_and_twice_the_same(tmp_path):
    folder = make_tiny_model(tmp_path / "m", hidden_size=32, layers=1, heads=2, kv_heads=1, ffn_size=32)
    overrides = [o for o in jobs(tmp_path, 0, fast=True)[2].overrides if not o.startswith("model.path=")]
    config = load_config("train", [*overrides, f"model.path={folder}"])
    first, again = score(config), score(config)
    assert list(first.tasks) == ["count_bits", "lcm", "products"]
    assert sorted(first.overall.pass_at_k) == [1, 2]
    assert first == again
