/* rootfs.c: see rootfs.h.
 *
 * An image may hold any link, and a container that shares a volume may change one at any moment. So nothing is checked
 * first and used later: each step gets a descriptor, and the next step starts from it. A directory is only ever made
 * inside a directory that openat2 with RESOLVE_IN_ROOT has just returned.
 */
#include "rootfs.h"
#include "cleanup.h"
#include "kernel.h"

#include <limits.h>
#include <string.h>
#include <sys/stat.h>

enum { MAX_LINKS = 8 };

static const struct ns_make plain = {.mode = 0755, .uid = 0, .gid = 0};

static int resolve(int root_fd, const char *path, uint64_t flags, uint64_t how)
{
        return sys_openat2(root_fd, path, flags | O_CLOEXEC, 0, how | RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

int ns_open_in_root(int root_fd, const char *path, uint64_t flags)
{
        return resolve(root_fd, path, flags, 0);
}

static int make_one(int parent_fd, const char *name, const struct ns_make *make)
{
        if (mkdirat(parent_fd, name, make->mode) < 0)
                return -1;
        CLEANUP_FD int fd = sys_openat2(parent_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, 0,
                                        RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
        if (fd < 0)
                return -1;
        if ((make->uid != 0 || make->gid != 0) && fchownat(fd, "", make->uid, make->gid, AT_EMPTY_PATH) < 0)
                return -1;
        return ns_take_fd(&fd);
}

/* "a/link/rest" → "a/<target>/rest", or "<target>/rest" for an absolute target. `start` and `end` delimit the link's
 * name. */
static int splice_link(int parent_fd, char path[PATH_MAX], size_t start, size_t end)
{
        char spliced[PATH_MAX];
        char name[NAME_MAX + 1];
        size_t length = end - start;
        if (length > NAME_MAX)
                return errno = ENAMETOOLONG, -1;
        memcpy(name, path + start, length);
        name[length] = '\0';

        size_t used = 0;
        char target[PATH_MAX];
        ssize_t target_length = readlinkat(parent_fd, name, target, sizeof(target));
        if (target_length < 0)
                return -1;
        if (target[0] != '/') {
                memcpy(spliced, path, start);
                used = start;
        }
        size_t rest = strlen(path + end) + 1;
        if (used + (size_t)target_length + rest > sizeof(spliced))
                return errno = ENAMETOOLONG, -1;
        memcpy(spliced + used, target, (size_t)target_length);
        memcpy(spliced + used + target_length, path + end, rest);
        memcpy(path, spliced, used + (size_t)target_length + rest);
        return 0;
}

/* One component at a time, each resolved from the root, so that links mean what they mean in the container. Returns the
 * directory, or -2 when a dangling link was followed inside `path` and the walk has to start again. */
static int walk(int root_fd, char path[PATH_MAX], const struct ns_make *make)
{
        CLEANUP_FD int parent_fd = resolve(root_fd, ".", O_PATH | O_DIRECTORY, 0);
        size_t end = 0;
        while (parent_fd >= 0) {
                size_t start = end + strspn(path + end, "/");
                if (path[start] == '\0')
                        return ns_take_fd(&parent_fd);
                end = start + strcspn(path + start, "/");
                char cut = path[end];
                path[end] = '\0';
                int fd = resolve(root_fd, path, O_PATH | O_DIRECTORY, 0);
                if (fd < 0 && errno == ENOENT)
                        fd = make_one(parent_fd, path + start, make);
                if (fd < 0 &&
                    errno == EEXIST) /* another container of the pod was faster; else it is a link to nothing */
                        fd = resolve(root_fd, path, O_PATH | O_DIRECTORY, 0);
                path[end] = cut;
                if (fd < 0 && errno == ENOENT)
                        return splice_link(parent_fd, path, start, end) < 0 ? -1 : -2;
                ns_close_fd(&parent_fd);
                parent_fd = fd;
        }
        return -1;
}

int ns_make_directory(int root_fd, const char *path, const struct ns_make *make)
{
        int fd = resolve(root_fd, path, O_PATH | O_DIRECTORY, 0);
        if (fd >= 0 || errno != ENOENT)
                return fd;
        char walked[PATH_MAX];
        size_t length = strlen(path);
        if (length >= sizeof(walked))
                return errno = ENAMETOOLONG, -1;
        memcpy(walked, path, length + 1);
        for (int links = 0; links < MAX_LINKS; links++) {
                fd = walk(root_fd, walked, make);
                if (fd != -2)
                        return fd;
        }
        return errno = ELOOP, -1;
}

int ns_make_parent(int root_fd, const char *path, const char **name)
{
        char parent[PATH_MAX];
        const char *slash = strrchr(path, '/');
        size_t length = slash == NULL ? 0 : (size_t)(slash - path);
        *name = slash == NULL ? path : slash + 1;
        if (**name == '\0' || strcmp(*name, ".") == 0 || strcmp(*name, "..") == 0)
                return errno = EINVAL, -1;
        if (length >= sizeof(parent))
                return errno = ENAMETOOLONG, -1;
        memcpy(parent, path, length);
        parent[length] = '\0';
        return ns_make_directory(root_fd, length == 0 ? "." : parent, &plain);
}

int ns_make_file(int root_fd, const char *path)
{
        int fd = resolve(root_fd, path, O_PATH, 0);
        if (fd >= 0 || errno != ENOENT)
                return fd;
        const char *name = NULL;
        CLEANUP_FD int parent_fd = ns_make_parent(root_fd, path, &name);
        if (parent_fd < 0)
                return -1;
        if (mknodat(parent_fd, name, S_IFREG | 0644, 0) < 0 && errno != EEXIST)
                return -1;
        return sys_openat2(parent_fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS);
}

int ns_make_plain_directory(int root_fd, const char *path)
{
        int fd = resolve(root_fd, path, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
        if (fd >= 0 || errno != ENOENT)
                return fd;
        CLEANUP_FD int made = ns_make_directory(root_fd, path, &plain);
        if (made < 0)
                return -1;
        return resolve(root_fd, path, O_PATH | O_DIRECTORY, RESOLVE_NO_SYMLINKS);
}
