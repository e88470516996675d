"""`prorl evaluate`: what is typed before anything is loaded."""

import pytest

from nemo_prorl.commands.evaluate import with_model
from nemo_prorl.errors import SettingsError


def test_a_folder_is_the_model_though_its_name_looks_like_a_setting(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=1e-5" / "export").mkdir(parents=True)
    assert with_model(["lr=1e-5/export", "benchmarks=math"]) == ['model.path="lr=1e-5/export"', "benchmarks=math"]


def test_a_setting_may_be_longer_than_a_name_of_a_file():
    long = "benchmarks.mine.files=[" + ",".join(f"part-{number}.jsonl" for number in range(30)) + "]"
    assert with_model(["model", long]) == ['model.path="model"', long]


def test_two_models_are_refused():
    with pytest.raises(SettingsError, match="one model at a time; found one, two"):
        with_model(["one", "two", "benchmarks=math"])
