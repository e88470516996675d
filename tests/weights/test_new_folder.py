import pytest

from nemo_prorl.errors import WeightsError
from nemo_prorl.weights.new_folder import new_folder, refuse_to_replace


def write(path, text="new", overwrite=False, needs_bytes=0):
    with new_folder(path, needs_bytes=needs_bytes, overwrite=overwrite) as partial:
        assert not (path / "config.json").exists() or (path / "config.json").read_text() != text
        (partial / "config.json").write_text(text)


def test_the_folder_is_there_when_all_is_written(tmp_path):
    write(tmp_path / "deep" / "model")
    assert (tmp_path / "deep" / "model" / "config.json").read_text() == "new"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["model"]


def test_an_empty_folder_may_be_there_already(tmp_path):
    (tmp_path / "model").mkdir()
    write(tmp_path / "model")
    assert (tmp_path / "model" / "config.json").exists()


def test_what_is_there_is_replaced_only_when_asked(tmp_path):
    write(tmp_path / "model", "old")
    with pytest.raises(WeightsError, match="model is not empty; choose another folder"):
        write(tmp_path / "model")
    assert (tmp_path / "model" / "config.json").read_text() == "old"
    write(tmp_path / "model", overwrite=True)
    assert (tmp_path / "model" / "config.json").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_that_is_no_model_is_never_overwritten(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(WeightsError, match=r"holds thesis\.tex but no config\.json"):
        write(tmp_path, overwrite=True)


def test_what_will_be_refused_can_be_asked_before(tmp_path):
    refuse_to_replace(tmp_path / "model", overwrite=True)
    assert not list(tmp_path.iterdir())
    write(tmp_path / "model")
    refuse_to_replace(tmp_path / "model", overwrite=True)
    with pytest.raises(WeightsError, match="model is not empty"):
        refuse_to_replace(tmp_path / "model", overwrite=False)


def test_a_file_in_its_place_is_refused(tmp_path):
    (tmp_path / "model").touch()
    with pytest.raises(WeightsError, match="is a file; choose a folder"):
        write(tmp_path / "model", overwrite=True)


def test_a_failure_leaves_what_was_there(tmp_path):
    write(tmp_path / "model", "old")
    with pytest.raises(RuntimeError), new_folder(tmp_path / "model", needs_bytes=0, overwrite=True):
        raise RuntimeError
    assert (tmp_path / "model" / "config.json").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_the_rest_of_a_killed_run_is_removed(tmp_path):
    (tmp_path / "model.partial").mkdir()
    (tmp_path / "model.partial" / "half.safetensors").touch()
    write(tmp_path / "model")
    assert [path.name for path in (tmp_path / "model").iterdir()] == ["config.json"]


def test_too_small_a_disk_is_told_before_anything_is_written(tmp_path):
    with pytest.raises(WeightsError, match=r"model needs 1000000016777216 bytes and its disk has \d+ free"):
        write(tmp_path / "model", needs_bytes=10**15)
    assert not list(tmp_path.iterdir())
