"""Where the YAML files lie."""

import os
import shutil
import subprocess
import sys
import tomllib

from nemo_prorl.config.folder import conf_folder, options_in
from tests.house.source import ROOT

SAY_WHERE = "from nemo_prorl.config.folder import conf_folder; print(conf_folder())"


def test_a_checkout_has_them_beside_the_package():
    assert conf_folder() == ROOT / "conf"


def test_a_wheel_has_them_inside(tmp_path):
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"conf": "nemo_prorl/conf"}
    shutil.copytree(ROOT / "nemo_prorl", tmp_path / "nemo_prorl", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "conf", tmp_path / "nemo_prorl" / "conf")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", SAY_WHERE], cwd=tmp_path, capture_output=True, env=environment)
    assert done.stdout.decode().strip() == str(tmp_path / "nemo_prorl" / "conf"), done.stderr.decode()


def test_options_are_the_files_of_each_group_in_every_folder(tmp_path):
    for path in ("a/loss/x.yaml", "b/loss/y.yaml", "b/loss/deep/z.yaml", "b/top.yaml"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert options_in([tmp_path / "a", tmp_path / "b"]) == {"loss": ["x", "y"], "loss/deep": ["z"]}
