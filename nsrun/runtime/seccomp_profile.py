"""The default system call filter, as data. ``rules`` turns capabilities into it; ``seccomp`` compiles it.

Three answers, and why:

* allowed: what programs need;
* EPERM: what is dangerous, or what the kernel itself refuses to a process without the capability that gates it, so that
  programs take the path they have for unprivileged users;
* ENOSYS, for everything else: to a program that is newer than this list an unknown call looks like an older kernel, for
which
  C libraries have fallbacks, while EPERM would end it.

One machine architecture only: a call by another one's numbers (i386 and x32 on x86_64) kills the process, for those
tables hold old doors to the same rooms (``socketcall``, ``ipc``) that argument checks here do not cover.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

__all__ = ["NUMBERS", "ArgumentTest", "Rule", "rules"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgumentTest:
    """True when ``argument & mask == value``, on the 64 bits the register has."""

    index: int
    mask: int
    value: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Calls, and the errno they get (0: allowed) when the test holds (None: always)."""

    names: tuple[str, ...]
    errno: int
    test: ArgumentTest | None = None


# --- what programs need -----------------------------------------------------------------------------------------------

_FILES = """
    access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64
    fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync file_getattr file_setattr flock fstat
    fstatfs fsync ftruncate futimesat getcwd getdents getdents64 ioctl lchown link linkat lseek lstat mkdir mkdirat
    mknod mknodat name_to_handle_at newfstatat open openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev
    pwritev2 read readahead readlink readlinkat readv rename renameat renameat2 rmdir sendfile splice stat statfs statx
    symlink symlinkat sync sync_file_range sync_file_range2 syncfs tee truncate umask unlink unlinkat utime utimensat
    utimes vmsplice write writev fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr
    listxattrat llistxattr lremovexattr lsetxattr removexattr removexattrat setxattr setxattrat fanotify_mark
    inotify_add_watch inotify_init inotify_init1 inotify_rm_watch cachestat listmount statmount
"""
_WAITING = """
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
    eventfd2 io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit poll ppoll pselect6 select signalfd
    signalfd4 timerfd_create timerfd_gettime timerfd_settime
"""
_MEMORY = """
    brk madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mlock mlock2 mlockall mmap mprotect mremap
    mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect process_mrelease remap_file_pages
"""
_SOCKETS = """
    accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg sendmsg
    sendto setsockopt shutdown socketpair
"""
_IPC = """
    mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd semctl semget
    semop semtimedop shmat shmctl shmdt shmget
"""
_PROCESSES = """
    execve execveat exit exit_group fork getpgid getpgrp getpid getppid getpriority getrlimit getrusage getsid gettid
    ioprio_get ioprio_set kill pause pidfd_open pidfd_send_signal prctl prlimit64 process_vm_readv process_vm_writev
    ptrace restart_syscall sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
    sched_getscheduler sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler
    sched_yield set_tid_address setpgid setpriority setrlimit setsid sysinfo tgkill times tkill uname vfork wait4 waitid
    getcpu rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
    rt_tgsigqueueinfo sigaltstack
"""
_THREADS = """
    arch_prctl futex futex_requeue futex_wait futex_waitv futex_wake get_robust_list get_thread_area modify_ldt
    riscv_flush_icache riscv_hwprobe rseq set_robust_list set_thread_area
"""
_IDENTITY = """
    capget capset getegid geteuid getgid getgroups getresgid getresuid getuid setfsgid setfsuid setgid setgroups
    setregid setresgid setresuid setreuid setuid landlock_add_rule landlock_create_ruleset landlock_restrict_self
    seccomp lsm_get_self_attr lsm_list_modules
"""
_TIME = """
    adjtimex alarm clock_adjtime clock_getres clock_gettime clock_nanosleep getitimer gettimeofday nanosleep setitimer
    time timer_create timer_delete timer_getoverrun timer_gettime timer_settime getrandom
"""

# --- what a capability opens, and what is shut without it
# -----------------------------------------------------------------

_GATES: Mapping[str, str] = MappingProxyType(
    {
        "CAP_BPF": "bpf",
        "CAP_DAC_READ_SEARCH": "open_by_handle_at",
        "CAP_PERFMON": "perf_event_open",
        "CAP_SYSLOG": "syslog",
        "CAP_SYS_ADMIN": """
            bpf fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_set_self_attr mount mount_setattr
            move_mount open_tree open_tree_attr perf_event_open quotactl quotactl_fd setdomainname sethostname setns
            syslog umount2 unshare
        """,
        "CAP_SYS_BOOT": "reboot",
        "CAP_SYS_CHROOT": "chroot",
        "CAP_SYS_MODULE": "delete_module finit_module init_module",
        "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
        "CAP_SYS_PACCT": "acct",
        "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
        "CAP_SYS_RAWIO": "ioperm iopl",
        "CAP_SYS_TIME": "clock_settime settimeofday",
        "CAP_SYS_TTY_CONFIG": "vhangup",
    }
)

# --- what nothing opens
# ----------------------------------------------------------------------------------------------------

# Keyrings are not namespaced; userfaultfd and io_uring were ladders out of containers too often; the others are
# history or the host's business.
_NEVER = """
    _sysctl add_key create_module get_kernel_syms io_uring_enter io_uring_register io_uring_setup kexec_file_load
    kexec_load keyctl migrate_pages move_pages nfsservctl pivot_root query_module request_key swapoff swapon sysfs
    uselib userfaultfd ustat
"""

# --- what depends on an argument
# ----------------------------------------------------------------------------------------------

# clone(2): the flags that make namespaces. clone3(2) hides its flags in memory, where a filter cannot look: ENOSYS, and
# C libraries fall back to clone.
_NEW_NAMESPACES = (
    0x00020000,  # CLONE_NEWNS
    0x02000000,  # CLONE_NEWCGROUP
    0x04000000,  # CLONE_NEWUTS
    0x08000000,  # CLONE_NEWIPC
    0x10000000,  # CLONE_NEWUSER
    0x20000000,  # CLONE_NEWPID
    0x40000000,  # CLONE_NEWNET
)

# socket(2): every family but these. AF_ALG wrote to the page cache of files it could only read (CVE-2026-31431);
# AF_VSOCK leads to the hypervisor, past every network namespace.
_AF_ALG, _AF_VSOCK, _AF_END = 38, 40, 46

# The kernel takes the family as an int: the register's upper half is not looked at there, so it must not be looked at
# here.
_INT = 0xFFFFFFFF

# personality(2): Linux, 32 bit Linux, each with UNAME26, and the question what it is.
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)

# Calls that libseccomp may be too old to know by name. From 424 on the number is the same on every architecture.
NUMBERS: Mapping[str, int] = MappingProxyType(
    {
        "futex_waitv": 449,
        "set_mempolicy_home_node": 450,
        "cachestat": 451,
        "fchmodat2": 452,
        "map_shadow_stack": 453,
        "futex_wake": 454,
        "futex_wait": 455,
        "futex_requeue": 456,
        "statmount": 457,
        "listmount": 458,
        "lsm_get_self_attr": 459,
        "lsm_set_self_attr": 460,
        "lsm_list_modules": 461,
        "mseal": 462,
        "setxattrat": 463,
        "getxattrat": 464,
        "listxattrat": 465,
        "removexattrat": 466,
        "open_tree_attr": 467,
        "file_getattr": 468,
        "file_setattr": 469,
    }
)


def rules(capabilities: frozenset[str], machine: str) -> tuple[Rule, ...]:
    """The filter for a process that may have ``capabilities`` (``CAP_…``); calls in no rule get ENOSYS. No two rules
    contradict each other. ``machine``: as uname(2) names it."""
    always = " ".join((_FILES, _WAITING, _MEMORY, _SOCKETS, _IPC, _PROCESSES, _THREADS, _IDENTITY, _TIME)).split()
    opened = {name for gate, names in _GATES.items() if gate in capabilities for name in names.split()}
    gated = {name for names in _GATES.values() for name in names.split()}
    return (
        Rule(names=tuple(sorted({*always, *opened})), errno=0),
        Rule(names=tuple(sorted({*_NEVER.split(), *(gated - opened)})), errno=errno.EPERM),
        *_clone_rules("CAP_SYS_ADMIN" in capabilities, machine),
        *_socket_rules(),
        *(
            Rule(names=("personality",), errno=0, test=ArgumentTest(index=0, mask=2**64 - 1, value=value))
            for value in _PERSONALITIES
        ),
    )


def _clone_rules(may_make_namespaces: bool, machine: str) -> Iterator[Rule]:
    if may_make_namespaces:
        yield Rule(names=("clone", "clone3"), errno=0)
        return
    flags = 1 if machine == "s390x" else 0
    yield Rule(names=("clone",), errno=0, test=ArgumentTest(index=flags, mask=sum(_NEW_NAMESPACES), value=0))
    for flag in _NEW_NAMESPACES:
        yield Rule(names=("clone",), errno=errno.EPERM, test=ArgumentTest(index=flags, mask=flag, value=flag))


def _socket_rules() -> Iterator[Rule]:
    for start, end in ((0, _AF_ALG), (_AF_ALG + 1, _AF_VSOCK), (_AF_VSOCK + 1, _AF_END)):
        for value, size in _blocks(start, end):
            test = ArgumentTest(index=0, mask=_INT & ~(size - 1), value=value)
            yield Rule(names=("socket",), errno=0, test=test)
    for family in (_AF_ALG, _AF_VSOCK):
        test = ArgumentTest(index=0, mask=_INT, value=family)
        yield Rule(names=("socket",), errno=errno.EAFNOSUPPORT, test=test)


def _blocks(start: int, end: int) -> Iterator[tuple[int, int]]:
    """A range as aligned powers of two, each of which one masked comparison covers: 0, 38 → (0, 32), (32, 4), (36,
    2)."""
    while start < end:
        size = start & -start or 1 << end.bit_length()
        while start + size > end:
            size >>= 1
        yield start, size
        start += size
