"""Who may import whom: downwards only, and folders of one layer don't import each other."""

from pathlib import Path

import pytest

from tests.house.source import PACKAGE, ROOT, imports, imports_of, place, python_files

# The lowest first. Within layer 0 each line may use those before it.
LAYERS = (
    ("errors",),
    ("plugins", "pulse", "patience", "world", "reset_requests", "json_api"),
    ("control",),
    ("data",),
    ("config",),
    ("algorithm", "verifiers", "weights", "recipe", "preflight"),
    ("megatron", "rollout", "run_state", "telemetry"),
    ("actor", "cadence", "vigil"),
    ("saver", "update_guard", "engine_guard"),
    ("evaluation",),
    ("analysis", "quickstart"),
    ("trainer", "sft"),
    ("build",),
    ("cli", "__main__", "commands"),
)
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}

# Where a library may be imported; a path that ends in / is a folder. Tests may look behind every door.
DOORS = {
    "megatron": ("nemo_prorl/megatron/",),
    "transformer_engine": ("nemo_prorl/megatron/",),
    "torch.distributed": ("nemo_prorl/megatron/", "nemo_prorl/world.py"),
    "nemo_aligner": ("nemo_prorl/actor/interface.py",),
    "nemo": ("nemo_prorl/megatron/interop/nemo_context.py",),
    "transformers": (
        "nemo_prorl/commands/logit_check.py",
        "nemo_prorl/commands/quickstart.py",
        "nemo_prorl/data/tokenizer.py",
        "nemo_prorl/quickstart/",
        "nemo_prorl/rollout/transformers_engine.py",
    ),
    "tensorrt_llm": ("nemo_prorl/rollout/tensorrt_llm/library.py",),
    "tensorboard": ("nemo_prorl/telemetry/",),
    "wandb": ("nemo_prorl/telemetry/",),
    "hydra": ("nemo_prorl/config/",),
    "omegaconf": ("nemo_prorl/config/",),
    "langdetect": ("nemo_prorl/verifiers/instructions/detector.py",),
    "rensa": ("nemo_prorl/data/quality/similar.py",),
    "mpmath": ("nemo_prorl/verifiers/algebra/value.py",),
    "math_verify": ("nemo_prorl/verifiers/math_verify_grader.py",),
    "matplotlib": ("nemo_prorl/analysis/",),
    "datasets": ("nemo_prorl/data/prepare/published.py",),
    "huggingface_hub": ("nemo_prorl/data/prepare/published.py",),
    "httpx2": ("nemo_prorl/json_api.py",),
    "pydivsufsort": ("nemo_prorl/analysis/local_corpus.py",),
    "pyarrow": ("nemo_prorl/data/parquet.py",),
}


def room(module: str) -> str:
    """nemo_prorl.data.prompt -> data; nemo_prorl.trainer -> trainer; nemo_prorl itself -> nothing."""
    return module.split(".")[1] if "." in module else ""


def room_of(file: Path) -> str:
    return file.relative_to(ROOT / PACKAGE).parts[0].removesuffix(".py")


def test_every_room_has_its_layer():
    rooms = {room_of(file) for file in python_files(PACKAGE)} - {"__init__"}
    assert rooms <= LEVEL.keys(), f"give a layer in tests/house/test_layers.py to {sorted(rooms - LEVEL.keys())}"


def test_imports_go_downwards_only():
    upwards = []
    for file in python_files(PACKAGE):
        own = room_of(file)
        for module, line in imports(file):
            other = room(module) if module.split(".")[0] == PACKAGE else ""
            if other in LEVEL and other != own and LEVEL[other] >= LEVEL[own]:
                same = LEVEL[other] == LEVEL[own] and own in LAYERS[-1]  # cli and commands are one room
                if not same:
                    upwards.append(f"{place(file)}:{line} imports {module}")
    assert not upwards, "\n".join(["these imports don't go downwards:", *upwards])


@pytest.mark.parametrize("library", DOORS)
def test_a_foreign_library_lives_behind_its_door(library):
    through_the_wall = [
        f"{place(file)}:{line} imports {library}"
        for file in python_files(PACKAGE, "converters")
        if not place(file).startswith(DOORS[library])
        for line in imports_of(file, library)
    ]
    assert not through_the_wall, "\n".join([f"{library} belongs into {DOORS[library]}:", *through_the_wall])


def test_the_mathematics_sees_tensors_only():
    allowed = {"nemo_prorl.algorithm", "nemo_prorl.errors", "nemo_prorl.recipe"}  # recipe: what a reset rule looks at
    for file in python_files("nemo_prorl/algorithm"):
        ours = {module for module, _ in imports(file) if module.split(".")[0] == PACKAGE}
        strangers = [module for module in ours if ".".join(module.split(".")[:2]) not in allowed]
        assert not strangers, f"{place(file)} imports {strangers}"
