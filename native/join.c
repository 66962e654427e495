/* join.c: what has to be done inside another namespace is done by a short-lived C child, which shares the caller's
 * descriptor table (CLONE_FILES): what it opens is open in the caller. Of the supervisor's threads only those of
 * the pods' network join anything, and stay there (nsrun/network/home.py).
 */
#include "cleanup.h"
#include "expand.h"
#include "idmap.h"
#include "kernel.h"
#include "nsrun_abi.h"
#include "vfork.h"

#include <limits.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <linux/netlink.h>

/* ---- a new network namespace --------------------------------------------------------------------------------------
 */

struct netns {
        const char *path;
        int netns_fd;
        int netlink_fd;
};

static int loopback_up(int socket_fd)
{
        struct ifreq request = {.ifr_flags = IFF_UP | IFF_RUNNING};
        memcpy(request.ifr_name, "lo", sizeof("lo"));
        return ioctl(socket_fd, SIOCSIFFLAGS, &request);
}

/* In the new namespace: its sockets, its loopback, its pin. */
static int furnish(struct netns *made)
{
        CLEANUP_FD int netlink_fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
        CLEANUP_FD int inet_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (netlink_fd < 0 || inet_fd < 0 || loopback_up(inet_fd) < 0)
                return -errno;
        CLEANUP_FD int netns_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
        if (netns_fd < 0)
                return -errno;
        /* Pinned last: who watches /run/netns sees a namespace that is ready. */
        char source[32];
        ns_fd_path(netns_fd, source);
        if (sys_mount(source, made->path, NULL, MS_BIND, NULL) < 0)
                return -errno;
        made->netns_fd = ns_take_fd(&netns_fd);
        made->netlink_fd = ns_take_fd(&netlink_fd);
        return 0;
}

static int make_netns(void *argument)
{
        return sys_unshare(CLONE_NEWNET) < 0 ? -errno : furnish(argument);
}

int ns_netns_create(const char *path, int *netns_fd, int *netlink_fd)
{
        struct netns made = {.path = path, .netns_fd = -1, .netlink_fd = -1};
        int answer = ns_in_child(CLONE_FILES, make_netns, &made);
        *netns_fd = made.netns_fd;
        *netlink_fd = made.netlink_fd;
        return answer;
}

/* ---- … that belongs to a user namespace of its own
 *
 *   caller ── child: writes the maps, takes what it needs, pins
 *                └──── holder: is in both namespaces, and does nothing at all
 */

struct owned_netns {
        struct netns made;
        uint32_t first_id;
        uint32_t count;
};

static int hold(void *nothing)
{
        (void)nothing;
        for (;;)
                syscall(SYS_ppoll, NULL, 0, NULL, NULL, 0);
        __builtin_unreachable();
}

static char *append(char *at, const char *text)
{
        while (*text != '\0')
                *at++ = *text++;
        *at = '\0';
        return at;
}

static char *append_number(char *at, uint32_t number)
{
        char digits[12];
        size_t count = 0;
        do
                digits[count++] = (char)('0' + number % 10);
        while ((number /= 10) > 0);
        while (count > 0)
                *at++ = digits[--count];
        *at = '\0';
        return at;
}

static int open_of(pid_t pid, const char *name, int flags)
{
        char path[64];
        append(append(append_number(append(path, "/proc/"), (uint32_t)pid), "/"), name);
        return open(path, flags | O_CLOEXEC);
}

static int write_map(const struct owned_netns *owned, pid_t holder, const char *name)
{
        char map[64];
        char *at = append_number(append(append_number(append(map, "0 "), owned->first_id), " "), owned->count);
        CLEANUP_FD int fd = open_of(holder, name, O_WRONLY);
        return fd < 0 || write(fd, map, (size_t)(at - map)) < 0 ? -1 : 0;
}

static int take_netns(struct owned_netns *owned, pid_t holder)
{
        if (write_map(owned, holder, "gid_map") < 0 || write_map(owned, holder, "uid_map") < 0)
                return -errno;
        CLEANUP_FD int netns_fd = open_of(holder, "ns/net", O_RDONLY);
        if (netns_fd < 0 || sys_setns(netns_fd, CLONE_NEWNET) < 0)
                return -errno;
        return furnish(&owned->made);
}

static int make_owned_netns(void *argument)
{
        _Alignas(16) char stack[4096];
        pid_t holder = clone(hold, stack + sizeof(stack), CLONE_VM | CLONE_NEWUSER | CLONE_NEWNET, NULL);
        if (holder < 0)
                return -errno;
        int answer = take_netns(argument, holder);
        kill(holder, SIGKILL);
        while (waitpid(holder, NULL, __WALL) < 0 && errno == EINTR)
                ;
        return answer;
}

int ns_netns_create_owned(const char *path, uint32_t first_id, uint32_t count, int *netns_fd, int *netlink_fd)
{
        struct owned_netns owned = {
            .made = {.path = path, .netns_fd = -1, .netlink_fd = -1}, .first_id = first_id, .count = count};
        int answer = ns_in_child(CLONE_FILES, make_owned_netns, &owned);
        *netns_fd = owned.made.netns_fd;
        *netlink_fd = owned.made.netlink_fd;
        return answer;
}

/* ---- a socket in a network namespace
 * --------------------------------------------------------------------------------- */

struct socket_call {
        int netns_fd;
        int domain;
        int type;
        int protocol;
};

static int make_socket(void *argument)
{
        const struct socket_call *call = argument;
        if (sys_setns(call->netns_fd, CLONE_NEWNET) < 0)
                return -errno;
        int fd = socket(call->domain, call->type | SOCK_CLOEXEC, call->protocol);
        return fd < 0 ? -errno : fd;
}

int ns_socket_in(int netns_fd, int domain, int type, int protocol)
{
        struct socket_call call = {.netns_fd = netns_fd, .domain = domain, .type = type, .protocol = protocol};
        return ns_in_child(CLONE_FILES, make_socket, &call);
}

/* ---- a file of a rootfs -------------------------------------------------------------------------------------------
 */

enum { MAX_LAYERS = 256 };

struct rootfs {
        const char *stage;
        const char *options;
        const int *layer_fds;
        int layer_count;
        const char *path;
        bool as_mount; /* what is at `path`, as a detached mount */
        int users_fd;  /* the user namespace whose owners are shown; -1: the host's */
};

/* The directory of `fd`, opened again in this mount namespace: overlayfs refuses layers of a mount of another one. */
static int open_again(int fd)
{
        char link[32];
        char path[PATH_MAX];
        struct stat before;
        struct stat after;

        ns_fd_path(fd, link);
        ssize_t length = readlink(link, path, sizeof(path) - 1);
        if (length < 0)
                return -1;
        path[length] = '\0';
        CLEANUP_FD int again = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (again < 0 || fstat(fd, &before) < 0 || fstat(again, &after) < 0)
                return -1;
        if (before.st_dev != after.st_dev || before.st_ino != after.st_ino) {
                errno = ESTALE;
                return -1;
        }
        return ns_take_fd(&again);
}

static int open_below(int root_fd, const char *path, uint64_t flags)
{
        return sys_openat2(root_fd, path, flags | O_CLOEXEC, 0, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

enum { READ = O_RDONLY | O_NONBLOCK | O_NOCTTY };

static int mount_layers(const struct rootfs *rootfs, int *fds)
{
        char data[NS_MOUNT_DATA_MAX];
        for (int i = 0; i < rootfs->layer_count; i++) {
                CLEANUP_FD int fd = open_again(rootfs->layer_fds[i]);
                if (fd < 0)
                        return -1;
                fds[i] = rootfs->users_fd < 0 ? ns_take_fd(&fd) : ns_open_idmapped(fd, rootfs->users_fd);
                if (fds[i] < 0)
                        return -1;
        }
        if (ns_expand(rootfs->options, fds, (unsigned int)rootfs->layer_count, data) < 0)
                return -1;
        return sys_mount("overlay", rootfs->stage, "overlay", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, data);
}

/* What is asked of a mounted rootfs: a descriptor of something in it. The namespace ends with the child, and the mount
 * when the last descriptor of it is closed. */
static int take_from_rootfs(const struct rootfs *rootfs)
{
        CLEANUP_FD int root_fd = open(rootfs->stage, O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (root_fd < 0)
                return -1;
        if (!rootfs->as_mount)
                return open_below(root_fd, rootfs->path, READ);
        CLEANUP_FD int fd = open_below(root_fd, rootfs->path, O_PATH);
        return fd < 0 ? -1 : sys_open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
}

static int visit_rootfs(void *argument)
{
        const struct rootfs *rootfs = argument;
        int fds[MAX_LAYERS];
        for (int i = 0; i < rootfs->layer_count; i++)
                fds[i] = -1;

        if (sys_unshare(CLONE_NEWNS) < 0 || sys_mount(NULL, "/", NULL, MS_PRIVATE | MS_REC, NULL) < 0)
                return -errno;
        int mounted = mount_layers(rootfs, fds);
        int error = errno;
        for (int i = 0; i < rootfs->layer_count; i++) /* the table is the caller's too */
                ns_close_fd(&fds[i]);
        if (mounted < 0)
                return -error;
        int fd = take_from_rootfs(rootfs);
        return fd < 0 ? -errno : fd;
}

int ns_open_in_rootfs(const char *stage, const char *options, const int *layer_fds, int layer_count, const char *path)
{
        if (layer_count < 1 || layer_count > MAX_LAYERS)
                return -EINVAL;
        if (options == NULL) {
                int fd = open_below(layer_fds[0], path, READ);
                return fd < 0 ? -errno : fd;
        }
        struct rootfs rootfs = {stage, options, layer_fds, layer_count, path, false, -1};
        return ns_in_child(CLONE_FILES, visit_rootfs, &rootfs);
}

int ns_rootfs_tree(const char *stage, const char *options, const int *layer_fds, int layer_count, const char *path,
                   int users_fd)
{
        if (layer_count < 1 || layer_count > MAX_LAYERS)
                return -EINVAL;
        struct rootfs rootfs = {stage, options, layer_fds, layer_count, path, true, users_fd};
        return ns_in_child(CLONE_FILES, visit_rootfs, &rootfs);
}
