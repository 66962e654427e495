/* idmap.c: see idmap.h. */
#include "idmap.h"
#include "cleanup.h"
#include "kernel.h"

int ns_open_idmapped(int fd, int userns_fd)
{
        struct mount_attr idmap = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns_fd};
        CLEANUP_FD int tree_fd = sys_open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
        if (tree_fd < 0 || sys_mount_setattr(tree_fd, "", AT_EMPTY_PATH, &idmap) < 0)
                return -1;
        if (sys_move_mount(tree_fd, "", fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) < 0)
                return -1;
        return ns_take_fd(&tree_fd);
}
