/* syscalls.c: system calls that Python's standard library does not have. Each returns what the kernel does, or -errno.
 */
#include "kernel.h"
#include "nsrun_abi.h"

#include <errno.h>
#include <malloc.h>
#include <unistd.h>

static int result(int value)
{
        return value < 0 ? -errno : value;
}

int ns_openat2(int dir_fd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve)
{
        return result(sys_openat2(dir_fd, path, flags | O_CLOEXEC, mode, resolve));
}

int ns_open_tree(int dir_fd, const char *path, unsigned int flags)
{
        return result(sys_open_tree(dir_fd, path, flags | OPEN_TREE_CLOEXEC));
}

int ns_mount_setattr(int dir_fd, const char *path, unsigned int flags, uint64_t set, uint64_t clear,
                     uint64_t propagation)
{
        struct mount_attr attributes = {.attr_set = set, .attr_clr = clear, .propagation = propagation};
        return result(sys_mount_setattr(dir_fd, path, flags, &attributes));
}

int ns_move_mount(int from_fd, const char *from, int to_fd, const char *to, unsigned int flags)
{
        return result(sys_move_mount(from_fd, from, to_fd, to, flags));
}

int ns_mount(const char *source, const char *target, const char *type, uint64_t flags, const char *data)
{
        return result(sys_mount(source, target, type, flags, data));
}

int ns_umount(const char *target, int flags)
{
        return result(sys_umount2(target, flags));
}

int ns_setns(int fd, int flags)
{
        return result(sys_setns(fd, flags));
}

int ns_syncfs(int fd)
{
        return result(syncfs(fd));
}

int ns_malloc_frugally(void)
{
        return mallopt(M_ARENA_MAX, 1) && mallopt(M_TRIM_THRESHOLD, 128 * 1024) ? 0 : -EINVAL;
}

int ns_unshare(int flags)
{
        return result(sys_unshare(flags));
}
