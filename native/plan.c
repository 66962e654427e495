/* plan.c: is a launch plan well formed? Shared by the extension, the shim and the fuzzer.
 *
 * Whoever made the plan, every offset, length, index and count in it is checked here, once, before anything is done.
 * What passes can be interpreted without another check of bounds.
 */
#include "plan.h"

#include <errno.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <string.h>

/* What an operation's text may be. */
enum text_rule {
        NO_TEXT,
        STRING,    /* not empty, one NUL at its end */
        OPTIONAL,  /* a string, or nothing */
        LIST,      /* items, or none */
        SOME_LIST, /* one item or more */
        GIDS,      /* uint32_t, or none */
        FILTER,    /* struct sock_filter, 1 to 4096 of them */
};

enum fd_rule { NO_FD, NEEDS_FD, MAY_FD };

struct rule {
        bool known;
        enum fd_rule fd;
        enum text_rule text[3];
        uint64_t namespaces; /* the operation would change the host's own, were one of these not the child's */
};

enum { FILTER_SIZE = 8, FILTER_MAX = 4096 };

#define MOUNTS CLONE_NEWNS

static const struct rule rules[NS_OP_LAST] = {
    [NS_OP_PRIVATE] = {true, NO_FD, {NO_TEXT}, MOUNTS},
    [NS_OP_OPEN] = {true, MAY_FD, {STRING}, MOUNTS},
    [NS_OP_OVERLAY] = {true, NO_FD, {STRING, STRING}, MOUNTS},
    [NS_OP_ROOT] = {true, MAY_FD, {OPTIONAL}, MOUNTS},
    [NS_OP_FS] = {true, NO_FD, {STRING, LIST, STRING}, MOUNTS},
    [NS_OP_BIND] = {true, NEEDS_FD, {STRING}, MOUNTS},
    [NS_OP_MKDIR] = {true, NO_FD, {STRING}, MOUNTS},
    [NS_OP_MKNOD] = {true, NO_FD, {STRING}, MOUNTS},
    [NS_OP_SYMLINK] = {true, NO_FD, {STRING, STRING}, MOUNTS},
    [NS_OP_MASK] = {true, NO_FD, {STRING, OPTIONAL}, MOUNTS},
    [NS_OP_READONLY] = {true, NO_FD, {STRING}, MOUNTS},
    [NS_OP_ROOT_READONLY] = {true, NO_FD, {NO_TEXT}, MOUNTS},
    [NS_OP_PIVOT] = {true, NO_FD, {NO_TEXT}, MOUNTS},
    [NS_OP_EMPTY_ROOT] = {true, NO_FD, {STRING, LIST}, MOUNTS},
    [NS_OP_SANDBOX_TREE] = {true, NO_FD, {STRING}, MOUNTS},
    [NS_OP_TERMINAL] = {true, NO_FD, {NO_TEXT}, MOUNTS},
    [NS_OP_SHUT] = {true, NO_FD, {NO_TEXT}, 0},
    [NS_OP_MAKER] = {true, NO_FD, {NO_TEXT}, MOUNTS},
    [NS_OP_USER] = {true, MAY_FD, {NO_TEXT}, MOUNTS},
    [NS_OP_LABEL] = {true, NO_FD, {STRING, STRING}, 0},
    [NS_OP_DEVICE] = {true, NO_FD, {STRING, STRING}, MOUNTS},
    [NS_OP_ATTACH] = {true, NEEDS_FD, {STRING}, MOUNTS},
    [NS_OP_GATE] = {true, NO_FD, {NO_TEXT}, 0},
    [NS_OP_UNSHARE] = {true, NO_FD, {NO_TEXT}, 0},
    [NS_OP_HOSTNAME] = {true, NO_FD, {STRING}, CLONE_NEWUTS},
    [NS_OP_SYSCTL] = {true, NO_FD, {STRING, STRING}, CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS},
    [NS_OP_RLIMIT] = {true, NO_FD, {NO_TEXT}, 0},
    [NS_OP_OOM_SCORE] = {true, NO_FD, {NO_TEXT}, 0},
    [NS_OP_SETSID] = {true, NO_FD, {NO_TEXT}, 0},
    [NS_OP_KEYRING] = {true, NO_FD, {OPTIONAL}, 0},
    [NS_OP_UMASK] = {true, NO_FD, {NO_TEXT}, 0},
    [NS_OP_GROUPS] = {true, NO_FD, {GIDS}, 0},
    [NS_OP_IDS] = {true, NO_FD, {NO_TEXT}, 0},
    [NS_OP_CAPS] = {true, NO_FD, {NO_TEXT}, 0},
    [NS_OP_NO_NEW_PRIVS] = {true, NO_FD, {NO_TEXT}, 0},
    [NS_OP_SCOPE] = {true, NO_FD, {NO_TEXT}, 0},
    [NS_OP_SECCOMP] = {true, NO_FD, {FILTER}, 0},
    [NS_OP_PDEATHSIG] = {true, NO_FD, {NO_TEXT}, 0},
    [NS_OP_CWD] = {true, NO_FD, {STRING}, MOUNTS},
    [NS_OP_DUMPABLE] = {true, NO_FD, {NO_TEXT}, 0},
    [NS_OP_JOIN] = {true, NEEDS_FD, {NO_TEXT}, 0},
    [NS_OP_ENTER] = {true, NO_FD, {NO_TEXT}, 0},
    [NS_OP_BIRTH] = {true, NO_FD, {NO_TEXT}, 0},
    [NS_OP_EXEC] = {true, NO_FD, {SOME_LIST, SOME_LIST, LIST}, 0},
    [NS_OP_EXEC_FD] = {true, NEEDS_FD, {NO_TEXT, SOME_LIST, LIST}, 0},
};

static const uint64_t can_enter =
    CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWCGROUP | CLONE_NEWUSER;

/* The plan while it is being checked. */
struct reader {
        const struct ns_plan *plan;
        uint64_t data_start;
        uint64_t namespaces; /* the child's own: new, joined from the sandbox or by NS_OP_JOIN so far */
        uint64_t filled[NS_PLAN_SLOTS / 64];
};

const char *ns_plan_next(const struct ns_plan *plan, struct ns_text list, const char *item)
{
        const char *end = (const char *)plan + list.offset + list.length;
        const char *next = item + strlen(item) + 1;
        return next < end ? next : NULL;
}

int ns_plan_reference(const char *at, unsigned int *number)
{
        int length = 1;
        *number = 0;
        while (at[length] >= '0' && at[length] <= '9') {
                *number = *number * 10 + (unsigned int)(at[length] - '0');
                length++;
                if (*number >= NS_PLAN_SLOTS)
                        return -1;
        }
        return length > 1 ? length : -1;
}

static bool slot_filled(const struct reader *reader, uint64_t slot)
{
        return slot < NS_PLAN_SLOTS && (reader->filled[slot / 64] >> (slot % 64) & 1) != 0;
}

static bool index_valid(const struct reader *reader, int32_t index)
{
        if (index < 0)
                return false;
        if ((uint32_t)index < reader->plan->fd_count)
                return true;
        return slot_filled(reader, (uint64_t)index - reader->plan->fd_count);
}

/* How many items a list has; its last byte is known to be NUL. */
static uint32_t list_count(const char *start, uint32_t length)
{
        uint32_t count = 0;
        for (uint32_t at = 0; at < length; at++)
                count += start[at] == '\0';
        return count;
}

static bool text_valid(const struct reader *reader, struct ns_text text, enum text_rule rule)
{
        uint64_t end = (uint64_t)text.offset + text.length;
        if (text.length == 0)
                return text.offset == 0 && rule != STRING && rule != SOME_LIST && rule != FILTER;
        if (rule == NO_TEXT || text.offset < reader->data_start || end >= reader->plan->size)
                return false;
        const char *start = (const char *)reader->plan + text.offset;
        if (start[text.length] != '\0')
                return false;
        switch (rule) {
        case STRING:
        case OPTIONAL:
                return memchr(start, '\0', text.length) == NULL;
        case LIST:
        case SOME_LIST:
                return start[text.length - 1] == '\0' && list_count(start, text.length) <= NS_PLAN_MAX_STRINGS;
        case GIDS:
                return text.length % sizeof(uint32_t) == 0;
        case FILTER:
                return text.length % FILTER_SIZE == 0 && text.length / FILTER_SIZE <= FILTER_MAX;
        case NO_TEXT:
                break;
        }
        return false;
}

static bool fds_valid(const struct reader *reader, const struct ns_op *op, enum fd_rule rule)
{
        if (op->fd2 != -1)
                return false;
        if (op->fd == -1)
                return rule != NEEDS_FD;
        return rule != NO_FD && index_valid(reader, op->fd);
}

/* Every "%<n>" of an overlay's options stands for a slot that has been filled. */
static bool references_valid(const struct reader *reader, const char *options)
{
        unsigned int slot = 0;
        for (const char *at = strchr(options, '%'); at != NULL; at = strchr(at + 1, '%'))
                if (ns_plan_reference(at, &slot) < 0 || !slot_filled(reader, slot))
                        return false;
        return true;
}

static bool starts_with(const char *text, const char *start)
{
        return strncmp(text, start, strlen(start)) == 0;
}

/* The namespace that a parameter belongs to, 0 for those of the whole machine: as nsrun/model/sysctls.py has it. */
static uint64_t sysctl_namespace(const char *path)
{
        if (starts_with(path, "net/"))
                return CLONE_NEWNET;
        if (starts_with(path, "kernel/shm") || starts_with(path, "kernel/msg") || strcmp(path, "kernel/sem") == 0 ||
            starts_with(path, "fs/mqueue/"))
                return CLONE_NEWIPC;
        return 0;
}

/* A parameter of a namespace that is not the host's, by a path that leads nowhere else. */
static bool sysctl_valid(const struct reader *reader, const char *path)
{
        return strstr(path, "..") == NULL && (sysctl_namespace(path) & reader->namespaces) != 0;
}

static bool label_valid(const char *attribute)
{
        return strcmp(attribute, "exec") == 0 || strcmp(attribute, "apparmor/exec") == 0;
}

/* Its mounts, and what else a user namespace may own. */
static bool user_valid(const struct ns_op *op)
{
        const uint64_t may_own = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
        return (op->a & CLONE_NEWNS) != 0 && (op->a & ~may_own) == 0;
}

/* What one kind asks beyond its rule, and what later operations may count on after it. */
static bool kind_valid(struct reader *reader, const struct ns_op *op)
{
        if (op->kind == NS_OP_OPEN || op->kind == NS_OP_SANDBOX_TREE) {
                if (op->c >= NS_PLAN_SLOTS || slot_filled(reader, op->c))
                        return false;
                reader->filled[op->c / 64] |= UINT64_C(1) << (op->c % 64);
        }
        if (op->kind == NS_OP_OVERLAY)
                return references_valid(reader, ns_plan_text(reader->plan, op->text[1]));
        if (op->kind == NS_OP_SYSCTL)
                return sysctl_valid(reader, ns_plan_text(reader->plan, op->text[0]));
        if (op->kind == NS_OP_LABEL)
                return label_valid(ns_plan_text(reader->plan, op->text[0]));
        if (op->kind == NS_OP_USER && !user_valid(op))
                return false;
        if (op->kind == NS_OP_SECCOMP)
                return (op->a & ~(uint64_t)(SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW)) == 0;
        if (op->kind == NS_OP_ROOT)
                return (op->fd >= 0) != (op->text[0].length > 0);
        if (op->kind == NS_OP_ENTER && (op->a == 0 || (op->a & ~can_enter) != 0))
                return false;
        if (op->kind == NS_OP_JOIN || op->kind == NS_OP_UNSHARE || op->kind == NS_OP_ENTER || op->kind == NS_OP_USER)
                reader->namespaces |= op->a;
        return true;
}

static bool op_valid(struct reader *reader, const struct ns_op *op, bool last)
{
        if (op->kind >= NS_OP_LAST || !rules[op->kind].known)
                return false;
        const struct rule *rule = &rules[op->kind];
        bool ends = op->kind == NS_OP_EXEC || op->kind == NS_OP_EXEC_FD;
        if (ends != last || (op->flags & ~(uint32_t)NS_TOLERATE) != 0 || (ends && op->flags != 0))
                return false;
        if (op->reserved[0] != 0 || op->reserved[1] != 0)
                return false;
        if (rule->namespaces != 0 && (rule->namespaces & reader->namespaces) == 0)
                return false;
        for (int i = 0; i < 3; i++)
                if (!text_valid(reader, op->text[i], rule->text[i]))
                        return false;
        return fds_valid(reader, op, rule->fd) && kind_valid(reader, op);
}

static bool placement_valid(const struct ns_plan *plan)
{
        if (plan->cgroup_fd < -1 || (plan->cgroup_fd >= 0 && (uint32_t)plan->cgroup_fd >= plan->fd_count))
                return false;
        if (plan->procs_count > NS_MAX_CGROUPS)
                return false;
        for (uint32_t i = 0; i < plan->procs_count; i++)
                if (plan->procs_fd[i] < 0 || (uint32_t)plan->procs_fd[i] >= plan->fd_count)
                        return false;
        return true;
}

static bool head_valid(const struct ns_plan *plan, uint64_t size, uint32_t fd_count)
{
        const uint64_t can_make =
            CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWPID | CLONE_NEWCGROUP;
        const uint64_t can_join = CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET;
        if (plan->magic != NS_PLAN_MAGIC || plan->version != NS_PLAN_VERSION || plan->size != size ||
            plan->reserved != 0)
                return false;
        if (plan->op_count == 0 || plan->op_count > NS_PLAN_MAX_OPS)
                return false;
        if (sizeof(*plan) + (uint64_t)plan->op_count * sizeof(struct ns_op) > size)
                return false;
        if (plan->fd_count != fd_count || fd_count > NS_PLAN_MAX_FDS)
                return false;
        if ((plan->new_namespaces & ~can_make) != 0 || (plan->join_namespaces & ~can_join) != 0)
                return false;
        for (int i = 0; i < 4; i++)
                if (plan->spare[i] != 0)
                        return false;
        return (plan->new_namespaces & plan->join_namespaces) == 0 && placement_valid(plan);
}

int ns_plan_check(const void *data, uint64_t size, uint32_t fd_count, struct ns_failure *failure)
{
        const struct ns_plan *plan = data;
        *failure = (struct ns_failure){.step = NS_STEP_PLAN, .error = EINVAL, .index = NS_NO_INDEX};
        if ((uintptr_t)data % _Alignof(struct ns_plan) != 0 || size < sizeof(*plan) || size > NS_PLAN_MAX_SIZE)
                return -EINVAL;
        if (!head_valid(plan, size, fd_count))
                return -EINVAL;

        struct reader reader = {
            .plan = plan,
            .data_start = sizeof(*plan) + (uint64_t)plan->op_count * sizeof(struct ns_op),
            .namespaces = plan->new_namespaces | plan->join_namespaces,
        };
        for (uint32_t i = 0; i < plan->op_count; i++) {
                if (op_valid(&reader, &ns_plan_ops(plan)[i], i == plan->op_count - 1))
                        continue;
                failure->index = i;
                return -EINVAL;
        }
        *failure = (struct ns_failure){0};
        return 0;
}
