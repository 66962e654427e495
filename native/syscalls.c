/* syscalls.c: system calls that Python's standard library does not have. Each returns what the kernel does, or -errno.
 */
#include "cleanup.h"
#include "kernel.h"
#include "nsrun_abi.h"

#include <errno.h>
#include <linux/bpf.h>
#include <linux/capability.h>
#include <malloc.h>
#include <stdio.h>
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

int ns_mount_idmap(int mount_fd, int userns_fd)
{
        struct mount_attr attributes = {.attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns_fd};
        return result(sys_mount_setattr(mount_fd, "", AT_EMPTY_PATH, &attributes));
}

/* fs/fuse/inode.c, fuse_fs_parameters. */
static int configure_fuse(int context_fd, const char *device, const char *source)
{
        const char *const strings[][2] = {
            {"source", source}, {"fd", device}, {"rootmode", "40000"}, {"user_id", "0"}, {"group_id", "0"}};
        for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++)
                if (sys_fsconfig(context_fd, FSCONFIG_SET_STRING, strings[i][0], strings[i][1], 0) < 0)
                        return -1;
        if (sys_fsconfig(context_fd, FSCONFIG_SET_FLAG, "allow_other", NULL, 0) < 0 ||
            sys_fsconfig(context_fd, FSCONFIG_SET_FLAG, "default_permissions", NULL, 0) < 0)
                return -1;
        return sys_fsconfig(context_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
}

int ns_fuse_mount(int fuse_fd, const char *source, unsigned int attributes)
{
        char device[16];
        CLEANUP_FD int context_fd = sys_fsopen("fuse");
        if (context_fd < 0)
                return -errno;
        snprintf(device, sizeof(device), "%d", fuse_fd);
        if (configure_fuse(context_fd, device, source) < 0)
                return -errno;
        return result(sys_fsmount(context_fd, attributes));
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

int ns_set_fs_ids(uint32_t uid, uint32_t gid)
{
        struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct capabilities[2];
        if (syscall(SYS_capget, &head, capabilities) < 0)
                return -errno;
        /* Neither fails visibly; asked for nobody, they tell who it is. */
        syscall(SYS_setfsgid, (gid_t)gid);
        syscall(SYS_setfsuid, (uid_t)uid);
        if ((gid_t)syscall(SYS_setfsgid, (gid_t)-1) != (gid_t)gid ||
            (uid_t)syscall(SYS_setfsuid, (uid_t)-1) != (uid_t)uid)
                return -EPERM;
        /* Leaving uid 0 took the capabilities that are about files. */
        return result((int)syscall(SYS_capset, &head, capabilities));
}

int ns_attach_device_program(int cgroup_fd, const uint64_t *instructions, uint32_t count)
{
        union bpf_attr load = {
            .prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
            .insns = (uint64_t)(uintptr_t)instructions,
            .insn_cnt = count,
            .license = (uint64_t)(uintptr_t) "MIT",
            .prog_name = "nsrun_devices",
        };
        int program = (int)syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof(load));
        if (program < 0)
                return -errno;
        union bpf_attr attach = {
            .target_fd = (uint32_t)cgroup_fd,
            .attach_bpf_fd = (uint32_t)program,
            .attach_type = BPF_CGROUP_DEVICE,
            .attach_flags = BPF_F_ALLOW_OVERRIDE,
        };
        int answer = result((int)syscall(SYS_bpf, BPF_PROG_ATTACH, &attach, sizeof(attach)));
        close(program); /* the cgroup holds it from now on */
        return answer;
}
