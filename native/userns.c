/* userns.c: a container in a user namespace of its pod's.
 *
 * Whoever is in the namespace has no power outside of it: it can neither mount an overlay nor make a device, nor reach
 * the directories of nsrun. So everything that needs the host's power comes first. The child builds the rootfs as the
 * host's root, but in the name of the namespace's root (NS_OP_MAKER), from layers that show the namespace's owners
 * (NS_OP_OPEN). Then it goes in (NS_OP_USER), with a mount namespace that the user namespace owns: what is mounted
 * there before is locked, so that a container that may mount cannot take a mask away or make a read-only place
 * writable (mount_namespaces(7)).
 */
#include "child.h"
#include "cleanup.h"
#include "kernel.h"

#include <sys/prctl.h>

int ns_op_maker(struct ns_child *child, const struct ns_op *op)
{
        (void)child;
        /* Neither fails visibly; asked for nobody, they tell who it is. */
        syscall(SYS_setfsgid, (gid_t)op->b);
        syscall(SYS_setfsuid, (uid_t)op->a);
        if ((gid_t)syscall(SYS_setfsgid, (gid_t)-1) != (gid_t)op->b ||
            (uid_t)syscall(SYS_setfsuid, (uid_t)-1) != (uid_t)op->a)
                return errno = EPERM, -1;
        /* Leaving uid 0 took the capabilities that are about files. */
        return ns_caps_raise();
}

static int become_its_root(void)
{
        if (syscall(SYS_setgroups, 0, NULL) < 0)
                return -1;
        if (syscall(SYS_setresgid, 0, 0, 0) < 0 || syscall(SYS_setresuid, 0, 0, 0) < 0)
                return -1;
        return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}

int ns_op_user(struct ns_child *child, const struct ns_op *op)
{
        int fd = op->fd < 0 ? child->pause_pidfd : ns_op_fd(child, op);
        /* The working directory goes along into the copies of the mounts, a descriptor does not. */
        if (child->root_fd < 0 || fchdir(child->root_fd) < 0 || sys_setns(fd, CLONE_NEWUSER) < 0)
                return -1;
        if (become_its_root() < 0 || ns_child_arm(child) < 0 || sys_unshare((int)op->a) < 0)
                return -1;
        /* The rootfs is locked to where it is mounted; a copy of it is not, and can become the root. What is mounted
         * below stays locked. */
        CLEANUP_FD int tree_fd = sys_open_tree(AT_FDCWD, ".", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
        if (tree_fd < 0 || sys_move_mount(tree_fd, "", AT_FDCWD, ".", MOVE_MOUNT_F_EMPTY_PATH) < 0)
                return -1;
        ns_close_fd(&child->root_fd);
        child->root_fd = ns_take_fd(&tree_fd);
        return 0;
}

int ns_op_label(struct ns_child *child, const struct ns_op *op)
{
        const uint64_t resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
        /* The host's /proc, and this very task of it: the label is taken at the exec. */
        CLEANUP_FD int dir_fd = open("/proc/thread-self/attr", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (dir_fd < 0)
                return -1;
        CLEANUP_FD int fd = sys_openat2(dir_fd, ns_op_text(child, op, 0), O_WRONLY | O_CLOEXEC, 0, resolve);
        /* Kernels before 5.8 have one place for whichever module is in charge. */
        if (fd < 0 && errno == ENOENT)
                fd = sys_openat2(dir_fd, "exec", O_WRONLY | O_CLOEXEC, 0, resolve);
        return fd < 0 || write(fd, ns_op_text(child, op, 1), op->text[1].length) < 0 ? -1 : 0;
}
