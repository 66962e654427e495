"""Profiles that the operator put into the seccomp directory (``type: Localhost``), read as OCI's ``linux.seccomp``.

Docker writes more into its profiles, and people copy those: what holds for other architectures only, with or without a
capability, from some kernel on. It is worked out here, and nothing of a profile is passed over: a rule that is not
understood may be the one that matters.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nsrun.errors import RuntimeFailure, describe_errno
from nsrun.host.facts import parse_kernel
from nsrun.runtime.seccomp import load_flags
from nsrun.support import native
from nsrun.support.fds import Fd

__all__ = ["oci_form", "read_profile"]

_MAX_SIZE = 1 << 20
_REASON = "CreateContainerError"
_SCHEMA = Path(__file__).parent / "schema" / "config.json"

# Docker's words for uname(2)'s.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "i686": "x86"}
_FOR_PEOPLE = frozenset({"comment", "$schema"})


def read_profile(directory: Path, name: str, capabilities: frozenset[str]) -> dict[str, object]:
    """The profile ``name`` (a path below ``directory``) for a process bounded by ``capabilities``. Blocks. Raises
    RuntimeFailure."""
    what = f'seccomp profile "{name}"'
    try:
        content = _read(directory, name)
    except OSError as error:
        raise RuntimeFailure(
            f"cannot read {what}: {describe_errno(error.errno or 0)}",
            reason=_REASON,
            hint=f'localhostProfile names a file below "{directory}"',
        ) from error
    try:
        profile = oci_form(json.loads(content), capabilities, machine=os.uname().machine, release=os.uname().release)
        load_flags(profile)
    except (ValueError, RecursionError) as error:
        raise RuntimeFailure(f"cannot use {what}: {error}", reason=_REASON) from error
    except RuntimeFailure as error:
        raise RuntimeFailure(f"cannot use {what}: {error.message}", reason=_REASON) from error
    return profile


def oci_form(document: object, capabilities: frozenset[str], *, machine: str, release: str) -> dict[str, object]:
    """``machine`` and ``release`` as uname(2) gives them. Raises ValueError for what is no profile."""
    if not isinstance(document, dict):
        raise ValueError("it is no JSON object")
    profile: dict[str, Any] = {key: value for key, value in document.items() if key not in _FOR_PEOPLE}
    maps = profile.pop("archMap", None)
    if maps is not None:
        profile["architectures"] = _architectures(maps, machine)
    rules = profile.get("syscalls")
    if isinstance(rules, list):
        profile["syscalls"] = [
            _without_conditions(rule) for rule in rules if _holds(rule, capabilities, machine, release)
        ]
    # "NULL" is how Go writes a list that is empty.
    profile = {key: value for key, value in profile.items() if value is not None}
    _check(profile)
    if any(action == "SCMP_ACT_NOTIFY" for action in _actions(profile)):
        raise ValueError("SCMP_ACT_NOTIFY needs an agent that answers, and there is none")
    return profile


def _read(directory: Path, name: str) -> bytes:
    """Nothing above the directory, no device that never ends, no file without content: that would be no filter
    (CVE-2023-2431)."""
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY
    resolve = native.RESOLVE_BENEATH | native.RESOLVE_NO_MAGICLINKS
    with (
        Fd.open(directory, os.O_PATH | os.O_DIRECTORY) as top,
        native.openat2(top.fileno(), name, flags, resolve=resolve) as file,
    ):
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or not 0 < status.st_size <= _MAX_SIZE:
            raise OSError(22, os.strerror(22), name)  # EINVAL
        return os.read(file.fileno(), _MAX_SIZE)


def _architectures(maps: Any, machine: str) -> list[str]:
    """Docker's archMap: this machine's own, and those that its kernel runs too."""
    native_name = f"SCMP_ARCH_{machine.upper()}"
    for entry in maps if isinstance(maps, list) else ():
        if isinstance(entry, dict) and entry.get("architecture") == native_name:
            return [native_name, *(entry.get("subArchitectures") or ())]
    return [native_name]


def _holds(rule: Any, capabilities: frozenset[str], machine: str, release: str) -> bool:
    if not isinstance(rule, dict):
        return True  # the schema will say so
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    if not isinstance(includes, dict) or not isinstance(excludes, dict):
        raise ValueError('"includes" and "excludes" are objects')
    here = {_ARCHITECTURES.get(machine, machine), machine}
    for conditions in (includes, excludes):
        unknown = conditions.keys() - {"caps", "arches", "minKernel"}
        if unknown:
            raise ValueError(f'a rule depends on "{min(unknown)}", which is not known here')
    return all(
        (
            not includes.get("caps") or set(includes["caps"]) <= capabilities,
            not includes.get("arches") or bool(here & set(includes["arches"])),
            "minKernel" not in includes or parse_kernel(includes["minKernel"]) <= parse_kernel(release),
            not (set(excludes.get("caps") or ()) & capabilities),
            not (here & set(excludes.get("arches") or ())),
            "minKernel" not in excludes or parse_kernel(excludes["minKernel"]) > parse_kernel(release),
        )
    )


def _without_conditions(rule: Any) -> Any:
    if not isinstance(rule, dict):
        return rule
    kept = {key: value for key, value in rule.items() if key not in {*_FOR_PEOPLE, "includes", "excludes"}}
    if isinstance(kept.get("name"), str) and "names" not in kept:
        kept["names"] = [kept.pop("name")]
    return {key: value for key, value in kept.items() if value is not None}


def _check(profile: Mapping[str, Any]) -> None:
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    error = best_match(Draft202012Validator(_schema()).iter_errors(profile))
    if error is not None:
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
        raise ValueError(f"{place.lstrip('.') or 'the profile'}: {error.message}")


def _schema() -> dict[str, Any]:
    whole = json.loads(_SCHEMA.read_bytes())
    return {"$schema": whole["$schema"], "$defs": whole["$defs"], "$ref": "#/$defs/seccomp"}


def _actions(profile: Mapping[str, Any]) -> Iterable[str]:
    yield profile["defaultAction"]
    for rule in profile.get("syscalls", ()):
        yield rule["action"]
