"""Who a container's first process is: ids, groups and home, from the image's USER, its /etc/passwd and /etc/group, and
what the manifest demands.

The rules are Docker's for the image's USER (``user``, ``uid``, ``user:group``, ``uid:gid`` and their mixtures) and the
kubelet's for ``runAsUser``, ``runAsGroup`` and ``runAsNonRoot``. Numbers are decimal, ASCII, whole, and at most 2³¹-1,
so that no id wraps into another (least of all into 0); a number is never looked up as a name.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nsrun.errors import RuntimeFailure
from nsrun.host.userns import UserNamespace
from nsrun.model.security import GroupsPolicy, PodSecurityContext, SecurityContext

__all__ = ["MAX_ID", "Account", "check_mapped", "check_non_root", "resolve"]

MAX_ID = 2**31 - 1
_MAX_GROUPS = 65536  # NGROUPS_MAX
_REASON = "CreateContainerConfigError"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """``groups``: every gid of the process, the primary one first. ``home``: ``/`` when nobody knows better."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _User:
    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    name: str
    gid: int
    members: tuple[str, ...]


def resolve(
    image_user: str, context: SecurityContext, of_pod: PodSecurityContext, *, passwd: bytes, group: bytes
) -> Account:
    """The account of a container's first process. ``passwd`` and ``group``: the files' content as the image has them.

    ``runAsUser`` replaces the image's USER, its group too. The supplementary groups are the pod's and its fsGroup and,
    unless the policy is ``Strict``, those that /etc/group lists the user in. Raises RuntimeFailure: not a name or
    number, out of range, not in the file."""
    user_part, group_part = _split(image_user)
    if context.run_as_user is not None:
        user_part, group_part = str(context.run_as_user), None
    user = _find_user(user_part or "0", passwd)
    groups = tuple(_groups(group))
    if context.run_as_group is not None:
        gid = _number(str(context.run_as_group), "group")
    elif group_part is not None:
        gid = _find_group(group_part, groups)
    else:
        gid = user.gid
    others = {_number(str(number), "group") for number in _supplementary(of_pod)}
    if of_pod.supplemental_groups_policy is GroupsPolicy.MERGE:
        others |= {entry.gid for entry in groups if user.name and user.name in entry.members}
    return Account(uid=user.uid, gid=gid, groups=(gid, *sorted(others - {gid}))[:_MAX_GROUPS], home=user.home)


def _supplementary(of_pod: PodSecurityContext) -> tuple[int, ...]:
    return of_pod.supplemental_groups + ((of_pod.fs_group,) if of_pod.fs_group is not None else ())


def check_non_root(image_user: str, context: SecurityContext, *, pod: str, container: str) -> None:
    """The kubelet's ``runAsNonRoot``, asked before every start: only a number can be known not to be root.

    ``pod``: as the kubelet writes it, ``name_namespace(uid)``. Raises RuntimeFailure with the kubelet's texts.
    """
    if not context.run_as_non_root:
        return
    place = f'(pod: "{pod}", container: {container})'
    if context.run_as_user is not None:
        if context.run_as_user == 0:
            raise RuntimeFailure(f"container's runAsUser breaks non-root policy {place}", reason=_REASON)
        return
    user = _split(image_user)[0]
    hint = "set securityContext.runAsUser to a number other than 0"
    if not user or (_is_number(user) and _number(user, "user") == 0):
        text = f"container has runAsNonRoot and image will run as root {place}"
        raise RuntimeFailure(text, reason=_REASON, hint=hint)
    if not _is_number(user):
        text = "container has runAsNonRoot and image has non-numeric user "
        text += f"({_shown(user)}), cannot verify user is non-root {place}"
        raise RuntimeFailure(text, reason=_REASON, hint=hint)


def check_mapped(account: Account, users: UserNamespace) -> None:
    """Whether these ids are there at all, where nsrun itself is in a user namespace. Raises RuntimeFailure."""
    for what, count, file, wanted in (
        ("user", users.uids, "/etc/subuid", (account.uid,)),
        ("group", users.gids, "/etc/subgid", (account.gid, *account.groups)),
    ):
        if (highest := max(wanted)) >= count:
            there = "no id but 0" if count == 1 else f"ids up to {count - 1}"
            raise RuntimeFailure(
                f"cannot run as {what} {highest}: whoever runs nsrun has {there} for containers",
                reason=_REASON,
                hint=f"give them {highest} ids or more in {file}, then nsrun down",
            )


def _split(image_user: str) -> tuple[str, str | None]:
    """``"user:group"`` → its parts; no group is None."""
    if not image_user:
        return "", None
    parts = image_user.split(":")
    if len(parts) > 2 or not all(parts):
        raise RuntimeFailure(
            f'image\'s user "{_shown(image_user)}" is not of the form user, uid, user:group or uid:gid', reason=_REASON
        )
    return parts[0], parts[1] if len(parts) == 2 else None


def _find_user(text: str, passwd: bytes) -> _User:
    users = _users(passwd)
    if _is_number(text):
        uid = _number(text, "user")
        fallback = _User(name="", uid=uid, gid=0, home="/")
        return next((user for user in users if user.uid == uid), fallback)
    for user in users:
        if user.name == text:
            return user
    raise RuntimeFailure(
        f'cannot find user "{_shown(text)}" in the image\'s /etc/passwd',
        reason=_REASON,
        hint="set securityContext.runAsUser to a number",
    )


def _find_group(text: str, groups: tuple[_Group, ...]) -> int:
    if _is_number(text):
        return _number(text, "group")
    for group in groups:
        if group.name == text:
            return group.gid
    raise RuntimeFailure(
        f'cannot find group "{_shown(text)}" in the image\'s /etc/group',
        reason=_REASON,
        hint="set securityContext.runAsGroup to a number",
    )


def _users(passwd: bytes) -> Iterator[_User]:
    """``name:password:uid:gid:gecos:home:shell``; lines that are anything else are skipped."""
    for fields in _lines(passwd):
        if len(fields) >= 4 and fields[0] and _is_id(fields[2]) and _is_id(fields[3]):
            home = fields[5] if len(fields) > 5 and fields[5].startswith("/") else "/"
            yield _User(name=fields[0], uid=int(fields[2]), gid=int(fields[3]), home=home)


def _groups(group: bytes) -> Iterator[_Group]:
    """``name:password:gid:member,member``."""
    for fields in _lines(group):
        if len(fields) >= 3 and fields[0] and _is_id(fields[2]):
            members = tuple(name for name in fields[3].split(",") if name) if len(fields) > 3 else ()
            yield _Group(name=fields[0], gid=int(fields[2]), members=members)


def _lines(content: bytes) -> Iterator[list[str]]:
    for line in content.split(b"\n"):
        text = line.decode("utf-8", "surrogateescape").strip()
        if text and not text.startswith("#") and "\0" not in text:
            yield text.split(":")


def _is_number(text: str) -> bool:
    """Digits, perhaps with a sign: never a name."""
    digits = text.removeprefix("-").removeprefix("+")
    return digits.isascii() and digits.isdigit()


def _is_id(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10 and int(text) <= MAX_ID


def _number(text: str, what: str) -> int:
    if not _is_id(text):
        raise RuntimeFailure(f'{what} id "{_shown(text)}" is not between 0 and {MAX_ID}', reason=_REASON)
    return int(text)


def _shown(text: str) -> str:
    """An image's text, safe to print."""
    printable = "".join(c if c.isprintable() else "?" for c in text[:64])
    return printable if len(text) <= 64 else f"{printable}…"
