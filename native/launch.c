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
#include <sched.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/vfs.h>
#include <sys/wait.h>

enum {
        STACK_SIZE = 65536,
        AS_VFORK = CLONE_VM | CLONE_VFORK | CLONE_FILES,
};

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

struct birth {
        const struct ns_launch *launch;
        const int *line; /* both ends of it, the shim's first */
        int pidfd;
        bool in_cgroup2;
        char *stack; /* of whoever is born in the pod's process namespace */
        pid_t midwife;
        int error;
};

/* `parentage`: CLONE_PARENT, or 0. Comes back in the parent only. */
static pid_t clone_child(struct birth *birth, uint64_t parentage)
{
        const struct ns_launch *launch = birth->launch;
        struct clone_args args = {
            .flags = CLONE_PIDFD | parentage | launch->plan->new_namespaces,
            .pidfd = (uint64_t)(uintptr_t)&birth->pidfd,
            .exit_signal = parentage == 0 ? SIGCHLD : 0,
        };
        struct clone_args with = args;
        with.flags |= CLONE_INTO_CGROUP;
        with.cgroup = (uint64_t)launch->cgroup_fd;
        birth->in_cgroup2 = launch->cgroup_fd >= 0;
        pid_t pid = birth->in_cgroup2 ? (pid_t)sys_clone3(&with) : -1;
        if (pid < 0 && (!birth->in_cgroup2 || cgroup_refused(errno))) {
                birth->in_cgroup2 = false;
                pid = (pid_t)sys_clone3(&args);
        }
        if (pid == 0) {
                close(birth->line[0]); /* else the child would keep its own line open when the shim dies */
                ns_child_run(launch, birth->line[1]);
        }
        return pid;
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

static void reap(pid_t pid)
{
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                ;
}

static void destroy(pid_t pid, int pidfd)
{
        sys_pidfd_send_signal(pidfd, SIGKILL);
        reap(pid);
}

/* As the host numbers it: who clones elsewhere is told another number. */
static pid_t pid_of(int pidfd)
{
        static const char key[] = "\nPid:\t";
        char path[sizeof("/proc/self/fdinfo/") + 12] = "/proc/self/fdinfo/";
        char text[512] = "";
        size_t length = strlen(path);
        path[length + decimal(pidfd, path + length)] = 0;
        CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
                return -1;
        const char *at = strstr(text, key);
        if (at == NULL)
                return errno = EPROTO, -1;
        pid_t pid = 0;
        for (at += sizeof(key) - 1; *at >= '0' && *at <= '9'; at++)
                pid = pid * 10 + (*at - '0');
        return pid > 0 ? pid : (errno = ESRCH, -1);
}

static int in_the_pods(void *pointer)
{
        struct birth *birth = pointer;
        birth->error = clone_child(birth, CLONE_PARENT) < 0 ? errno : 0;
        return 0;
}

static int towards_the_pods(void *pointer)
{
        struct birth *birth = pointer;
        if (sys_setns(birth->launch->pause_pidfd, CLONE_NEWPID) == 0)
                birth->midwife = clone(in_the_pods, birth->stack + STACK_SIZE, AS_VFORK | CLONE_PARENT, birth);
        if (birth->midwife < 0)
                birth->error = errno;
        return 0;
}

/* Its process namespace lies in that of pause: when pause dies, as it does with the shim, the kernel kills everything
 * in there. PDEATHSIG alone would not do: a program may clear it, and the kernel does at an exec that changes ids or
 * the label of a security module (apparmor_bprm_committing_creds). A namespace can be made in one's own only, and one's
 * own is where one is born. So a first helper sets where its children are born (the shim itself could not go back from
 * there), a second is born and clones; both share the shim's memory and descriptors, and are gone before it goes on. */
static pid_t clone_nested(struct birth *birth)
{
        _Alignas(16) char stacks[2][STACK_SIZE];
        birth->stack = stacks[1];
        pid_t helper = clone(towards_the_pods, stacks[0] + STACK_SIZE, AS_VFORK | SIGCHLD, birth);
        if (helper < 0)
                return -1;
        reap(helper);
        if (birth->midwife > 0)
                reap(birth->midwife);
        if (birth->error != 0)
                return errno = birth->error, -1;
        pid_t pid = pid_of(birth->pidfd);
        if (pid < 0)
                sys_pidfd_send_signal(birth->pidfd, SIGKILL);
        return pid;
}

static bool is_nested(const struct ns_launch *launch)
{
        return launch->pause_pidfd >= 0 && (launch->plan->new_namespaces & CLONE_NEWPID) != 0;
}

int ns_launch_start(const struct ns_launch *launch, struct ns_process *process, struct ns_failure *failure)
{
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
                return fail(failure, NS_STEP_PIPES, NS_NO_INDEX);
        CLEANUP_FD int ours = ends[0];
        CLEANUP_FD int theirs = ends[1];
        struct birth birth = {.launch = launch, .line = ends, .pidfd = -1, .midwife = -1};

        const int on = 1; /* who speaks tells its pid, too: after a birth it is another one */
        if (launch->births && setsockopt(ours, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
                return fail(failure, NS_STEP_PIPES, NS_NO_INDEX);
        pid_t pid = is_nested(launch) ? clone_nested(&birth) : clone_child(&birth, 0);
        CLEANUP_FD int pidfd = birth.pidfd;
        if (pid < 0)
                return fail(failure, NS_STEP_CLONE, NS_NO_INDEX);
        ns_close_fd(&theirs);
        if (place(launch, pid, birth.in_cgroup2, failure) < 0) {
                destroy(pid, pidfd);
                return -1;
        }
        /* Opens the gate. A child that is gone already has said why. */
        if (ns_launch_gated(launch))
                send(ours, "", 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        *process = (struct ns_process){.pid = pid, .pidfd = ns_take_fd(&pidfd), .control_fd = ns_take_fd(&ours)};
        return 0;
}
