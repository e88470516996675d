"""No dead settings: every key of the schema has a reader, and every key says what it is."""

import ast
from collections.abc import Iterator

from nemo_prorl.config.load import SCHEMAS
from nemo_prorl.config.reference import Setting, settings
from tests.house.source import PACKAGE, place, python_files, tree

# A plug-in's name and what a user calls things are read by those who look the plug-in up.
READ_BY_LOOKING_UP = {"name"}
# The watchdog looks its limits up by the names of phases.
READ_BY_LOOKING_UP |= {f"{phase}_minutes" for phase in ("starting", "rollout", "validation", "checkpoint", "export")}
# Reading a key to print it makes no difference to anything.
PRINTS_ONLY = ("nemo_prorl/commands/plan", "nemo_prorl/commands/settings.py")
# The name is the meaning: a textbook's, or one that docs/settings.md explains in general.
NEEDS_NO_WORDS = {
    "advantage", "aggregation", "at_least", "before_steps", "beta1", "beta2", "device", "dtype", "enabled", "eps",
    "factor", "gain", "limit", "log_level", "max_weight", "name", "objective", "pipeline_parallel_size", "precision",
    "prompts_per_update", "rollout", "sources", "steps", "temperature", "tensor_parallel_size", "tensorboard", "times",
    "top_p", "weight", "weight_decay", "window_steps",
}  # fmt: skip


def readings() -> Iterator[str]:
    """Names that the package, beyond its schema, reads off an object, or that an argument, a field or a table has."""
    for file in python_files(PACKAGE):
        where = place(file)
        if where.startswith((f"{PACKAGE}/config/", *PRINTS_ONLY)):
            continue
        for node in ast.walk(tree(file)):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                yield node.attr
            elif isinstance(node, ast.arg):
                yield node.arg
            elif isinstance(node, ast.Dict):  # a table by the keys' names, as of the alarms
                yield from (key.value for key in node.keys if isinstance(key, ast.Constant))
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                yield node.target.id


READ = frozenset(readings())
KEYS = sorted({setting.path: setting for schema in SCHEMAS.values() for setting in settings(schema)}.items())


def last(setting: Setting) -> str:
    return setting.path.rpartition(".")[2]


def test_every_key_is_read_somewhere():
    """By name: a key that shares its name with something else is taken to be read."""
    dead = [path for path, setting in KEYS if last(setting) not in READ | READ_BY_LOOKING_UP]
    assert not dead, f"nothing reads these settings, so whoever sets them is misled: {dead}"


def test_every_key_says_what_it_is():
    silent = [path for path, setting in KEYS if setting.kind != "group, or null" and not setting.meaning]
    silent = [path for path in silent if path.rpartition(".")[2] not in NEEDS_NO_WORDS]
    assert not silent, f"give these a description=... on their field: {silent}"
