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

static pid_t clone_child(const struct ns_plan *plan, const int *fds, int *pidfd, bool *into_cgroup)
{
        struct clone_args args = {
            .flags = CLONE_PIDFD | plan->new_namespaces,
            .pidfd = (uint64_t)(uintptr_t)pidfd,
            .exit_signal = SIGCHLD,
        };
        *into_cgroup = plan->cgroup_fd >= 0;
        if (*into_cgroup) {
                struct clone_args with = args;
                with.flags |= CLONE_INTO_CGROUP;
                with.cgroup = (uint64_t)fds[plan->cgroup_fd];
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

/* cgroup.procs of every hierarchy that the clone itself did not settle. */
static int place(const struct ns_launch *launch, pid_t pid, bool in_cgroup2, struct ns_failure *failure)
{
        char text[12];
        size_t length = decimal(pid, text);
        for (uint32_t i = 0; i < launch->plan->procs_count; i++) {
                int fd = launch->fds[launch->plan->procs_fd[i]];
                struct statfs status;
                if (in_cgroup2 && fstatfs(fd, &status) == 0 && status.f_type == CGROUP2_SUPER_MAGIC)
                        continue;
                if (write(fd, text, length) < 0)
                        return fail(failure, NS_STEP_PLACE, i);
        }
        return 0;
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

        pid_t pid = clone_child(launch->plan, launch->fds, &pidfd, &in_cgroup2);
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
        if (launch->plan->procs_count > 0)
                send(ours, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        *process = (struct ns_process){.pid = pid, .pidfd = ns_take_fd(&pidfd), .control_fd = ns_take_fd(&ours)};
        return 0;
}
