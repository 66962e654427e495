/* forward_confine.c: what is left to a process that speaks with anybody: sockets of IPv4 in the pods' namespace, pipes,
 * and its own descriptors. It opens no file, makes no process, and executes nothing. */
#include "capabilities.h"
#include "filter.h"
#include "forward.h"
#include "kernel.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

static const struct sock_filter filter[] = {
    FILTER_HEAD,
    ALLOW(splice),
#ifdef SYS_epoll_wait
    ALLOW(epoll_wait),
#endif
    ALLOW(epoll_pwait),
    ALLOW(epoll_ctl),
    ALLOW(accept4),
    ALLOW(bind),
    ALLOW(connect),
    ALLOW(close),
    ALLOW(fcntl),
    ALLOW(getpeername),
    ALLOW(getsockname),
    ALLOW(getsockopt),
    ALLOW(setsockopt),
    ALLOW(shutdown),
    ALLOW(pipe2),
    ALLOW(recvmsg),
    ALLOW(recvmmsg),
    ALLOW(sendmsg),
    ALLOW(sendmmsg),
    ALLOW(sendto),
    ALLOW(clock_gettime), /* where it is not a function of the vDSO */
    ALLOW(geteuid),
#ifdef SYS_unlink
    ALLOW(unlink),
#endif
    ALLOW(unlinkat),
    ALLOW(exit_group),
#ifdef __SANITIZE_ADDRESS__
    /* To write a report, and to keep books on the way. */
    ALLOW(openat),
    ALLOW(read),
    ALLOW(write),
    ALLOW(mmap),
    ALLOW(munmap),
    ALLOW(madvise),
    ALLOW(mprotect),
    ALLOW(futex),
    ALLOW(getpid),
    ALLOW(gettid),
    ALLOW(readlink),
    ALLOW(sigaltstack),
    ALLOW(rt_sigprocmask),
    ALLOW(rt_sigaction),
    ALLOW(tgkill),
    ALLOW(sched_yield),
#endif
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 0, 3),
    LOAD(args[0]), /* its lower half: all architectures here are little-endian */
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_INET, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
};

/* NET_RAW: IP_TRANSPARENT, ip(7). NET_BIND_SERVICE: clients that call from a port below 1024 keep it. */
static const uint64_t KEPT = UINT64_C(1) << CAP_NET_RAW | UINT64_C(1) << CAP_NET_BIND_SERVICE;

int ns_forward_enter(int netns_fd)
{
        const struct rlimit none = {0};
        if (sys_setns(netns_fd, CLONE_NEWNET) < 0 || setrlimit(RLIMIT_CORE, &none) < 0 ||
            setrlimit(RLIMIT_NPROC, &none) < 0 || ns_drop_capabilities(KEPT) < 0)
                return -1;
        /* Giving up capabilities may make a process dumpable or not; it is not. */
        if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -1;
        return ns_filter_install(filter, sizeof(filter) / sizeof(filter[0]));
}
