/* child.h: the process between clone3 and execve, while it interprets its plan.
 *
 * Everything reached from here is async-signal-safe: system calls and plain memory. Each operation returns 0, or -1
 * with errno.
 */
#pragma once

#include "launch.h"
#include "plan.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct ns_child {
        const struct ns_plan *plan;
        const int *fds;   /* plan->fd_count of them */
        int control_fd;   /* reports go out, the gate's byte comes in; the shim's death is a hang-up */
        int pause_pidfd;  /* the sandbox, -1 when there is none */
        int target_pidfd; /* the container to enter, -1 when there is none */
        int root_fd;      /* the rootfs; -1 before NS_OP_ROOT */
        int null_fd;      /* the host's /dev/null, verified; -1 until first needed */
        int death_signal; /* a change of ids clears it in the kernel: armed again after it */
        mode_t umask;     /* of the program; while the plan runs it is 0 */
        bool gate_passed;
        bool sealed;
        bool entered;             /* a process namespace was joined, and NS_OP_BIRTH was not done */
        bool keeps_orphans;       /* no cgroup holds together what the program will start */
        uint32_t tolerated;       /* how many failures were */
        int slots[NS_PLAN_SLOTS]; /* -1 until NS_OP_OPEN fills it */
};

/* Never returns. */
_Noreturn void ns_child_run(const struct ns_launch *launch, int control_fd);

static inline const char *ns_op_text(const struct ns_child *child, const struct ns_op *op, int which)
{
        return ns_plan_text(child->plan, op->text[which]);
}

/* The descriptor that op->fd names: of those that came with the plan, or one that NS_OP_OPEN opened. */
static inline int ns_op_fd(const struct ns_child *child, const struct ns_op *op)
{
        uint32_t index = (uint32_t)op->fd;
        return index < child->plan->fd_count ? child->fds[index] : child->slots[index - child->plan->fd_count];
}

/* Reports a failure that does not stop the launch. */
void ns_child_tolerate(struct ns_child *child, const struct ns_op *op, int error);

/* Sets the parent-death signal, and fails with EPIPE when the parent is dead already. */
int ns_child_arm(const struct ns_child *child);

/* Waits until the parent has put this process where it belongs. */
int ns_child_gate(struct ns_child *child);

/* Tells the shim: enum ns_report_kind. */
void ns_child_report(const struct ns_child *child, uint32_t kind, uint32_t step, int error, uint32_t index);

/* The program will inherit no descriptor but 0 to 2, and its umask. Once, and before a filter of system calls is
 * loaded: that need only let through what a program does, and little else. */
int ns_child_seal(struct ns_child *child);

/* What was lost with an id is effective again. */
int ns_caps_raise(void);

/* One per kind of operation, in mount.c … */
int ns_op_private(struct ns_child *child, const struct ns_op *op);
int ns_op_open(struct ns_child *child, const struct ns_op *op);
int ns_op_overlay(struct ns_child *child, const struct ns_op *op);
int ns_op_root(struct ns_child *child, const struct ns_op *op);
int ns_op_fs(struct ns_child *child, const struct ns_op *op);
int ns_op_bind(struct ns_child *child, const struct ns_op *op);
int ns_op_mkdir(struct ns_child *child, const struct ns_op *op);
int ns_op_mknod(struct ns_child *child, const struct ns_op *op);
int ns_op_device(struct ns_child *child, const struct ns_op *op);
int ns_op_attach(struct ns_child *child, const struct ns_op *op);
int ns_op_symlink(struct ns_child *child, const struct ns_op *op);
int ns_op_mask(struct ns_child *child, const struct ns_op *op);
int ns_op_readonly(struct ns_child *child, const struct ns_op *op);
int ns_op_root_readonly(struct ns_child *child, const struct ns_op *op);
int ns_op_pivot(struct ns_child *child, const struct ns_op *op);
int ns_op_empty_root(struct ns_child *child, const struct ns_op *op);
int ns_op_sandbox_tree(struct ns_child *child, const struct ns_op *op);
int ns_op_cwd(struct ns_child *child, const struct ns_op *op);
/* … in terminal.c … */
int ns_op_terminal(struct ns_child *child, const struct ns_op *op);
/* … in enter.c … */
int ns_op_enter(struct ns_child *child, const struct ns_op *op);
int ns_op_shut(struct ns_child *child, const struct ns_op *op);
int ns_op_birth(struct ns_child *child, const struct ns_op *op);
/* … in userns.c */
int ns_op_maker(struct ns_child *child, const struct ns_op *op);
int ns_op_user(struct ns_child *child, const struct ns_op *op);
int ns_op_label(struct ns_child *child, const struct ns_op *op);
/* … and in creds.c */
int ns_op_rlimit(struct ns_child *child, const struct ns_op *op);
int ns_op_keyring(struct ns_child *child, const struct ns_op *op);
int ns_op_groups(struct ns_child *child, const struct ns_op *op);
int ns_op_ids(struct ns_child *child, const struct ns_op *op);
int ns_op_caps(struct ns_child *child, const struct ns_op *op);
int ns_op_no_new_privs(struct ns_child *child, const struct ns_op *op);
int ns_op_scope(struct ns_child *child, const struct ns_op *op);
int ns_op_seccomp(struct ns_child *child, const struct ns_op *op);
int ns_op_pdeathsig(struct ns_child *child, const struct ns_op *op);
int ns_op_dumpable(struct ns_child *child, const struct ns_op *op);
