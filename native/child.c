/* child.c: what a container's first process does between clone3 and execve.
 *
 * It owns a copy of the shim's memory, in which nothing may be waited for or allocated: system calls only. What goes
 * wrong is told over control_fd as {step, errno, index}; the words are found by Python.
 */
#include "child.h"
#include "cleanup.h"
#include "kernel.h"

#include <linux/sched.h>
#include <poll.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>

enum { EXIT_NOT_STARTED = 127 };

typedef int (*operation)(struct ns_child *child, const struct ns_op *op);

void ns_child_report(const struct ns_child *child, uint32_t kind, uint32_t step, int error, uint32_t index)
{
        struct ns_report said = {.kind = kind, .failure = {.step = step, .error = error, .index = index}};
        /* write, as a seccomp filter may be in force already. The shim's death is the only way to fail, and then nobody
         * asks. */
        ssize_t written = write(child->control_fd, &said, sizeof(said));
        (void)written;
}

static _Noreturn void give_up(const struct ns_child *child, uint32_t step, uint32_t index)
{
        ns_child_report(child, NS_REPORT_FAILED, step, errno, index);
        _exit(EXIT_NOT_STARTED);
}

void ns_child_tolerate(struct ns_child *child, const struct ns_op *op, int error)
{
        if (child->tolerated++ < NS_MAX_TOLERATED)
                ns_child_report(child, NS_REPORT_TOLERATED, op->kind, error, (uint32_t)(op - ns_plan_ops(child->plan)));
}

int ns_child_arm(const struct ns_child *child)
{
        if (prctl(PR_SET_PDEATHSIG, child->death_signal, 0, 0, 0) < 0)
                return -1;
        /* Had the shim died just before, no signal would come: but its end of the line is closed then. */
        struct pollfd line = {.fd = child->control_fd, .events = 0};
        if (poll(&line, 1, 0) > 0 && (line.revents & POLLHUP) != 0)
                return errno = EPIPE, -1;
        return 0;
}

int ns_child_seal(struct ns_child *child)
{
        if (child->sealed)
                return 0;
        if (sys_close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
                return -1;
        umask(child->umask);
        child->sealed = true;
        return 0;
}

/* ---- operations that belong neither to mounts nor to identity -------------------------------------------------------
 */

int ns_child_gate(struct ns_child *child)
{
        char byte = 0;
        if (child->gate_passed)
                return 0;
        ssize_t got = 0;
        do
                got = read(child->control_fd, &byte, 1);
        while (got < 0 && errno == EINTR);
        if (got != 1)
                return errno = EPIPE, -1;
        child->gate_passed = true;
        return 0;
}

static int op_gate(struct ns_child *child, const struct ns_op *op)
{
        (void)op;
        return ns_child_gate(child);
}

static int op_unshare(struct ns_child *child, const struct ns_op *op)
{
        (void)child;
        return sys_unshare((int)op->a);
}

static int op_join(struct ns_child *child, const struct ns_op *op)
{
        int fd = ns_op_fd(child, op);
        if (sys_setns(fd, (int)op->a) < 0)
                return -1;
        child->entered = child->entered || (op->a & CLONE_NEWPID) != 0;
        return 0;
}

static int op_hostname(struct ns_child *child, const struct ns_op *op)
{
        return (int)syscall(SYS_sethostname, ns_op_text(child, op, 0), op->text[0].length);
}

static int write_once(int dir_fd, const char *path, const char *text, size_t length)
{
        const uint64_t resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
        CLEANUP_FD int fd = sys_openat2(dir_fd, path, O_WRONLY | O_CLOEXEC, 0, resolve);
        return fd < 0 || write(fd, text, length) < 0 ? -1 : 0;
}

/* The host's /proc, before the pivot: the container's may hold anything. */
static int op_sysctl(struct ns_child *child, const struct ns_op *op)
{
        CLEANUP_FD int dir_fd = open("/proc/sys", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (dir_fd < 0)
                return -1;
        return write_once(dir_fd, ns_op_text(child, op, 0), ns_op_text(child, op, 1), op->text[1].length);
}

static int op_oom_score(struct ns_child *child, const struct ns_op *op)
{
        char text[8];
        size_t at = sizeof(text);
        int64_t score = (int64_t)op->a;
        uint64_t rest = score < 0 ? (uint64_t)-score : (uint64_t)score;
        (void)child;
        if (rest > 1000)
                return errno = EINVAL, -1;
        do
                text[--at] = (char)('0' + rest % 10);
        while ((rest /= 10) > 0);
        if (score < 0)
                text[--at] = '-';
        CLEANUP_FD int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
        return fd < 0 || write(fd, text + at, sizeof(text) - at) < 0 ? -1 : 0;
}

static int op_setsid(struct ns_child *child, const struct ns_op *op)
{
        (void)child;
        if (setsid() < 0)
                return -1;
        return op->a != 0 ? ioctl(0, TIOCSCTTY, 0) : 0;
}

static int op_umask(struct ns_child *child, const struct ns_op *op)
{
        child->umask = (mode_t)op->a & 0777;
        return 0;
}

/* ---- exec
 * ------------------------------------------------------------------------------------------------------------ */

/* A list of the plan as execve wants it. */
static void fill(const struct ns_plan *plan, struct ns_text list, const char **out)
{
        const char *item = list.length == 0 ? NULL : ns_plan_text(plan, list);
        for (; item != NULL; item = ns_plan_next(plan, list, item))
                *out++ = item;
        *out = NULL;
}

/* What has to be true of every program, whatever its plan says. */
static int last_things(struct ns_child *child)
{
        if (ns_child_gate(child) < 0 || ns_child_seal(child) < 0)
                return -1;
        ns_child_report(child, NS_REPORT_EXEC, 0, 0, NS_NO_INDEX);
        return 0;
}

static int op_exec(struct ns_child *child, const struct ns_op *op)
{
        const char *argv[NS_PLAN_MAX_STRINGS + 1];
        const char *envp[NS_PLAN_MAX_STRINGS + 1];
        int told = ENOENT;
        fill(child->plan, op->text[1], argv);
        fill(child->plan, op->text[2], envp);
        if (last_things(child) < 0)
                return -1;
        const char *path = ns_op_text(child, op, 0);
        for (; path != NULL; path = ns_plan_next(child->plan, op->text[0], path)) {
                execve(path, (char *const *)(uintptr_t)argv, (char *const *)(uintptr_t)envp);
                if (errno != ENOENT && errno != ENOTDIR && errno != EACCES)
                        return -1;
                if (errno == EACCES)
                        told = EACCES;
        }
        return errno = told, -1;
}

static int op_exec_fd(struct ns_child *child, const struct ns_op *op)
{
        const char *argv[NS_PLAN_MAX_STRINGS + 1];
        const char *envp[NS_PLAN_MAX_STRINGS + 1];
        int fd = ns_op_fd(child, op);
        fill(child->plan, op->text[1], argv);
        fill(child->plan, op->text[2], envp);
        if (last_things(child) < 0)
                return -1;
        return (int)syscall(SYS_execveat, fd, "", argv, envp, AT_EMPTY_PATH);
}

/* ---- the interpreter
 * ------------------------------------------------------------------------------------------------- */

static const operation operations[NS_OP_LAST] = {
    [NS_OP_PRIVATE] = ns_op_private,
    [NS_OP_OPEN] = ns_op_open,
    [NS_OP_OVERLAY] = ns_op_overlay,
    [NS_OP_ROOT] = ns_op_root,
    [NS_OP_FS] = ns_op_fs,
    [NS_OP_BIND] = ns_op_bind,
    [NS_OP_MKDIR] = ns_op_mkdir,
    [NS_OP_MKNOD] = ns_op_mknod,
    [NS_OP_DEVICE] = ns_op_device,
    [NS_OP_ATTACH] = ns_op_attach,
    [NS_OP_SYMLINK] = ns_op_symlink,
    [NS_OP_MASK] = ns_op_mask,
    [NS_OP_READONLY] = ns_op_readonly,
    [NS_OP_ROOT_READONLY] = ns_op_root_readonly,
    [NS_OP_PIVOT] = ns_op_pivot,
    [NS_OP_EMPTY_ROOT] = ns_op_empty_root,
    [NS_OP_SANDBOX_TREE] = ns_op_sandbox_tree,
    [NS_OP_TERMINAL] = ns_op_terminal,
    [NS_OP_MAKER] = ns_op_maker,
    [NS_OP_SHUT] = ns_op_shut,
    [NS_OP_USER] = ns_op_user,
    [NS_OP_LABEL] = ns_op_label,
    [NS_OP_GATE] = op_gate,
    [NS_OP_UNSHARE] = op_unshare,
    [NS_OP_HOSTNAME] = op_hostname,
    [NS_OP_SYSCTL] = op_sysctl,
    [NS_OP_RLIMIT] = ns_op_rlimit,
    [NS_OP_OOM_SCORE] = op_oom_score,
    [NS_OP_SETSID] = op_setsid,
    [NS_OP_KEYRING] = ns_op_keyring,
    [NS_OP_UMASK] = op_umask,
    [NS_OP_GROUPS] = ns_op_groups,
    [NS_OP_IDS] = ns_op_ids,
    [NS_OP_CAPS] = ns_op_caps,
    [NS_OP_NO_NEW_PRIVS] = ns_op_no_new_privs,
    [NS_OP_SCOPE] = ns_op_scope,
    [NS_OP_SECCOMP] = ns_op_seccomp,
    [NS_OP_PDEATHSIG] = ns_op_pdeathsig,
    [NS_OP_CWD] = ns_op_cwd,
    [NS_OP_DUMPABLE] = ns_op_dumpable,
    [NS_OP_JOIN] = op_join,
    [NS_OP_ENTER] = ns_op_enter,
    [NS_OP_BIRTH] = ns_op_birth,
    [NS_OP_EXEC] = op_exec,
    [NS_OP_EXEC_FD] = op_exec_fd,
};

/* Nothing of the shim's, and before that of the supervisor's, is left on this process when its plan begins. No signal
 * is ignored: the shim ignores none, it blocks them. */
static int prepare(const struct ns_child *child, const int stdio[3])
{
        if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || ns_child_arm(child) < 0)
                return -1;
        for (int fd = 0; fd < 3; fd++)
                if (stdio[fd] != fd && dup2(stdio[fd], fd) < 0)
                        return -1;
        /* Not closed yet: the plan uses some. None survives the exec. */
        if (sys_close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
                return -1;
        umask(0);
        return sys_sigmask(0, NULL);
}

_Noreturn void ns_child_run(const struct ns_launch *launch, int control_fd)
{
        struct ns_child child = {
            .plan = launch->plan,
            .fds = launch->fds,
            .control_fd = control_fd,
            .pause_pidfd = launch->pause_pidfd,
            .target_pidfd = launch->target_pidfd,
            .root_fd = -1,
            .null_fd = -1,
            .death_signal = SIGKILL,
            .umask = 022,
            .gate_passed = !ns_launch_gated(launch),
            .keeps_orphans = launch->target_pidfd >= 0 && launch->cgroup_fd < 0,
        };
        for (int slot = 0; slot < NS_PLAN_SLOTS; slot++)
                child.slots[slot] = -1;
        if (prepare(&child, launch->stdio) < 0)
                give_up(&child, NS_STEP_CHILD, NS_NO_INDEX);
        if (launch->plan->join_namespaces != 0 &&
            sys_setns(launch->pause_pidfd, (int)launch->plan->join_namespaces) < 0)
                give_up(&child, NS_STEP_JOIN, NS_NO_INDEX);

        const struct ns_op *ops = ns_plan_ops(launch->plan);
        for (uint32_t i = 0; i < launch->plan->op_count; i++) {
                if (operations[ops[i].kind](&child, &ops[i]) == 0)
                        continue;
                if ((ops[i].flags & NS_TOLERATE) == 0)
                        give_up(&child, ops[i].kind, i);
                ns_child_tolerate(&child, &ops[i], errno);
        }
        errno = EINVAL; /* a checked plan ends with an exec */
        give_up(&child, NS_STEP_PLAN, NS_NO_INDEX);
}
