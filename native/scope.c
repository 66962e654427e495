/* scope.c: what a process may reach of others by other means than files and its network (landlock(7), Linux 6.12).
 *
 * The header of older kernels lacks the word for it.
 */
#include "child.h"
#include "cleanup.h"
#include "kernel.h"

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#endif
#ifndef SYS_landlock_restrict_self
#define SYS_landlock_restrict_self 446
#endif

/* struct landlock_ruleset_attr of Linux 6.12. */
struct ruleset {
        uint64_t handled_access_fs;
        uint64_t handled_access_net;
        uint64_t scoped;
};

/* Asks for CAP_SYS_ADMIN in its user namespace, or no_new_privs. An older kernel: E2BIG, ENOSYS, EOPNOTSUPP. */
int ns_op_scope(struct ns_child *child, const struct ns_op *op)
{
        struct ruleset rules = {.scoped = op->a};
        (void)child;
        CLEANUP_FD int fd = (int)syscall(SYS_landlock_create_ruleset, &rules, sizeof(rules), 0);
        return fd < 0 ? -1 : (int)syscall(SYS_landlock_restrict_self, fd, 0);
}
