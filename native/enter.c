/* enter.c: how a command joins a container that runs.
 *
 *   shim ── joiner: outside the process namespace; namespaces, limits, identity
 *     └──── process: born last (CLONE_PARENT), inside; nothing to do any more but its exec
 *
 * Whoever is in a process namespace can be traced by those in it who hold CAP_SYS_PTRACE, and a joiner holds more than
 * they do (CVE-2016-9962). So it stays outside, and what is born inside has no descriptor of the host's left, and where
 * the container may trace, no privilege either: the order is the plan's.
 */
#include "child.h"
#include "cleanup.h"
#include "kernel.h"

#include <sys/prctl.h>

/* Everything of the host's but stdio and the control line. */
static int close_all(struct ns_child *child)
{
        unsigned int kept = (unsigned int)child->control_fd;
        if (kept > 3 && sys_close_range(3, kept - 1, 0) < 0)
                return -1;
        if (sys_close_range(kept + 1, ~0U, 0) < 0)
                return -1;
        child->root_fd = child->null_fd = child->pause_pidfd = child->target_pidfd = -1;
        for (int slot = 0; slot < NS_PLAN_SLOTS; slot++)
                child->slots[slot] = -1;
        return 0;
}

int ns_op_enter(struct ns_child *child, const struct ns_op *op)
{
        int others = (int)op->a & ~CLONE_NEWUSER;
        if (child->target_pidfd < 0)
                return errno = EINVAL, -1;
        /* The others first: those that the host's user namespace owns could not be joined from inside. */
        if (others != 0 && sys_setns(child->target_pidfd, others) < 0)
                return -1;
        if ((op->a & CLONE_NEWUSER) != 0 && sys_setns(child->target_pidfd, CLONE_NEWUSER) < 0)
                return -1;
        if (close_all(child) < 0)
                return -1;
        child->entered = true;
        child->root_fd = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        return child->root_fd < 0 ? -1 : 0;
}

int ns_op_shut(struct ns_child *child, const struct ns_op *op)
{
        (void)op;
        return close_all(child);
}

/* A filter of system calls may be in force: nothing here asks for more than programs do. */
int ns_op_birth(struct ns_child *child, const struct ns_op *op)
{
        (void)op;
        if (!child->entered)
                return errno = EINVAL, -1;
        child->entered = false;
        if (ns_child_gate(child) < 0)
                return -1;
        ns_close_fd(&child->root_fd);
        long pid = syscall(SYS_clone, CLONE_PARENT, 0, 0, 0, 0);
        if (pid < 0)
                return -1;
        if (pid > 0) {
                ns_child_report(child, NS_REPORT_BORN, 0, (int)pid, NS_NO_INDEX);
                _exit(0);
        }
        if (ns_child_arm(child) < 0)
                return -1;
        /* Survives the exec, and goes no further down. A filter may forbid it: then daemons can get away. */
        if (child->keeps_orphans)
                prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        ns_child_report(child, NS_REPORT_BORN, 0, 0, NS_NO_INDEX);
        return 0;
}
