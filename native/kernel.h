/* kernel.h: system calls and constants that C libraries do not wrap, or wrap differently.
 *
 * Raw on purpose: glibc and musl change ids and signal masks of all threads, glibc 2.35 has no mount API, and nothing
 * here may take a lock, because most of it runs between clone3 and execve. Never include <sys/mount.h> beside this: it
 * and <linux/mount.h> define the same words.
 */
#pragma once

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

/* From 424 on, numbers are the same on every architecture we build for; old C libraries lack the youngest. */
#ifndef SYS_pidfd_send_signal
#define SYS_pidfd_send_signal 424
#endif
#ifndef SYS_open_tree
#define SYS_open_tree 428
#endif
#ifndef SYS_move_mount
#define SYS_move_mount 429
#endif
#ifndef SYS_fsopen
#define SYS_fsopen 430
#endif
#ifndef SYS_fsconfig
#define SYS_fsconfig 431
#endif
#ifndef SYS_fsmount
#define SYS_fsmount 432
#endif
#ifndef SYS_clone3
#define SYS_clone3 435
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif

#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif
#ifndef MNT_DETACH
#define MNT_DETACH 2
#endif
#ifndef UMOUNT_NOFOLLOW
#define UMOUNT_NOFOLLOW 8
#endif

enum { NS_SIGNAL_COUNT = 64, NS_SIGSET_SIZE = 8 };

/* The kernel's own sigaction for a disposition without handler: SIG_DFL and SIG_IGN need nothing but the first word. */
struct ns_kernel_sigaction {
        void (*handler)(int);
        unsigned long flags;
        void (*restorer)(void);
        uint64_t mask;
};

static inline long sys_clone3(struct clone_args *args)
{
        return syscall(SYS_clone3, args, sizeof(*args));
}

/* EAGAIN: something was renamed on this machine while ".." was being resolved, so that the kernel cannot vouch for the
 * answer; openat2(2) asks the caller to try again. */
static inline int sys_openat2(int dir_fd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
        struct open_how how = {.flags = flags, .mode = mode, .resolve = resolve};
        int fd = -1;
        for (int attempt = 0; attempt < 1000; attempt++) {
                fd = (int)syscall(SYS_openat2, dir_fd, path, &how, sizeof(how));
                if (fd >= 0 || errno != EAGAIN)
                        break;
        }
        return fd;
}

static inline int sys_open_tree(int dir_fd, const char *path, unsigned int flags)
{
        return (int)syscall(SYS_open_tree, dir_fd, path, flags);
}

static inline int sys_move_mount(int from_fd, const char *from, int to_fd, const char *to, unsigned int flags)
{
        return (int)syscall(SYS_move_mount, from_fd, from, to_fd, to, flags);
}

static inline int sys_fsopen(const char *type)
{
        return (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
}

static inline int sys_fsconfig(int fd, unsigned int command, const char *key, const void *value, int aux)
{
        return (int)syscall(SYS_fsconfig, fd, command, key, value, aux);
}

static inline int sys_fsmount(int fd, unsigned int attributes)
{
        return (int)syscall(SYS_fsmount, fd, FSMOUNT_CLOEXEC, attributes);
}

static inline int sys_mount_setattr(int dir_fd, const char *path, unsigned int flags, struct mount_attr *attributes)
{
        return (int)syscall(SYS_mount_setattr, dir_fd, path, flags, attributes, sizeof(*attributes));
}

static inline int sys_mount(const char *source, const char *target, const char *type, unsigned long flags,
                            const void *data)
{
        return (int)syscall(SYS_mount, source, target, type, flags, data);
}

static inline int sys_umount2(const char *target, int flags)
{
        return (int)syscall(SYS_umount2, target, flags);
}

static inline int sys_pivot_root(const char *new_root, const char *put_old)
{
        return (int)syscall(SYS_pivot_root, new_root, put_old);
}

static inline int sys_setns(int fd, int flags)
{
        return (int)syscall(SYS_setns, fd, flags);
}

static inline int sys_unshare(int flags)
{
        return (int)syscall(SYS_unshare, flags);
}

static inline int sys_close_range(unsigned int first, unsigned int last, unsigned int flags)
{
        return (int)syscall(SYS_close_range, first, last, flags);
}

static inline int sys_pidfd_send_signal(int pidfd, int signal)
{
        return (int)syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0);
}

static inline int sys_sigmask(uint64_t set, uint64_t *old)
{
        return (int)syscall(SYS_rt_sigprocmask, SIG_SETMASK, &set, old, NS_SIGSET_SIZE);
}

/* No handler and nothing ignored: ignored signals would survive an exec. */
static inline void sys_reset_signals(void)
{
        struct ns_kernel_sigaction fresh = {.handler = SIG_DFL};
        for (int number = 1; number <= NS_SIGNAL_COUNT; number++)
                syscall(SYS_rt_sigaction, number, &fresh, NULL, NS_SIGSET_SIZE);
}
