/* mount.c: the operations that build a rootfs and enter it.
 *
 * Mounts are made detached and complete (attributes first), then moved onto a descriptor: there is no moment at which a
 * half-protected mount can be seen, and no path that could lead elsewhere when it is used.
 */
#include "child.h"
#include "cleanup.h"
#include "expand.h"
#include "idmap.h"
#include "kernel.h"
#include "rootfs.h"

#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

static int replace(int *place, int fd)
{
        if (fd < 0)
                return -1;
        ns_close_fd(place);
        *place = fd;
        return 0;
}

/* Puts a detached mount on what target_fd stands for. */
static int attach(int mount_fd, int target_fd)
{
        return sys_move_mount(mount_fd, "", target_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

int ns_op_private(struct ns_child *child, const struct ns_op *op)
{
        (void)child, (void)op;
        return sys_mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL);
}

int ns_op_open(struct ns_child *child, const struct ns_op *op)
{
        /* Layers can only be opened here: overlayfs refuses directories of another mount namespace. */
        CLEANUP_FD int fd = open(ns_op_text(child, op, 0), O_PATH | O_CLOEXEC | (int)op->a);
        if (fd < 0 || op->fd < 0)
                return replace(&child->slots[op->c], ns_take_fd(&fd));
        return replace(&child->slots[op->c], ns_open_idmapped(fd, ns_op_fd(child, op)));
}

int ns_op_overlay(struct ns_child *child, const struct ns_op *op)
{
        char data[NS_MOUNT_DATA_MAX];
        if (ns_expand(ns_op_text(child, op, 1), child->slots, NS_PLAN_SLOTS, data) < 0)
                return -1;
        return sys_mount("overlay", ns_op_text(child, op, 0), "overlay", op->a, data);
}

int ns_op_root(struct ns_child *child, const struct ns_op *op)
{
        if (op->fd < 0)
                return replace(&child->root_fd, open(ns_op_text(child, op, 0), O_PATH | O_DIRECTORY | O_CLOEXEC));
        int fd = ns_op_fd(child, op);
        return replace(&child->root_fd, fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

/* "key" is a flag, "key=value" a string. */
static int configure(int context_fd, const char *option)
{
        char key[NS_NAME_MAX];
        const char *equals = strchr(option, '=');
        if (equals == NULL)
                return sys_fsconfig(context_fd, FSCONFIG_SET_FLAG, option, NULL, 0);
        size_t length = (size_t)(equals - option);
        if (length >= sizeof(key))
                return errno = EINVAL, -1;
        memcpy(key, option, length);
        key[length] = '\0';
        return sys_fsconfig(context_fd, FSCONFIG_SET_STRING, key, equals + 1, 0);
}

/* A detached mount of a new file system. */
static int make_fs(const struct ns_plan *plan, const char *type, struct ns_text options, unsigned int attributes)
{
        CLEANUP_FD int context_fd = sys_fsopen(type);
        if (context_fd < 0)
                return -1;
        const char *option = options.length == 0 ? NULL : ns_plan_text(plan, options);
        for (; option != NULL; option = ns_plan_next(plan, options, option))
                if (configure(context_fd, option) < 0)
                        return -1;
        if (sys_fsconfig(context_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
                return -1;
        return sys_fsmount(context_fd, attributes);
}

int ns_op_fs(struct ns_child *child, const struct ns_op *op)
{
        static const struct ns_make make = {.mode = 0755};
        CLEANUP_FD int mount_fd = make_fs(child->plan, ns_op_text(child, op, 0), op->text[1], (unsigned int)op->a);
        if (mount_fd < 0)
                return -1;
        const char *path = ns_op_text(child, op, 2);
        CLEANUP_FD int target_fd =
            op->b != 0 ? ns_make_plain_directory(child->root_fd, path) : ns_make_directory(child->root_fd, path, &make);
        return target_fd < 0 ? -1 : attach(mount_fd, target_fd);
}

int ns_op_bind(struct ns_child *child, const struct ns_op *op)
{
        static const struct ns_make make = {.mode = 0755};
        int mount_fd = ns_op_fd(child, op);
        const char *path = ns_op_text(child, op, 0);
        CLEANUP_FD int target_fd = op->a != 0   ? ns_make_file(child->root_fd, path)
                                   : op->b != 0 ? ns_make_plain_directory(child->root_fd, path)
                                                : ns_make_directory(child->root_fd, path, &make);
        return target_fd < 0 ? -1 : attach(mount_fd, target_fd);
}

int ns_op_mkdir(struct ns_child *child, const struct ns_op *op)
{
        struct ns_make make = {.mode = (mode_t)op->a, .uid = (uid_t)op->b, .gid = (gid_t)op->c};
        CLEANUP_FD int fd = ns_make_directory(child->root_fd, ns_op_text(child, op, 0), &make);
        return fd < 0 ? -1 : 0;
}

int ns_op_mknod(struct ns_child *child, const struct ns_op *op)
{
        const char *name = NULL;
        CLEANUP_FD int parent_fd = ns_make_parent(child->root_fd, ns_op_text(child, op, 0), &name);
        if (parent_fd < 0 || mknodat(parent_fd, name, (mode_t)op->a, (dev_t)op->b) < 0)
                return -1;
        return fchownat(parent_fd, name, (uid_t)op->c, (gid_t)(op->c >> 32), AT_SYMLINK_NOFOLLOW);
}

/* A detached copy of a node of the host's, and of nothing that took its place. */
static int take_node(const char *path, mode_t type, dev_t device)
{
        struct mount_attr harmless = {.attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC};
        struct stat status;
        CLEANUP_FD int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &status) < 0)
                return -1;
        if ((status.st_mode & S_IFMT) != type || status.st_rdev != device)
                return errno = ENODEV, -1;
        CLEANUP_FD int tree_fd = sys_open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
        if (tree_fd < 0 || sys_mount_setattr(tree_fd, "", AT_EMPTY_PATH, &harmless) < 0)
                return -1;
        return ns_take_fd(&tree_fd);
}

int ns_op_device(struct ns_child *child, const struct ns_op *op)
{
        CLEANUP_FD int node_fd = take_node(ns_op_text(child, op, 1), (mode_t)op->a & S_IFMT, (dev_t)op->b);
        if (node_fd < 0)
                return -1;
        CLEANUP_FD int target_fd = ns_make_file(child->root_fd, ns_op_text(child, op, 0));
        return target_fd < 0 ? -1 : attach(node_fd, target_fd);
}

int ns_op_attach(struct ns_child *child, const struct ns_op *op)
{
        CLEANUP_FD int target_fd = open(ns_op_text(child, op, 0), O_PATH | O_DIRECTORY | O_CLOEXEC);
        return target_fd < 0 ? -1 : attach(ns_op_fd(child, op), target_fd);
}

int ns_op_symlink(struct ns_child *child, const struct ns_op *op)
{
        const char *name = NULL;
        CLEANUP_FD int parent_fd = ns_make_parent(child->root_fd, ns_op_text(child, op, 1), &name);
        return parent_fd < 0 ? -1 : symlinkat(ns_op_text(child, op, 0), parent_fd, name);
}

/* The host's /dev/null, and nothing that took its place. */
static int open_null(struct ns_child *child)
{
        struct stat status;
        if (child->null_fd >= 0)
                return 0;
        CLEANUP_FD int fd = open("/dev/null", O_PATH | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &status) < 0)
                return -1;
        if (!S_ISCHR(status.st_mode) || status.st_rdev != makedev(1, 3))
                return errno = ENODEV, -1;
        child->null_fd = ns_take_fd(&fd);
        return 0;
}

/* A detached, read-only copy of the empty directory, or a copy of /dev/null. */
static int make_cover(struct ns_child *child, const char *empty, bool directory)
{
        struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
        if (!directory)
                return open_null(child) < 0
                           ? -1
                           : sys_open_tree(child->null_fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
        CLEANUP_FD int fd = sys_open_tree(AT_FDCWD, empty, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        if (fd < 0 || sys_mount_setattr(fd, "", AT_EMPTY_PATH, &read_only) < 0)
                return -1;
        return ns_take_fd(&fd);
}

int ns_op_mask(struct ns_child *child, const struct ns_op *op)
{
        struct stat status;
        CLEANUP_FD int target_fd = ns_open_in_root(child->root_fd, ns_op_text(child, op, 0), O_PATH);
        if (target_fd < 0)
                return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
        if (fstat(target_fd, &status) < 0)
                return -1;
        CLEANUP_FD int cover_fd = make_cover(child, ns_op_text(child, op, 1), S_ISDIR(status.st_mode));
        return cover_fd < 0 ? -1 : attach(cover_fd, target_fd);
}

int ns_op_readonly(struct ns_child *child, const struct ns_op *op)
{
        struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
        CLEANUP_FD int target_fd = ns_open_in_root(child->root_fd, ns_op_text(child, op, 0), O_PATH);
        if (target_fd < 0)
                return errno == ENOENT || errno == ENOTDIR ? 0 : -1;
        const unsigned int how = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE;
        CLEANUP_FD int copy_fd = sys_open_tree(target_fd, "", how);
        if (copy_fd < 0 || sys_mount_setattr(copy_fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &read_only) < 0)
                return -1;
        return attach(copy_fd, target_fd);
}

int ns_op_root_readonly(struct ns_child *child, const struct ns_op *op)
{
        struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
        (void)op;
        return sys_mount_setattr(child->root_fd, "", AT_EMPTY_PATH, &read_only);
}

int ns_op_pivot(struct ns_child *child, const struct ns_op *op)
{
        (void)op;
        /* With both arguments ".", the old root ends up mounted over the new one, at the very place we stand:
         * pivot_root(2), NOTES. */
        if (fchdir(child->root_fd) < 0 || sys_pivot_root(".", ".") < 0 || sys_umount2(".", MNT_DETACH) < 0 ||
            chdir("/") < 0)
                return -1;
        return replace(&child->root_fd, open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
}

int ns_op_empty_root(struct ns_child *child, const struct ns_op *op)
{
        static const struct ns_make make = {.mode = 0755};
        struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
        const struct ns_text none = {0};
        CLEANUP_FD int mount_fd =
            make_fs(child->plan, "tmpfs", none, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
        CLEANUP_FD int target_fd = open(ns_op_text(child, op, 0), O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (mount_fd < 0 || target_fd < 0)
                return -1;
        const char *path = op->text[1].length == 0 ? NULL : ns_op_text(child, op, 1);
        for (; path != NULL; path = ns_plan_next(child->plan, op->text[1], path)) {
                CLEANUP_FD int fd = ns_make_directory(mount_fd, path, &make);
                if (fd < 0)
                        return -1;
        }
        if (sys_mount_setattr(mount_fd, "", AT_EMPTY_PATH, &read_only) < 0 || attach(mount_fd, target_fd) < 0)
                return -1;
        return replace(&child->root_fd, ns_take_fd(&mount_fd));
}

int ns_op_sandbox_tree(struct ns_child *child, const struct ns_op *op)
{
        CLEANUP_FD int own_fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
        if (own_fd < 0 || sys_setns(child->pause_pidfd, CLONE_NEWNS) < 0)
                return -1;
        CLEANUP_FD int tree_fd =
            sys_open_tree(AT_FDCWD, ns_op_text(child, op, 0), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
        if (sys_setns(own_fd, CLONE_NEWNS) < 0 || tree_fd < 0)
                return -1;
        return replace(&child->slots[op->c], ns_take_fd(&tree_fd));
}

int ns_op_cwd(struct ns_child *child, const struct ns_op *op)
{
        static const struct ns_make make = {.mode = 0755};
        char path[PATH_MAX];
        const char *place = ns_op_text(child, op, 0);
        CLEANUP_FD int fd = op->a == 0 ? ns_make_directory(child->root_fd, place, &make)
                                       : ns_open_in_root(child->root_fd, place, O_PATH | O_DIRECTORY);
        if (fd < 0 || fchdir(fd) < 0)
                return -1;
        /* The kernel's own answer, before a C library touches it: "(unreachable)/…" for what is outside the root. */
        if (syscall(SYS_getcwd, path, sizeof(path)) < 0)
                return -1;
        return path[0] == '/' ? 0 : (errno = EXDEV, -1);
}
