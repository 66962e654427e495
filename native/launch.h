/* launch.h: from a checked plan to a process that interprets it. */
#pragma once

#include "nsrun_abi.h"

#include <stdbool.h>
#include <sys/types.h>

struct ns_launch {
        const struct ns_plan *plan; /* approved by ns_plan_check */
        const int *fds;             /* its descriptors */
        int pause_pidfd;            /* whose namespaces plan->join_namespaces are taken from */
        int target_pidfd;           /* whose namespaces NS_OP_ENTER joins; -1: nobody's */
        bool births;                /* NS_OP_BIRTH is in the plan */
        int cgroup_fd;              /* directory of the cgroup to be born in; -1: none */
        const int *procs_fds;       /* cgroup.procs files that take the pid while the child works */
        uint32_t procs_count;
        int stdio[3];
};

/* The child waits at its gate for the parent. */
static inline bool ns_launch_gated(const struct ns_launch *launch)
{
        return launch->procs_count > 0 || launch->cgroup_fd >= 0;
}

/* `control_fd` tells what becomes of the launch, by struct ns_report; it is closed by the exec. */
struct ns_process {
        pid_t pid;
        int pidfd;
        int control_fd;
};

enum ns_report_kind {
        NS_REPORT_TOLERATED = 1,
        NS_REPORT_FAILED = 2,
        NS_REPORT_EXEC =
            3, /* everything is done but the execve; what follows is its failure or the end of the stream */
        /* NS_OP_BIRTH: failure.error is the pid of who goes on, or 0 where the sender, by its credentials, is the one.
         * Both parent and child say it before they end, so whoever is reaped first is known then. */
        NS_REPORT_BORN = 4,
        NS_REPORT_TERMINAL = 5, /* with both sides of it, the shim's first */
};

struct ns_report {
        uint32_t kind;
        struct ns_failure failure;
};

/* One report of a child, without waiting, the pid of who sent it (0: not told) and both sides of a terminal (-1: none).
 * What recvmsg returns: sizeof(*report) when there was one, 0 at the end of the line. */
ssize_t ns_launch_hear(int control_fd, struct ns_report *report, int fds[2], pid_t *sender);

/* Clones the child and puts it into its cgroups while it works. On failure -1, *failure is filled and nothing is left.
 */
int ns_launch_start(const struct ns_launch *launch, struct ns_process *process, struct ns_failure *failure);
