"""Everything that can go wrong and that we can explain, and whether to start the same command again.

    ProRLError                 exit code 1   again
    ├── ConfigError                      2   no      a setting is wrong; nothing was built
    │   └── SettingsError                2   no      the same, told from what was typed alone: every rank finds it
    ├── DataError                        3   no      a row, a file or a mixture can't be used
    │   └── ShapeError                   3   no      a record was born with parts that don't fit each other
    ├── WeightsError                     4   no      a model folder is missing, incomplete or of an unknown kind
    ├── CheckpointError                  5   no      a checkpoint can't be written or read: a full disk, mostly
    ├── RolloutError                     6   no      no groups that teach within the cap, or an engine that misbehaves
    │   └── EngineFailedError           11   again   the rollout engine failed, and again after it was made anew; saved
    ├── VerifierError                    7   no      verifiers fail so often that rewards can't be trusted
    ├── TrainingError                    8   no      updates are wrong: not-a-number loss or gradient
    │   └── BadUpdateError               8   no      one is; nothing was changed by it, and somebody decides
    ├── RunFolderError                   9   no      a file of run.dir can't be written any more: a full disk, mostly
    │   └── RunInUseError               10   no      another process is using run.dir; nothing was touched
    ├── PeerLostError                   12   again   another rank has ended without a word, or never came
    ├── HungRankError                   13   again   a rank makes no progress, or gives no sign of life
    └── Stopped                         75   again   no failure: it was asked to stop, and the same command goes on

"no": it would happen again, so a person has to look first. 75 is EX_TEMPFAIL of sysexits.h, "try again". Ctrl-C twice
gives 130, output that is read no further (`... | head`) 141; a run that was killed has its signal's code; all of these
may be started again.

Every message says where, what was found, what is allowed, and what to do. Text from a model is never an error.
"""

# What a shell reports for a process that ended so.
INTERRUPTED = 130  # by Ctrl-C
UNREAD = 141  # since nobody reads any more what it prints


class ProRLError(Exception):
    """The root. `exit_code` is what the process returns when nobody catches it."""

    exit_code = 1


# Where the same command, started again, would end the same way.
FINAL_CODES = frozenset(range(2, 11))


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


class EngineFailedError(RolloutError):
    """The rollout engine's own failure, not that of what it was asked."""

    exit_code = 11


class VerifierError(ProRLError):
    exit_code = 7


class TrainingError(ProRLError):
    exit_code = 8


class BadUpdateError(TrainingError):
    """An update that would spoil the weights, which it has not touched. `is_spike`: it is finite, but far too large."""

    def __init__(self, message: str, *, is_spike: bool = False) -> None:
        super().__init__(message)
        self.is_spike = is_spike


class RunFolderError(ProRLError):
    exit_code = 9


class RunInUseError(RunFolderError):
    exit_code = 10


class PeerLostError(ProRLError):
    """Another rank's end is this one's, too; the message says which rank it was, and where."""

    exit_code = 12


class HungRankError(ProRLError):
    exit_code = 13


class Stopped(ProRLError):
    """The run was asked to stop. Inside a phase it says that the phase is abandoned, as if it had not begun."""

    exit_code = 75
