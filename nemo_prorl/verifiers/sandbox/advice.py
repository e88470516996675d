"""What an operator can do about a layer that a host doesn't allow."""

from __future__ import annotations

from contextlib import suppress

from nemo_prorl.verifiers.sandbox.namespaces import HIDDEN


def of(layer: str, error: str) -> str:
    match layer:
        case "namespaces":
            return _namespaces(error)
        case "landlock":
            return _landlock(error)
        case "seccomp":
            return (
                "every distribution's kernel has CONFIG_SECCOMP_FILTER; a container or an emulator in between hides it"
            )
        case _:
            return ""


def _namespaces(error: str) -> str:
    if HIDDEN in error:
        return "keep the virtual environment (and what SandboxSettings.read names) somewhere else than under /tmp"
    if _sysctl("user/max_user_namespaces") == "0":
        return "user namespaces are off: sysctl user.max_user_namespaces=15000 on the host"
    if _sysctl("kernel/unprivileged_userns_clone") == "0":
        return "user namespaces are for root only: sysctl kernel.unprivileged_userns_clone=1 on the host"
    if _sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return (
            "AppArmor restricts user namespaces (Ubuntu 23.10 and later): "
            "sysctl kernel.apparmor_restrict_unprivileged_userns=0 on the host, or an AppArmor profile with `userns,`"
        )
    if "unshare" in error:
        return (
            "a container's seccomp profile or missing rights forbid it: Docker needs --security-opt seccomp=unconfined "
            "(or a profile that allows unshare, mount, pivot_root) and --security-opt apparmor=unconfined; "
            "enroot and Apptainer allow it by default"
        )
    return "a container or a security module forbids mounting: Docker needs --security-opt apparmor=unconfined"


def _landlock(error: str) -> str:
    modules = ""
    with suppress(OSError), open("/sys/kernel/security/lsm") as file:
        modules = file.read().strip()
    if modules and "landlock" not in modules.split(","):
        return f"Landlock is there but not switched on: boot with lsm=landlock,{modules}"
    if "not permitted" in error:
        return "a container's seccomp profile forbids it: Docker allows Landlock from 20.10.10 on"
    return "needs Linux 5.13 or later, with landlock in the kernel's lsm= list"


def _sysctl(name: str) -> str | None:
    with suppress(OSError), open(f"/proc/sys/{name}") as file:
        return file.read().strip()
    return None
