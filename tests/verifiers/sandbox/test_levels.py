"""What is demanded, what holds, and what happens when the two don't meet."""

import logging
import time

import pytest

from nemo_prorl.errors import ConfigError, VerifierError
from nemo_prorl.verifiers.sandbox import (
    Program,
    Sandbox,
    SandboxReport,
    SandboxSettings,
    advice,
    confinement,
    namespaces,
    privileges,
    probe,
)
from nemo_prorl.verifiers.sandbox.report import Layer

NOTHING = ("namespaces", "landlock", "seccomp")


def report(*names):
    return SandboxReport(tuple(Layer(name, name in names, "why", "what to do") for name in NOTHING))


@pytest.mark.parametrize(
    ("layers", "level", "satisfied"),
    [
        (("namespaces", "landlock", "seccomp"), "namespaces", {"auto", "namespaces", "landlock", "seccomp"}),
        (("namespaces",), "namespaces", {"auto", "namespaces", "landlock", "seccomp"}),
        (("landlock", "seccomp"), "landlock", {"auto", "landlock", "seccomp"}),
        (("seccomp",), "seccomp", {"seccomp"}),
        (("landlock",), "none", set()),
        ((), "none", set()),
    ],
)
def test_layers_make_a_level(layers, level, satisfied):
    found = report(*layers)
    assert found.level == level
    assert {name for name in ("auto", *NOTHING) if found.satisfies(name)} == satisfied


def test_a_report_survives_json_and_is_a_table():
    found = report("seccomp")
    assert SandboxReport.from_json(found.as_json()) == found
    assert found.describe().splitlines()[1:] == [
        "namespaces    MISSING  why",
        "landlock      MISSING  why",
        "seccomp       holds    why",
    ]
    assert found.advice() == "namespaces: what to do\nlandlock: what to do"


def test_the_sandbox_tells_what_the_probe_finds(host, sandbox):
    assert [layer.name for layer in sandbox.report.layers if layer.holds] == [
        layer.name for layer in host.layers if layer.holds
    ]
    assert host.holds("rlimits") and host.holds("unprivileged")


@pytest.mark.parametrize(
    ("level", "without", "found"),
    [
        ("auto", ("namespaces", "landlock"), "seccomp"),
        ("auto", ("namespaces", "seccomp"), "none"),
        ("auto", NOTHING, "none"),
        ("landlock", ("namespaces", "landlock"), "seccomp"),
        ("seccomp", NOTHING, "none"),
        ("namespaces", ("namespaces",), "landlock"),
    ],
)
def test_less_than_is_demanded_is_refused(needs, level, without, found):
    needs(*set(NOTHING) - set(without))
    with pytest.raises(VerifierError) as refused:
        Sandbox(SandboxSettings(level=level, without=without))
    for said in (f"level {found!r}", f"level={level!r}", "allow_unconfined=true", "remove", *without):
        assert said in str(refused.value)


def test_whoever_says_so_in_as_many_words_goes_without(host, caplog):
    settings = SandboxSettings(allow_unconfined=True, without=NOTHING)
    with caplog.at_level(logging.WARNING), Sandbox(settings) as sandbox:
        assert sandbox.report.level == "none"
        assert next(sandbox.run(Program("print(1)"), [""], budget_seconds=20)).output == b"1\n"
        (ran,) = sandbox.run(Program("import os, time\nif os.fork() == 0: time.sleep(60)"), [""], budget_seconds=20)
        assert ran.status == "ok"
    assert "level 'none' only" in caplog.text and "MISSING" in caplog.text


def test_a_layer_whose_trial_hangs_does_not_hold(needs, monkeypatch):
    """Not even where the first process of a world hangs, which no signal of its own ends."""
    needs("namespaces")
    monkeypatch.setattr(confinement, "_TRY_SECONDS", 1)

    def attempt():
        namespaces.begin_world(privileges.choose(), processes=True)
        return str(confinement.in_child(lambda: time.sleep(60)))

    begun = time.monotonic()
    assert confinement.in_child(attempt) == (False, "not within 1 s")
    assert time.monotonic() - begun < 30


def test_probing_goes_without_what_it_is_told(needs):
    needs("seccomp")
    assert probe(SandboxSettings(without=("namespaces", "landlock"))).level == "seccomp"


@pytest.mark.parametrize(
    "wrong",
    [
        {"level": "high"},
        {"without": ("rlimits",)},
        {"memory_bytes": 1024},
        {"output_bytes": 0},
        {"tmp_bytes": 1},
        {"max_threads": 0},
        {"max_open_files": 3},
    ],
)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong)).split("_")[0]):
        SandboxSettings(**wrong)


@pytest.mark.parametrize(
    ("layer", "error"),
    [("namespaces", "unshare: Operation not permitted"), ("landlock", "not permitted"), ("seccomp", "no table")],
)
def test_there_is_advice_for_each_layer(layer, error):
    assert len(advice.of(layer, error)) > 40
