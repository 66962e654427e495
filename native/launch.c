/* launch.c: clone3, and what only the parent can do for the child.
 *
 * The child begins to build its rootfs at once. Writing its pid into cgroup.procs takes the kernel milliseconds, so the
 * parent does that meanwhile, and the child waits at its gate (NS_OP_GATE) only before it depends on it. On cgroup v2
 * CLONE_INTO_CGROUP makes the write unnecessary.
 */
#include "launch.h"
#include "child.h"
#include "cleanup.h"
#include "kernel.h"

#include <linux/magic.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <sys/wait.h>

static int fail(struct ns_failure *failure, uint32_t step, uint32_t index)
{
        *failure = (struct ns_failure){.step = step, .error = errno, .index = index};
        return -1;
}

/* The errors by which kernels and hosts refuse CLONE_INTO_CGROUP alone: try again without it. */
static bool cgroup_refused(int error)
{
        return error == EBADF || error == EINVAL || error == EACCES || error == EPERM || error == EBUSY ||
               error == EOPNOTSUPP || error == ENODEV || error == ENOENT;
}

static pid_t clone_child(const struct ns_launch *launch, int *pidfd, bool *into_cgroup)
{
        struct clone_args args = {
            .flags = CLONE_PIDFD | launch->plan->new_namespaces,
            .pidfd = (uint64_t)(uintptr_t)pidfd,
            .exit_signal = SIGCHLD,
        };
        *into_cgroup = launch->cgroup_fd >= 0;
        if (*into_cgroup) {
                struct clone_args with = args;
                with.flags |= CLONE_INTO_CGROUP;
                with.cgroup = (uint64_t)launch->cgroup_fd;
                pid_t pid = (pid_t)sys_clone3(&with);
                if (pid >= 0 || !cgroup_refused(errno))
                        return pid;
                *into_cgroup = false;
        }
        return (pid_t)sys_clone3(&args);
}

static size_t decimal(pid_t pid, char out[12])
{
        char digits[12];
        size_t count = 0;
        size_t length = 0;
        do
                digits[count++] = (char)('0' + pid % 10);
        while ((pid /= 10) > 0);
        while (count > 0)
                out[length++] = digits[--count];
        return length;
}

/* The cgroup that the clone could not be born in: v1's, or where v2's was refused. */
static int place_late(const struct ns_launch *launch, const char *text, size_t length, struct ns_failure *failure)
{
        CLEANUP_FD int fd = openat(launch->cgroup_fd, "cgroup.procs", O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 || write(fd, text, length) < 0 ? fail(failure, NS_STEP_PLACE, NS_NO_INDEX) : 0;
}

/* cgroup.procs of every hierarchy that the clone itself did not settle. */
static int place(const struct ns_launch *launch, pid_t pid, bool in_cgroup2, struct ns_failure *failure)
{
        char text[12];
        size_t length = decimal(pid, text);
        for (uint32_t i = 0; i < launch->procs_count; i++) {
                int fd = launch->procs_fds[i];
                struct statfs status;
                if (in_cgroup2 && fstatfs(fd, &status) == 0 && status.f_type == CGROUP2_SUPER_MAGIC)
                        continue;
                if (write(fd, text, length) < 0)
                        return fail(failure, NS_STEP_PLACE, i);
        }
        /* Last, as it may be frozen: what is frozen could not be killed for another's refusal. */
        return launch->cgroup_fd >= 0 && !in_cgroup2 ? place_late(launch, text, length, failure) : 0;
}

ssize_t ns_launch_hear(int control_fd, struct ns_report *report, int fds[2], pid_t *sender)
{
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int) * 2) + CMSG_SPACE(sizeof(struct ucred))];
        } control;
        struct iovec part = {.iov_base = report, .iov_len = sizeof(*report)};
        struct msghdr head = {
            .msg_iov = &part,
            .msg_iovlen = 1,
            .msg_control = control.bytes,
            .msg_controllen = sizeof(control.bytes),
        };
        struct ucred who = {0};
        ssize_t size = 0;
        /* The gate's byte that it did not live to read resets the line, which is told once, and before what it said. */
        do
                size = recvmsg(control_fd, &head, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        while (size < 0 && errno == ECONNRESET);
        fds[0] = fds[1] = -1;
        struct cmsghdr *extra = size < 0 ? NULL : CMSG_FIRSTHDR(&head);
        for (; extra != NULL; extra = CMSG_NXTHDR(&head, extra)) {
                if (extra->cmsg_level == SOL_SOCKET && extra->cmsg_type == SCM_RIGHTS)
                        memcpy(fds, CMSG_DATA(extra), extra->cmsg_len - CMSG_LEN(0));
                if (extra->cmsg_level == SOL_SOCKET && extra->cmsg_type == SCM_CREDENTIALS)
                        memcpy(&who, CMSG_DATA(extra), sizeof(who));
        }
        *sender = who.pid;
        return size;
}

static void destroy(pid_t pid, int pidfd)
{
        sys_pidfd_send_signal(pidfd, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                ;
}

int ns_launch_start(const struct ns_launch *launch, struct ns_process *process, struct ns_failure *failure)
{
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
                return fail(failure, NS_STEP_PIPES, NS_NO_INDEX);
        CLEANUP_FD int ours = ends[0];
        CLEANUP_FD int theirs = ends[1];
        CLEANUP_FD int pidfd = -1;
        bool in_cgroup2 = false;

        const int on = 1; /* who speaks tells its pid, too: after a birth it is another one */
        if (launch->births && setsockopt(ours, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
                return fail(failure, NS_STEP_PIPES, NS_NO_INDEX);
        pid_t pid = clone_child(launch, &pidfd, &in_cgroup2);
        if (pid == 0) {
                close(ours); /* else the child would keep its own line open when the shim dies */
                ns_child_run(launch, theirs);
        }
        if (pid < 0)
                return fail(failure, NS_STEP_CLONE, NS_NO_INDEX);
        ns_close_fd(&theirs);
        if (place(launch, pid, in_cgroup2, failure) < 0) {
                destroy(pid, pidfd);
                return -1;
        }
        /* Opens the gate. A child that is gone already has said why. */
        if (ns_launch_gated(launch))
                send(ours, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        *process = (struct ns_process){.pid = pid, .pidfd = ns_take_fd(&pidfd), .control_fd = ns_take_fd(&ours)};
        return 0;
}
