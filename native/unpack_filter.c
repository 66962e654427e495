/* unpack_filter.c: the system calls of a process that only fills a directory. No memory is asked for after this, no
 * process is made, nothing is executed, and no socket, mount or signal is within reach. */
#include "filter.h"
#include "kernel.h"
#include "unpack_confine.h"

/* To write a report, and to keep books on the way. */
#ifdef __SANITIZE_ADDRESS__
#define SANITIZER                                                                                                      \
        ALLOW(mmap), ALLOW(munmap), ALLOW(madvise), ALLOW(mprotect), ALLOW(getpid), ALLOW(gettid), ALLOW(readlink),    \
            ALLOW(sigaltstack), ALLOW(rt_sigprocmask), ALLOW(rt_sigaction), ALLOW(tgkill), ALLOW(sched_yield),
#else
#define SANITIZER
#endif

static const struct sock_filter filter[] = {
    FILTER_HEAD,       ALLOW(read),         ALLOW(write),
    ALLOW(openat),     ALLOW(close),        ALLOW(fchmod),
    ALLOW(fchown),     ALLOW(utimensat),    ALLOW(mkdirat),
    ALLOW(openat2),    ALLOW(fstat),        ALLOW(newfstatat),
    ALLOW(symlinkat),  ALLOW(linkat),       ALLOW(mknodat),
    ALLOW(unlinkat),   ALLOW(fchownat),     ALLOW(fchmodat),
    ALLOW(fsetxattr),  ALLOW(fremovexattr), ALLOW(lseek),
    ALLOW(ftruncate),  ALLOW(getdents64),   ALLOW(fcntl),
    ALLOW(exit_group), ALLOW(futex),        SANITIZER BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
};

int ns_filter_calls(void)
{
        return ns_filter_install(filter, sizeof(filter) / sizeof(filter[0]));
}

/* Of these the writer of files needs but a few. */
static const struct sock_filter writer_filter[] = {
    FILTER_HEAD,   ALLOW(write),     ALLOW(close), ALLOW(fchown),
    ALLOW(fchmod), ALLOW(utimensat), ALLOW(futex), SANITIZER BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
};

int ns_filter_writer_calls(void)
{
        return ns_filter_install(writer_filter, sizeof(writer_filter) / sizeof(writer_filter[0]));
}
