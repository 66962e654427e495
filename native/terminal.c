/* terminal.c: a terminal of a container's own, for its first process or a command in it.
 *
 * Everything goes by descriptor from the multiplexer that was just mounted: the other side is what the kernel gives for
 * it (TIOCGPTPEER), not what lies at some path of the container's (CVE-2025-52565).
 */
#include "child.h"
#include "cleanup.h"
#include "kernel.h"
#include "rootfs.h"

#include <linux/magic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif

enum { MULTIPLEXER_MAJOR = 5, MULTIPLEXER_MINOR = 2 };

/* The multiplexer of a devpts, and nothing else that a volume, an image or a container may have put there. A directory
 * of a devpts holds nothing but terminals; whatever else lies at the path is not even opened. */
static int open_multiplexer(int root_fd)
{
        const uint64_t resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
        struct stat status;
        struct statfs fs;
        CLEANUP_FD int dir_fd = ns_open_in_root(root_fd, "/dev/pts", O_PATH | O_DIRECTORY);
        if (dir_fd < 0 || fstatfs(dir_fd, &fs) < 0)
                return -1;
        if (fs.f_type != DEVPTS_SUPER_MAGIC)
                return errno = ENOTTY, -1;
        CLEANUP_FD int fd = sys_openat2(dir_fd, "ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC, 0, resolve);
        if (fd < 0 || fstat(fd, &status) < 0)
                return -1;
        if (!S_ISCHR(status.st_mode) || status.st_rdev != makedev(MULTIPLEXER_MAJOR, MULTIPLEXER_MINOR))
                return errno = ENOTTY, -1;
        return ns_take_fd(&fd);
}

static int set_size(int master_fd, uint64_t size)
{
        const struct winsize asked = {.ws_row = (unsigned short)(size >> 16), .ws_col = (unsigned short)size};
        return size == 0 ? 0 : ioctl(master_fd, TIOCSWINSZ, &asked);
}

static int open_other_side(int master_fd, uid_t owner)
{
        const int locked = 0;
        if (ioctl(master_fd, TIOCSPTLCK, &locked) < 0)
                return -1;
        CLEANUP_FD int fd = ioctl(master_fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
        if (fd < 0 || fchown(fd, owner, (gid_t)-1) < 0)
                return -1;
        return ns_take_fd(&fd);
}

static int mount_console(int root_fd, int fd)
{
        CLEANUP_FD int target_fd = ns_make_file(root_fd, "/dev/console");
        CLEANUP_FD int tree_fd = sys_open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
        if (target_fd < 0 || tree_fd < 0)
                return -1;
        return sys_move_mount(tree_fd, "", target_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH);
}

/* The shim gets both sides: while it holds the container's, the terminal outlives whoever closes it inside. */
static int hand_over(const struct ns_child *child, int master_fd, int other_fd)
{
        struct ns_report report = {.kind = NS_REPORT_TERMINAL};
        const int fds[2] = {master_fd, other_fd};
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(fds))];
        } control = {0};
        struct iovec part = {.iov_base = &report, .iov_len = sizeof(report)};
        struct msghdr head = {
            .msg_iov = &part,
            .msg_iovlen = 1,
            .msg_control = control.bytes,
            .msg_controllen = sizeof(control.bytes),
        };
        struct cmsghdr *rights = CMSG_FIRSTHDR(&head);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(fds));
        memcpy(CMSG_DATA(rights), fds, sizeof(fds));
        return sendmsg(child->control_fd, &head, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

int ns_op_terminal(struct ns_child *child, const struct ns_op *op)
{
        CLEANUP_FD int master_fd = open_multiplexer(child->root_fd);
        if (master_fd < 0)
                return -1;
        CLEANUP_FD int other_fd = open_other_side(master_fd, (uid_t)op->a);
        if (other_fd < 0 || set_size(master_fd, op->b) < 0)
                return -1;
        if (op->c != 0 && mount_console(child->root_fd, other_fd) < 0)
                return -1;
        if (hand_over(child, master_fd, other_fd) < 0)
                return -1;
        /* Who leads no session yet takes it with NS_OP_SETSID. */
        if (getsid(0) == getpid() && ioctl(other_fd, TIOCSCTTY, 0) < 0)
                return -1;
        for (int fd = 0; fd < 3; fd++)
                if (dup2(other_fd, fd) < 0)
                        return -1;
        return 0;
}
