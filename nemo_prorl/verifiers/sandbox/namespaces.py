"""Namespaces: a world with no network, few files, and no other processes.

In order: `begin_world` in the process whose children are to live there (for a process tree; not for a single process),
then `enter` in the child, which gives it a root of its own: a small empty file system with read-only views of what
Python needs, a few devices, and folders that are its alone. Sources: namespaces(7), pivot_root(2), bubblewrap(1).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from nemo_prorl.verifiers.sandbox import kernel
from nemo_prorl.verifiers.sandbox.kernel import MS_BIND, MS_NODEV, MS_NOSUID, MS_PRIVATE, MS_RDONLY, MS_REC, MS_REMOUNT
from nemo_prorl.verifiers.sandbox.privileges import Identity, is_privileged
from nemo_prorl.verifiers.sandbox.runtime import DEVICES
from nemo_prorl.verifiers.sandbox.scratch import MAX_TMP_FILES

HIDDEN = "would be hidden by"
INNER_ID = 1000  # user and group, where they can be chosen
_REST = kernel.CLONE_NEWNS | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
# Where the new root is built: over a folder that holds nothing that is to be seen in it.
_SITES = ("/sys", "/mnt", "/media", "/srv", "/boot", "/opt", "/home", "/tmp")
_KEPT = {"noexec": kernel.MS_NOEXEC, "noatime": kernel.MS_NOATIME, "nodiratime": kernel.MS_NODIRATIME}
_KEPT |= {"relatime": kernel.MS_RELATIME}


def begin_world(identity: Identity, *, processes: bool) -> None:
    """Make a user namespace where `identity` can't do without one, and, with `processes`, one for its children's
    numbers.

    Raises OSError when the host doesn't allow it. The process must have one thread.
    """
    also = kernel.CLONE_NEWPID if processes else 0
    if is_privileged(identity):
        kernel.unshare(also)
    elif identity.changes:
        _unshare_users({"uid": identity.uid, "gid": identity.gid}, also)
    else:
        user, group = os.geteuid(), os.getegid()
        kernel.unshare(kernel.CLONE_NEWUSER | also)
        kernel.prctl(kernel.PR_SET_DUMPABLE, 1)  # or /proc/self belongs to root
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{INNER_ID} {user} 1")
        _write("/proc/self/gid_map", f"{INNER_ID} {group} 1")


def _unshare_users(ids: Mapping[str, int], also: int) -> None:
    """A user namespace in which root, who asks, can become the user and group `ids`.

    A container's root may do so without being its administrator. But that there are these two in the namespace, only a
    process that stays outside of it can say.
    """
    me = os.getpid()
    read_end, write_end = os.pipe()
    helper = os.fork()
    if helper == 0:
        os.close(write_end)
        _say_who_is_in(me, ids, read_end)
    os.close(read_end)
    try:
        kernel.unshare(kernel.CLONE_NEWUSER | also)
        os.write(write_end, b"x")
    finally:
        os.close(write_end)
        error = os.waitstatus_to_exitcode(os.waitpid(helper, 0)[1])
    if error:
        raise OSError(error, f"unshare: the users of the namespace can't be told: {os.strerror(error)}")


def _say_who_is_in(process: int, ids: Mapping[str, int], begun: int) -> NoReturn:
    """As soon as `begun` says that its namespace is there; the exit code is the error's number."""
    try:
        if os.read(begun, 1):
            for kind, number in ids.items():
                _write(f"/proc/{process}/{kind}_map", f"0 0 1\n{number} {number} 1")
        os._exit(0)
    except OSError as error:
        os._exit(error.errno or errno.EIO)


def enter(
    visible: Sequence[Path], own: Sequence[Path], links: Mapping[str, str], *, tmp_bytes: int, owner: int
) -> None:
    """Leave the host's network, IPC, host name and files.

    `visible`: files and folders that are seen, read-only, under their names. `own`: empty folders in memory, of
    `tmp_bytes` together, that belong to user `owner` (-1: who calls). `links`: symbolic links, name -> target.
    Raises OSError when the host doesn't allow it, or when one of `own` would hide what is to be seen.
    """
    _refuse_to_hide(visible, own)
    site = _site(visible)
    kernel.unshare(_REST)
    kernel.mount(None, "/", None, MS_REC | MS_PRIVATE)
    kernel.mount("tmpfs", site, "tmpfs", MS_NOSUID | MS_NODEV, "size=4m,nr_inodes=4096,mode=755")
    root = Path(site)
    _show(root, visible)
    _show_devices(root)
    _make_own(root, own, tmp_bytes, owner)
    for name, target in links.items():
        _make_parents(root, Path(name))
        (root / name.lstrip("/")).symlink_to(target)
    os.chdir(site)
    kernel.pivot_root(".", ".")  # the old root is now mounted over the new one
    kernel.detach(".")
    os.chdir("/")
    kernel.mount(None, "/", None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)


def _refuse_to_hide(visible: Iterable[Path], own: Iterable[Path]) -> None:
    for path in visible:
        for folder in own:
            if Path(os.path.realpath(path)).is_relative_to(folder):
                raise OSError(f"{path} {HIDDEN} {folder}, which is a program's own and empty")


def _site(visible: Iterable[Path]) -> str:
    real = [Path(os.path.realpath(path)) for path in visible] + [Path("/dev"), Path("/proc")]
    for site in _SITES:
        if os.path.isdir(site) and not any(path.is_relative_to(site) for path in real):
            return site
    raise OSError(f"none of {', '.join(_SITES)} is free to build a root on")


def _show(root: Path, visible: Iterable[Path]) -> None:
    """Read-only views of real places, and links where a name leads elsewhere (/lib -> /usr/lib)."""
    real = sorted({Path(os.path.realpath(path)) for path in visible})
    outer = [path for path in real if not any(other != path and path.is_relative_to(other) for other in real)]
    for path in outer:
        _bind(path, root)
        _make_read_only(f"{root}{path}")
    for path in sorted(visible):
        shown = Path(os.path.realpath(path))
        if shown != path and not os.path.lexists(f"{root}{path}") and _make_parents(root, path):
            os.symlink(shown, f"{root}{path}")


def _show_devices(root: Path) -> None:
    for device in DEVICES:
        if device.exists():
            _bind(device, root)


def _bind(path: Path, root: Path) -> None:
    target = f"{root}{path}"
    _make_parents(root, path)
    if path.is_dir():
        os.makedirs(target, 0o755, exist_ok=True)
    else:
        Path(target).touch()
    kernel.mount(str(path), target, None, MS_BIND | MS_REC)


def _make_parents(root: Path, path: Path) -> bool:
    """Real folders down to `path`'s; false when a link among them leads out of what is built here."""
    for parent in reversed(path.parents[:-1]):
        there = Path(f"{root}{parent}")
        if there.is_symlink():
            return False
        there.mkdir(0o755, exist_ok=True)
    return True


def _make_read_only(target: str) -> None:
    """The mount and all within it. Flags that the host has set must be kept, or the kernel refuses."""
    with open("/proc/self/mountinfo") as mounts:
        found = [line.split() for line in mounts]
    for fields in found:
        place = fields[4].encode().decode("unicode_escape").encode("latin-1").decode(errors="surrogateescape")
        if place == target or place.startswith(target + "/"):
            kept = sum(flag for name, flag in _KEPT.items() if name in fields[5].split(","))
            kernel.mount(None, place, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | kept)


def _make_own(root: Path, own: Sequence[Path], tmp_bytes: int, owner: int) -> None:
    """Folders of one file system, each mounted by itself: what lives in them can't rename or remove them."""
    if not own:
        return
    whole = root / ".own"
    whole.mkdir()
    kernel.mount(
        "tmpfs", str(whole), "tmpfs", MS_NOSUID | MS_NODEV, f"size={tmp_bytes},nr_inodes={MAX_TMP_FILES},mode=755"
    )
    for number, path in enumerate(own):
        folder = whole / str(number)
        folder.mkdir(0o700)
        os.chown(folder, owner, -1)
        _make_parents(root, path / "x")
        kernel.mount(str(folder), f"{root}{path}", None, MS_BIND)
    kernel.detach(str(whole))
    whole.rmdir()


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)
