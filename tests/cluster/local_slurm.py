"""A real Slurm of our own on this host, without systemd: one munged, one slurmctld, N virtual nodes.

    with LocalSlurm(nodes=2) as slurm:
        job = slurm.submit("script.sbatch", "an argument", options=["--nodes=2"])
        slurm.wait(job)

Everything lies in a folder under /tmp (a socket's path may have 108 characters) and listens on ports that were free.
Leaving the `with` cancels what runs, stops the daemons, and ends every process that the jobs have left: those whose
environment names that folder, so nobody else's. Where nobody leaves it, for this process was killed, the daemons die.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from tests.cluster.own_processes import processes_of, tasks_of

PROGRAMS = ("setpriv", "munged", "munge", "slurmctld", "slurmd", "sbatch", "scontrol", "sinfo")
ENDS = ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE")
REQUEUE_SECONDS = 5  # Slurm's own delay before a requeued job starts again; 120 by default

CONFIGURATION = """\
ClusterName=prorl_tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={root}/munge.sock,cred_expire={requeue_seconds}
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=1
SlurmdParameters=config_overrides
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=1,sched_interval=2,bf_interval=5,sched_min_interval=10000
JobRequeue=1
ReturnToService=2
KillWait={kill_wait_seconds}
MinJobAge=3600
SlurmctldTimeout=60
SlurmdTimeout=60
UnkillableStepTimeout=20
GresTypes=gpu
PlugStackConfig={root}/plugstack.conf
StateSaveLocation={root}/state
SlurmdSpoolDir={root}/spool/%n
SlurmctldPidFile={root}/slurmctld.pid
SlurmdPidFile={root}/slurmd.%n.pid
SlurmctldLogFile={root}/slurmctld.log
SlurmdLogFile={root}/slurmd.%n.log
FirstJobId={first_job}
{nodes}
PartitionName=tests Nodes=n[1-{count}] Default=YES MaxTime=INFINITE DefaultTime=30 OverSubscribe=NO State=UP
"""


def missing() -> str | None:
    """Why there can be no Slurm here; None: there can."""
    if absent := [program for program in PROGRAMS if shutil.which(program) is None]:
        return f"{', '.join(absent)} not installed (apt-get install slurm-wlm munge)"
    return None if os.geteuid() == 0 else "Slurm's daemons need root here"


class LocalSlurm:
    """`nodes` virtual nodes that claim so many CPUs and GPUs and so much memory, whatever the host has."""

    def __init__(
        self, *, nodes: int = 2, cpus: int = 2, gpus: int = 2, memory_mb: int = 4096, kill_wait_seconds: int = 10
    ) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="slurm_", dir="/tmp"))
        self.nodes, self._cpus, self._gpus, self._kill_wait = nodes, cpus, gpus, kill_wait_seconds
        self._memory_mb = memory_mb
        self._daemons: list[subprocess.Popen[bytes]] = []
        clean = {name: value for name, value in os.environ.items() if not re.match("SLURM|SBATCH|SRUN|PMI|PRORL", name)}
        self.environment = {**clean, "SLURM_CONF": str(self.root / "slurm.conf")}

    def __enter__(self) -> LocalSlurm:
        with ExitStack() as undo:
            undo.callback(self.close)
            self._configure()
            self._start_daemons()
            self.until(lambda: self._nodes_up() == self.nodes, 60, lambda: f"nodes don't come up\n{self.logs()}")
            undo.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # ------------------------------------------------------------------------------------------------------- jobs

    def run(self, *command: str | Path, folder: Path | None = None, timeout_seconds: float = 60) -> str:
        """What a command of Slurm's says; an AssertionError with its errors when it fails."""
        done = subprocess.run(
            [*map(str, command)],
            env=self.environment,
            cwd=folder,
            timeout=timeout_seconds,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr

    def submit(
        self,
        script: str | Path,
        *arguments: str,
        options: Sequence[str] = (),
        folder: Path,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        """sbatch; the job's number."""
        exported = {**self.environment, **(environment or {})}
        done = subprocess.run(
            ["sbatch", "--parsable", *options, str(script), *arguments],
            env=exported,
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def job(self, number: str) -> dict[str, str]:
        """What `scontrol show job` says of it."""
        said = self.run("scontrol", "show", "job", number, "-o")
        return dict(part.split("=", 1) for part in said.split() if "=" in part)

    def wait(self, number: str, timeout_seconds: float = 240) -> str:
        """The state in which a job has ended. Requeued, it has not."""
        self.until(
            lambda: self.job(number)["JobState"] in ENDS,
            timeout_seconds,
            lambda: f"job {number} is {self.job(number)}\n{self.logs()}",
        )
        return self.job(number)["JobState"]

    def until(self, has_come: Callable[[], bool], timeout_seconds: float, told: Callable[[], str] = str) -> float:
        """Seconds waited; an AssertionError with what `told` says when it doesn't come."""
        began = time.monotonic()
        while not has_come():
            assert time.monotonic() - began < timeout_seconds, f"not within {timeout_seconds} seconds: {told()}"
            time.sleep(0.1)
        return time.monotonic() - began

    def processes(self, number: str, words: str = "nemo_prorl") -> dict[int, int]:
        """Process ids of a job's tasks by rank: those whose command line has `words`."""
        return dict(sorted(tasks_of(self.root, number, words)))

    def logs(self) -> str:
        return "\n".join(
            f"--- {path.name}\n" + path.read_text(errors="replace")[-1500:] for path in sorted(self.root.glob("*.log"))
        )

    # ---------------------------------------------------------------------------------------------------- daemons

    def _configure(self) -> None:
        for name in ("state", "spool"):
            (self.root / name).mkdir()
        self.root.chmod(0o755)
        key = self.root / "munge.key"
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
        devices = self.root / "gpu"
        for number in range(self._gpus):  # a GPU must be a device; clones of /dev/null stand in, which nobody opens
            os.mknod(f"{devices}{number}", 0o20666, os.makedev(1, 3))
        port, host = _free_ports(self.nodes + 1), platform.node().split(".")[0]
        shape = f"CPUs={self._cpus} RealMemory={self._memory_mb} Gres=gpu:{self._gpus} State=UNKNOWN"
        nodes = [
            f"NodeName=n{number} NodeHostname={host} NodeAddr=127.0.0.1 Port={port + number} {shape}"
            for number in range(1, self.nodes + 1)
        ]
        text = CONFIGURATION.format(
            host=host,
            port=port,
            root=self.root,
            requeue_seconds=REQUEUE_SECONDS,
            kill_wait_seconds=self._kill_wait,
            nodes="\n".join(nodes),
            count=self.nodes,
            first_job=1 + int.from_bytes(os.urandom(2), "big"),
        )
        (self.root / "slurm.conf").write_text(text)
        gpus = f"File={devices}[0-{self._gpus - 1}]" if self._gpus > 1 else f"File={devices}0"
        (self.root / "gres.conf").write_text(f"NodeName=n[1-{self.nodes}] Name=gpu {gpus}\n")
        (self.root / "plugstack.conf").write_text("")  # what is installed system-wide stays out
        if _version() >= (23, 11):
            (self.root / "cgroup.conf").write_text("CgroupPlugin=disabled\n")  # 22.05 dies of that line

    def _start_daemons(self) -> None:
        root = self.root
        names = {"key-file": "munge.key", "socket": "munge.sock", "pid-file": "munged.pid"}
        names |= {"seed-file": "munge.seed", "log-file": "munged.log"}
        munge = [f"--{name}={root / at}" for name, at in names.items()]
        self._daemon("munged", "--foreground", "--force", "--num-threads=2", *munge)
        self.until((root / "munge.sock").exists, 60, self.logs)
        self._daemon("slurmctld", "-D", "-c", "-f", str(root / "slurm.conf"))
        for number in range(1, self.nodes + 1):
            (root / "spool" / f"n{number}").mkdir()
            self._daemon("slurmd", "-D", "-f", str(root / "slurm.conf"), "-N", f"n{number}")

    def _daemon(self, *command: str) -> None:
        """Start one. It dies with this process, should that be killed before it can clean up."""
        with (self.root / "daemons.log").open("ab") as log:
            self._daemons.append(
                subprocess.Popen(
                    ["setpriv", "--pdeathsig", "KILL", *command],
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            )

    def _nodes_up(self) -> int:
        done = subprocess.run(
            ["sinfo", "-h", "-N", "-o", "%N %T"], env=self.environment, capture_output=True, text=True, timeout=60
        )
        return len({line for line in done.stdout.splitlines() if line.split()[-1] == "idle"})

    def close(self) -> None:
        """Cancel, stop, end, remove. May be called again."""
        if not self.root.exists():
            return
        for command in (["scancel", "--quiet", "--state=PENDING"], ["scancel", "--quiet", "--state=RUNNING"]):
            with suppress(OSError, subprocess.SubprocessError):
                subprocess.run([*command, "--partition=tests"], env=self.environment, capture_output=True, timeout=20)
        for daemon in reversed(self._daemons):
            daemon.kill()
            daemon.wait(20)
        for _ in range(50):  # slurmstepd, and what it has started
            left = list(processes_of(self.root))
            if not left:
                break
            for pid in left:
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)
        shutil.rmtree(self.root, ignore_errors=True)


def _version() -> tuple[int, ...]:
    said = subprocess.run(["slurmd", "-V"], capture_output=True, text=True, timeout=20).stdout
    return tuple(int(part) for part in re.findall(r"\d+", said)[:2])


def _free_ports(count: int) -> int:
    """The first of `count` ports in a row that nobody uses now; systems hand out those above 32768 by chance."""
    for base in range(10_000 + os.getpid() % 5000, 19_900, 7):
        with ExitStack() as held:
            try:
                for port in range(base, base + count):
                    held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return base
    raise AssertionError("no free ports")
