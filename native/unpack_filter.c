/* unpack_filter.c: the system calls of a process that only fills a directory. No memory is asked for after this, no
 * process is made, nothing is executed, and no socket, mount or signal is within reach. */
#include "kernel.h"
#include "unpack_confine.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define ARCHITECTURE AUDIT_ARCH_RISCV64
#else
#error "the numbers of system calls are not known here"
#endif

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define ALLOW(name) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_##name, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)

/* Numbers of x32 have bit 30, and so are none of these. */
static const struct sock_filter filter[] = {
    LOAD(arch),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    LOAD(nr),
    ALLOW(read),
    ALLOW(write),
    ALLOW(openat),
    ALLOW(close),
    ALLOW(fchmod),
    ALLOW(fchown),
    ALLOW(utimensat),
    ALLOW(mkdirat),
    ALLOW(openat2),
    ALLOW(fstat),
    ALLOW(newfstatat),
    ALLOW(symlinkat),
    ALLOW(linkat),
    ALLOW(mknodat),
    ALLOW(unlinkat),
    ALLOW(fchownat),
    ALLOW(fchmodat),
    ALLOW(fsetxattr),
    ALLOW(fremovexattr),
    ALLOW(lseek),
    ALLOW(ftruncate),
    ALLOW(getdents64),
    ALLOW(fcntl),
    ALLOW(exit_group),
#ifdef __SANITIZE_ADDRESS__
    /* To write a report, and to keep books on the way. */
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
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
};

int ns_filter_calls(void)
{
        struct sock_fprog program = {
            .len = sizeof(filter) / sizeof(filter[0]),
            .filter = (struct sock_filter *)(uintptr_t)filter,
        };
        return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}
