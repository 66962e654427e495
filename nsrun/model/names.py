"""What names may look like. Each function returns None for a good name, else what it must be.

Most names become directory names, host names or arguments of programs: nothing passes here that could be a path, an
option or a control sequence.
"""

from __future__ import annotations

import re

from nsrun.model.wording import quoted, words

__all__ = [
    "capability",
    "dns_label",
    "dns_search",
    "dns_subdomain",
    "env_name",
    "http_header",
    "label_value",
    "object_key",
    "pod_uid",
    "port_name",
    "qualified_name",
    "signal",
]

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
SUBDOMAIN = re.compile(rf"{LABEL.pattern}(\.{LABEL.pattern})*")
QUALIFIED = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
ENV = re.compile(r"[ -<>-~]+")
UID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
KEY = re.compile(r"[-._a-zA-Z0-9]+")
HEADER = re.compile(r"[-A-Za-z0-9]+")
SEARCH = re.compile(r"[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?(\.[a-z0-9_]([-a-z0-9_]*[a-z0-9_])?)*")
PORT = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
CAPABILITIES = words("""
    AUDIT_CONTROL AUDIT_READ AUDIT_WRITE BLOCK_SUSPEND BPF CHECKPOINT_RESTORE CHOWN DAC_OVERRIDE DAC_READ_SEARCH
    FOWNER FSETID IPC_LOCK IPC_OWNER KILL LEASE LINUX_IMMUTABLE MAC_ADMIN MAC_OVERRIDE MKNOD NET_ADMIN
    NET_BIND_SERVICE NET_BROADCAST NET_RAW PERFMON SETFCAP SETGID SETPCAP SETUID SYSLOG SYS_ADMIN SYS_BOOT
    SYS_CHROOT SYS_MODULE SYS_NICE SYS_PACCT SYS_PTRACE SYS_RAWIO SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG WAKE_ALARM
""")
"""capabilities(7)."""
SIGNALS = words("""
    SIGABRT SIGALRM SIGBUS SIGCHLD SIGCLD SIGCONT SIGFPE SIGHUP SIGILL SIGINT SIGIO SIGIOT SIGKILL SIGPIPE SIGPOLL
    SIGPROF SIGPWR SIGQUIT SIGSEGV SIGSTKFLT SIGSTOP SIGSYS SIGTERM SIGTRAP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGUSR1
    SIGUSR2 SIGVTALRM SIGWINCH SIGXCPU SIGXFSZ SIGRTMIN SIGRTMAX
""")
"""signal(7)."""
REAL_TIME = re.compile(r"SIGRTMIN\+([1-9]|1[0-5])|SIGRTMAX-([1-9]|1[0-4])")


def dns_label(name: str) -> str | None:
    """RFC 1123 label: containers, volumes, namespaces."""
    if len(name) <= 63 and LABEL.fullmatch(name):
        return None
    rule = 'at most 63 lower case letters, digits and "-", with a letter or digit at both ends'
    return f"must be {rule}, not {quoted(name)}"


def dns_subdomain(name: str) -> str | None:
    """RFC 1123 subdomain: pods."""
    if len(name) <= 253 and SUBDOMAIN.fullmatch(name):
        return None
    rule = 'at most 253 lower case letters, digits, "-" and ".", with a letter or digit at both ends of each part'
    return f"must be {rule}, not {quoted(name)}"


def qualified_name(name: str) -> str | None:
    """``[prefix/]name``: keys of labels and annotations, names of resources."""
    prefix, slash, last = name.rpartition("/")
    if len(last) > 63 or not QUALIFIED.fullmatch(last):
        rule = 'at most 63 letters, digits, "-", "_" and ".", with a letter or digit at both ends'
        return f"the key must be {rule}, not {quoted(last)}"
    if slash and (len(prefix) > 253 or not SUBDOMAIN.fullmatch(prefix)):
        return f'the part of the key before "/" must be a DNS name, not {quoted(prefix)}'
    return None


def label_value(value: str) -> str | None:
    """The value of a label; empty is allowed."""
    if not value or (len(value) <= 63 and QUALIFIED.fullmatch(value)):
        return None
    rule = 'at most 63 letters, digits, "-", "_" and ".", with a letter or digit at both ends'
    return f"must be {rule}, not {quoted(value)}"


def env_name(name: str) -> str | None:
    """Names of environment variables (the relaxed rule of Kubernetes 1.34)."""
    if ENV.fullmatch(name):
        return None
    return f'must be printable ASCII without "=", not {quoted(name)}'


def port_name(name: str) -> str | None:
    """RFC 6335 §5.1."""
    if len(name) <= 15 and PORT.fullmatch(name) and not name.replace("-", "").isdecimal():
        return None
    rule = 'at most 15 lower case letters, digits and single "-", at least one of them a letter'
    return f"must be {rule}, not {quoted(name)}"


def pod_uid(uid: str) -> str | None:
    """A UID is a component of paths, of cgroup names and of host names of links."""
    if UID.fullmatch(uid):
        return None
    rule = 'at most 63 letters, digits, ".", "_" and "-", the first of them a letter or digit'
    return f"must be {rule}, not {quoted(uid)}"


def capability(name: str) -> str | None:
    """A capability as Kubernetes spells it, without ``CAP_``."""
    if name == "ALL" or name in CAPABILITIES:
        return None
    near = name.upper().removeprefix("CAP_")
    hint = f': did you mean "{near}"?' if near in CAPABILITIES or near == "ALL" else ""
    return f"must be a capability such as NET_ADMIN, or ALL, not {quoted(name)}{hint}"


def object_key(key: str) -> str | None:
    """A key of a ConfigMap or a Secret: it becomes a file name."""
    if len(key) <= 253 and KEY.fullmatch(key) and key != "." and not key.startswith(".."):
        return None
    rule = 'at most 253 letters, digits, "-", "_" and ".", not starting with ".."'
    return f"must be {rule}, not {quoted(key)}"


def http_header(name: str) -> str | None:
    """A header of a probe."""
    return None if HEADER.fullmatch(name) else f'must be letters, digits and "-", not {quoted(name)}'


def dns_search(domain: str) -> str | None:
    """A domain that short names are looked up in; ``.`` is the root."""
    name = domain.removesuffix(".")
    if domain == "." or (len(name) <= 253 and SEARCH.fullmatch(name)):
        return None
    rule = 'at most 253 lower case letters, digits, "-", "_" and "."'
    return f"must be {rule}, not {quoted(domain)}"


def signal(name: str) -> str | None:
    """A signal as Kubernetes spells it."""
    if name in SIGNALS or REAL_TIME.fullmatch(name):
        return None
    near = f"SIG{name.upper().removeprefix('SIG')}"
    hint = f': did you mean "{near}"?' if near in SIGNALS else ""
    return f"must be a signal such as SIGTERM, not {quoted(name)}{hint}"
