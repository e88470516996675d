"""Confinement of the process that asks for it: for one of ours that reads, and at times evaluates, a model's texts."""

from __future__ import annotations

import logging
import os
import resource
import sys
import tempfile
from pathlib import Path

from nemo_prorl.errors import VerifierError
from nemo_prorl.verifiers.sandbox import confinement, kernel, limits, namespaces, privileges, runtime, seccomp
from nemo_prorl.verifiers.sandbox.confinement import View
from nemo_prorl.verifiers.sandbox.contract import SandboxSettings
from nemo_prorl.verifiers.sandbox.report import SandboxReport

log = logging.getLogger(__name__)


def confine(
    settings: SandboxSettings, *, tmp: Path | None = None, report: SandboxReport | None = None
) -> SandboxReport:
    """Confine the calling process, for good: no network, no new process, no signal to another one, no tracing; it reads
    only Python, what is on sys.path, and `settings.read`; it writes only in `tmp`.

    `tmp` is an existing folder of an absolute path; where namespaces hold, an empty one in memory takes its place under
    the same name, else it is the folder itself: whoever made it removes it. It becomes TMPDIR and HOME. `report` is
    what `probe` found, and saves trying all layers again. Open files and sockets stay open.

    Raises:
        VerifierError: less holds than is demanded, the process has more than one thread or more memory than it may
            have, or a layer fails that held when it was tried. The process may be half confined then: end it.
    """
    threads = kernel.thread_count()
    if threads > 1:
        raise VerifierError(f"a process with {threads} threads can't be confined; do it before any is started")
    _refuse_too_large(settings.memory_bytes)
    identity = privileges.choose()
    view = View(runtime.readable_paths([*sys.path, *settings.read]), own=tmp)
    if report is None:
        report = confinement.find_layers(settings, identity, view)
    confinement.require(report, settings)
    if not report.satisfies(settings.level):
        log.warning("a process that reads a model's texts is confined at level %r only", report.level)
    try:
        _confine(report, settings, identity, view)
    except OSError as error:
        raise VerifierError(f"this process can't be confined: {error}\n{report.describe()}") from error
    return report


def _confine(report: SandboxReport, settings: SandboxSettings, identity: privileges.Identity, view: View) -> None:
    death_signal = kernel.death_signal()
    if view.own is not None and identity.changes:
        os.chown(view.own, identity.uid, identity.gid)
    if report.holds("namespaces"):
        namespaces.begin_world(identity, processes=False)
    confinement.put_on(report, settings, identity, view, {})
    kernel.prctl(kernel.PR_SET_PDEATHSIG, death_signal)  # a change of user takes it back
    limits.set_limit(resource.RLIMIT_FSIZE, settings.output_bytes)
    if view.own is not None:
        os.environ.update(TMPDIR=str(view.own), HOME=str(view.own))
        os.chdir(view.own)
    tempfile.tempdir = None  # it is found anew when somebody asks
    if report.holds("seccomp"):
        seccomp.StrictFilter().install(os.getpid())


def _refuse_too_large(memory_bytes: int) -> None:
    """A process beyond its limit goes on until it needs more, and then waits for ever for a thread that can't begin."""
    if (used := limits.address_space_bytes()) > memory_bytes:
        raise VerifierError(
            f"a process of {used >> 20} MiB of address space can't be confined to {memory_bytes >> 20} MiB; import "
            "less in it (a verifier has no use for torch), or allow more memory"
        )
