/* creds.c: the operations that say who the process is and what it may do. */
#include "child.h"
#include "kernel.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>

int ns_op_rlimit(struct ns_child *child, const struct ns_op *op)
{
        struct rlimit asked = {.rlim_cur = op->b, .rlim_max = op->c};
        struct rlimit now;
        int resource = (int)op->a;
        if (syscall(SYS_prlimit64, 0, resource, &asked, NULL) == 0)
                return 0;
        /* Without CAP_SYS_RESOURCE, or beyond fs.nr_open: as much as there is, and say so. */
        if (errno != EPERM || syscall(SYS_prlimit64, 0, resource, NULL, &now) < 0)
                return -1;
        asked.rlim_max = asked.rlim_max < now.rlim_max ? asked.rlim_max : now.rlim_max;
        asked.rlim_cur = asked.rlim_cur < asked.rlim_max ? asked.rlim_cur : asked.rlim_max;
        if (syscall(SYS_prlimit64, 0, resource, &asked, NULL) < 0)
                return -1;
        ns_child_tolerate(child, op, EPERM);
        return 0;
}

int ns_op_keyring(struct ns_child *child, const struct ns_op *op)
{
        const char *name = op->text[0].length == 0 ? NULL : ns_op_text(child, op, 0);
        return syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name) < 0 ? -1 : 0;
}

int ns_op_groups(struct ns_child *child, const struct ns_op *op)
{
        size_t count = op->text[0].length / sizeof(uint32_t);
        return (int)syscall(SYS_setgroups, count, count == 0 ? NULL : ns_op_text(child, op, 0));
}

/* ---- capabilities ---------------------------------------------------------------------------------------------------
 */

struct capabilities {
        uint64_t effective;
        uint64_t permitted;
        uint64_t inheritable;
};

static int get_capabilities(struct capabilities *caps)
{
        struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct data[2] = {{0}};
        if (syscall(SYS_capget, &head, data) < 0)
                return -1;
        caps->effective = data[0].effective | (uint64_t)data[1].effective << 32;
        caps->permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
        caps->inheritable = data[0].inheritable | (uint64_t)data[1].inheritable << 32;
        return 0;
}

static int set_capabilities(const struct capabilities *caps)
{
        struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct data[2] = {
            {(uint32_t)caps->effective, (uint32_t)caps->permitted, (uint32_t)caps->inheritable},
            {(uint32_t)(caps->effective >> 32), (uint32_t)(caps->permitted >> 32), (uint32_t)(caps->inheritable >> 32)},
        };
        return (int)syscall(SYS_capset, &head, data);
}

int ns_caps_raise(void)
{
        struct capabilities caps;
        if (get_capabilities(&caps) < 0)
                return -1;
        caps.effective = caps.permitted;
        return set_capabilities(&caps);
}

/* The number of capabilities this kernel knows is found by asking. */
static int drop_bounding(uint64_t kept)
{
        for (unsigned long cap = 0; cap < 64; cap++) {
                int held = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);
                if (held < 0)
                        return 0;
                if (held > 0 && (kept >> cap & 1) == 0 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
                        return -1;
        }
        return 0;
}

static int raise_ambient(uint64_t wanted)
{
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
                return -1;
        for (unsigned long cap = 0; cap < 64; cap++)
                if ((wanted >> cap & 1) != 0 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0) < 0)
                        return -1;
        return 0;
}

int ns_op_caps(struct ns_child *child, const struct ns_op *op)
{
        struct capabilities now;
        if (drop_bounding(op->a) < 0 || get_capabilities(&now) < 0)
                return -1;
        /* A capability that the host withholds: with NS_TOLERATE the others are kept. */
        uint64_t missing = (op->b | op->c) & ~now.permitted;
        if (missing != 0 && (op->flags & NS_TOLERATE) == 0)
                return errno = EPERM, -1;
        struct capabilities wanted = {
            .effective = op->b & ~missing,
            .permitted = op->b & ~missing,
            .inheritable = op->c & op->b & ~missing,
        };
        if (set_capabilities(&wanted) < 0 || raise_ambient(wanted.inheritable) < 0)
                return -1;
        if (missing != 0)
                ns_child_tolerate(child, op, EPERM);
        return 0;
}

int ns_op_ids(struct ns_child *child, const struct ns_op *op)
{
        if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
                return -1;
        if (syscall(SYS_setresgid, op->b, op->b, op->b) < 0 || syscall(SYS_setresuid, op->a, op->a, op->a) < 0)
                return -1;
        /* Leaving uid 0 emptied the effective set; later operations still need it, NS_OP_CAPS decides what stays. */
        if (prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0) < 0 || ns_caps_raise() < 0)
                return -1;
        /* A change of identity may make the process dumpable (fs.suid_dumpable): not before the exec. */
        return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? -1 : ns_child_arm(child);
}

int ns_op_no_new_privs(struct ns_child *child, const struct ns_op *op)
{
        (void)child, (void)op;
        return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

int ns_op_seccomp(struct ns_child *child, const struct ns_op *op)
{
        struct sock_fprog program = {
            .len = (unsigned short)(op->text[0].length / sizeof(struct sock_filter)),
            .filter = (struct sock_filter *)(uintptr_t)ns_op_text(child, op, 0),
        };
        if (ns_child_seal(child) < 0)
                return -1;
        return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, (unsigned int)op->a, &program);
}

int ns_op_pdeathsig(struct ns_child *child, const struct ns_op *op)
{
        child->death_signal = (int)op->a;
        return ns_child_arm(child);
}

int ns_op_dumpable(struct ns_child *child, const struct ns_op *op)
{
        (void)child;
        return prctl(PR_SET_DUMPABLE, op->a, 0, 0, 0);
}
