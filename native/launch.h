/* launch.h: from a checked plan to a process that interprets it. */
#pragma once

#include "nsrun_abi.h"

#include <stdbool.h>
#include <sys/types.h>

struct ns_launch {
        const struct ns_plan *plan; /* approved by ns_plan_check */
        const int *fds;             /* its descriptors */
        int pause_pidfd;            /* whose namespaces plan->join_namespaces are taken from */
        int stdio[3];
};

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
};

struct ns_report {
        uint32_t kind;
        struct ns_failure failure;
};

/* Clones the child and puts it into its cgroups while it works. On failure -1, *failure is filled and nothing is left.
 */
int ns_launch_start(const struct ns_launch *launch, struct ns_process *process, struct ns_failure *failure);
