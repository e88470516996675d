"""Everything that can go wrong and that we can explain.

    ProRLError                 exit code 1
    ├── ConfigError                      2   a setting is wrong; nothing was built
    │   └── SettingsError                2   the same, told from what was typed alone: every rank finds it
    ├── DataError                        3   a row, a file or a mixture can't be used
    │   └── ShapeError                   3   a record was born with parts that don't fit each other
    ├── WeightsError                     4   a model folder is missing, incomplete or of an unknown kind
    ├── CheckpointError                  5   a checkpoint can't be written or read
    ├── RolloutError                     6   no groups that teach within the cap, or an engine that misbehaves
    ├── VerifierError                    7   verifiers fail so often that rewards can't be trusted
    ├── TrainingError                    8   the update itself is wrong: not-a-number loss or gradient
    ├── RunFolderError                   9   a file of run.dir can't be written any more: a full disk, mostly
    │   └── RunInUseError               10   another process is using run.dir; nothing was touched
    └── Stopped                         75   no failure: it was asked to stop, and the same command goes on

75 is EX_TEMPFAIL of sysexits.h, "try again". Ctrl-C twice gives 130; a run that was killed has its signal's code.

Every message says where, what was found, what is allowed, and what to do. Text from a model is never an error.
"""

INTERRUPTED = 130  # what a shell reports for a process that Ctrl-C ended


class ProRLError(Exception):
    """The root. `exit_code` is what the process returns when nobody catches it."""

    exit_code = 1


class ConfigError(ProRLError):
    exit_code = 2


class SettingsError(ConfigError):
    """What was typed is wrong wherever it is read: no rank's host or environment has a part in it."""


class DataError(ProRLError):
    exit_code = 3


class ShapeError(DataError):
    pass


class WeightsError(ProRLError):
    exit_code = 4


class CheckpointError(ProRLError):
    exit_code = 5


class RolloutError(ProRLError):
    exit_code = 6


class VerifierError(ProRLError):
    exit_code = 7


class TrainingError(ProRLError):
    exit_code = 8


class RunFolderError(ProRLError):
    exit_code = 9


class RunInUseError(RunFolderError):
    exit_code = 10


class Stopped(ProRLError):
    """The run was asked to stop. Inside a phase it says that the phase is abandoned, as if it had not begun."""

    exit_code = 75
