"""The wheel, built and installed as a user gets it, has all that a command needs."""

import importlib.util
import os
import subprocess
import sys
from zipfile import ZipFile

import pytest

from nemo_prorl.quickstart.tiny_model import make_tiny_model
from tests.house.source import PACKAGE, ROOT

pytestmark = pytest.mark.end_to_end


def run(*arguments, cwd, **environment):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.skipif(importlib.util.find_spec("hatchling") is None, reason="hatchling, which builds it, isn't installed")
def test_a_command_of_the_installed_wheel_finds_its_settings_inside_it(tmp_path):
    offline = ("--no-deps", "--no-index", "--disable-pip-version-check", "-q")
    run("-m", "pip", "wheel", *offline, "--no-build-isolation", "-w", tmp_path / "wheels", ROOT, cwd=tmp_path)
    wheel = next((tmp_path / "wheels").glob("nemo_prorl-*.whl"))
    page = {f"nemo_prorl/analysis/page/{file.name}" for file in (ROOT / PACKAGE / "analysis" / "page").iterdir()}
    assert page and page <= set(ZipFile(wheel).namelist()), "reports are made of these files"
    site = tmp_path / "site"
    run("-m", "pip", "install", *offline, "--target", site, wheel, cwd=tmp_path)

    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    where = "from nemo_prorl.config.folder import conf_folder; print(conf_folder())"
    assert run("-c", where, cwd=elsewhere, PYTHONPATH=str(site)).strip() == str(site / "nemo_prorl" / "conf")
    model = make_tiny_model(tmp_path / "model", hidden_size=32, layers=2, ffn_size=64)
    command = ["train", "recipe=tiny", f"model.path={model}", "--dry-run"]
    assert "tiny_first" in run("-m", "nemo_prorl", *command, cwd=elsewhere, PYTHONPATH=str(site))
    assert not list(elsewhere.iterdir())
