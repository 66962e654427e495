/* unpack_dirs.c: see unpack_dirs.h. */
#include "unpack_dirs.h"
#include "cleanup.h"
#include "kernel.h"

#include <string.h>
#include <sys/xattr.h>

static const uint64_t resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV;

/* FNV-1a. */
static uint32_t hash_of(const char *path, size_t length)
{
        uint32_t hash = 2166136261U;
        for (size_t at = 0; at < length; at++)
                hash = (hash ^ (uint8_t)path[at]) * 16777619U;
        return hash;
}

static void settle(struct ns_dirs *dirs, struct ns_directory *directory)
{
        struct timespec time = {.tv_sec = directory->mtime.seconds, .tv_nsec = directory->mtime.nanoseconds};
        struct timespec times[2] = {time, time};
        if (directory->is_touched && futimens(directory->fd, times) < 0 && dirs->error == 0)
                dirs->error = errno;
        directory->is_touched = false;
}

/* A place for one more: the one that was used longest ago gives way. */
static struct ns_directory *vacate(struct ns_dirs *dirs)
{
        if (dirs->count < dirs->capacity)
                return &dirs->slots[dirs->count++];
        struct ns_directory *oldest = &dirs->slots[1];
        for (size_t i = 2; i < dirs->count; i++)
                if (dirs->slots[i].used < oldest->used)
                        oldest = &dirs->slots[i];
        settle(dirs, oldest);
        close(oldest->fd);
        return oldest;
}

static struct ns_directory *lookup(struct ns_dirs *dirs, const char *path, size_t length)
{
        uint32_t hash = hash_of(path, length);
        for (size_t i = 0; i < dirs->count; i++) {
                struct ns_directory *slot = &dirs->slots[i];
                if (slot->hash == hash && slot->length == length && memcmp(slot->path, path, length) == 0) {
                        slot->used = ++dirs->clock;
                        return slot;
                }
        }
        return NULL;
}

static struct ns_directory *lookup_inode(struct ns_dirs *dirs, uint64_t inode)
{
        for (size_t i = 0; i < dirs->count; i++)
                if (dirs->slots[i].inode == inode)
                        return &dirs->slots[i];
        return NULL;
}

static bool is_plain(const struct stat *status)
{
        return status->st_gid == 0 && (status->st_mode & S_ISGID) == 0;
}

static struct ns_directory *add(struct ns_dirs *dirs, const char *path, size_t length, int fd,
                                const struct stat *status)
{
        const struct ns_directory *same = lookup_inode(dirs, status->st_ino);
        struct ns_moment mtime = {status->st_mtim.tv_sec, (uint32_t)status->st_mtim.tv_nsec};
        if (same != NULL)
                mtime = same->mtime;
        struct ns_directory *slot = vacate(dirs);
        *slot = (struct ns_directory){
            .fd = fd,
            .hash = hash_of(path, length),
            .inode = status->st_ino,
            .used = ++dirs->clock,
            .mtime = mtime,
            .is_plain = is_plain(status),
            .length = length,
            .path = slot->path,
        };
        memcpy(slot->path, path, length);
        slot->path[length] = '\0';
        return slot;
}

int ns_dirs_begin(struct ns_dirs *dirs, int fd)
{
        struct stat status;
        /* A default list of the directory above would change what every mode means. */
        if (fremovexattr(fd, "system.posix_acl_default") < 0 && errno != ENODATA && errno != EOPNOTSUPP)
                return ns_fail_errno(dirs->failure);
        if (fchmod(fd, 0755) < 0 || fstat(fd, &status) < 0)
                return ns_fail_errno(dirs->failure);
        struct ns_directory *root = add(dirs, "", 0, fd, &status);
        root->mtime = (struct ns_moment){0, 0};
        root->is_touched = true;
        return 0;
}

struct ns_directory *ns_dirs_find(struct ns_dirs *dirs, const char *path, size_t length)
{
        struct ns_directory *known = lookup(dirs, path, length);
        if (known != NULL)
                return known;
        struct stat status;
        CLEANUP_FD int fd = sys_openat2(dirs->slots[0].fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, resolve);
        if (fd < 0 || fstat(fd, &status) < 0)
                return NULL;
        return add(dirs, path, length, ns_take_fd(&fd), &status);
}

int ns_dirs_dressed(struct ns_dirs *dirs, const char *path, size_t length, int fd, struct ns_moment mtime)
{
        CLEANUP_FD int owned = fd;
        struct stat status;
        if (fstat(owned, &status) < 0)
                return ns_fail_errno(dirs->failure);
        if (lookup(dirs, path, length) == NULL)
                add(dirs, path, length, ns_take_fd(&owned), &status);
        for (size_t i = 0; i < dirs->count; i++) {
                struct ns_directory *slot = &dirs->slots[i];
                if (slot->inode != status.st_ino)
                        continue;
                slot->mtime = mtime;
                slot->is_plain = is_plain(&status);
                slot->is_touched = true;
        }
        return 0;
}

int ns_dirs_make_opaque(struct ns_dirs *dirs, int fd)
{
        return fsetxattr(fd, dirs->opaque, "y", 1, 0) < 0 ? ns_fail_errno(dirs->failure) : 0;
}

/* ---- what is missing -----------------------------------------------------------------------------------------------
 */

/* Makes a directory that no entry lists. `hidden`: a whiteout was there. */
static struct ns_directory *make(struct ns_dirs *dirs, struct ns_directory *parent, const char *path, size_t length,
                                 const char *name, bool hidden)
{
        if (mkdirat(parent->fd, name, 0755) < 0) {
                if (errno == EEXIST)
                        ns_fail(dirs->failure, NS_UNPACK_PARENT_LINK);
                else
                        ns_fail_errno(dirs->failure);
                return NULL;
        }
        parent->is_touched = true;
        int fd = openat(parent->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 || fchown(fd, 0, 0) < 0 || fchmod(fd, 0755) < 0) {
                ns_fail_errno(dirs->failure);
                ns_close_fd(&fd);
                return NULL;
        }
        if ((hidden && ns_dirs_make_opaque(dirs, fd) < 0) ||
            ns_dirs_dressed(dirs, path, length, fd, (struct ns_moment){0, 0}) < 0)
                return NULL;
        return lookup(dirs, path, length);
}

static struct ns_directory *step(struct ns_dirs *dirs, struct ns_directory *parent, const char *path, size_t length,
                                 const char *name)
{
        struct stat status;
        struct ns_directory *found = ns_dirs_find(dirs, path, length);
        if (found != NULL)
                return found;
        if (errno == ENOENT)
                return make(dirs, parent, path, length, name, false);
        if (errno != ENOTDIR || fstatat(parent->fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0) {
                ns_fail_errno(dirs->failure);
                return NULL;
        }
        if (!ns_is_whiteout(&status)) {
                ns_fail(dirs->failure, NS_UNPACK_PARENT_FILE);
                return NULL;
        }
        if (unlinkat(parent->fd, name, 0) < 0) {
                ns_fail_errno(dirs->failure);
                return NULL;
        }
        return make(dirs, parent, path, length, name, true);
}

static struct ns_directory *make_all(struct ns_dirs *dirs, char *path, size_t length)
{
        struct ns_directory *directory = &dirs->slots[0];
        size_t name = 0;
        for (size_t at = 0; at <= length && directory != NULL; at++) {
                if (at < length && path[at] != '/')
                        continue;
                char kept = path[at];
                path[at] = '\0';
                directory = step(dirs, directory, path, at, path + name);
                path[at] = kept;
                name = at + 1;
        }
        return directory;
}

struct ns_directory *ns_dirs_open(struct ns_dirs *dirs, char *path, size_t length)
{
        struct ns_directory *directory = ns_dirs_find(dirs, path, length);
        if (directory == NULL && (errno == ENOENT || errno == ENOTDIR))
                directory = make_all(dirs, path, length);
        else if (directory == NULL)
                ns_fail_errno(dirs->failure);
        if (directory != NULL)
                directory->is_touched = true;
        return directory;
}

/* ---- the end -------------------------------------------------------------------------------------------------------
 */

void ns_dirs_forget(struct ns_dirs *dirs)
{
        while (dirs->count > 1) {
                struct ns_directory *last = &dirs->slots[--dirs->count];
                settle(dirs, last);
                close(last->fd);
        }
}

int ns_dirs_finish(struct ns_dirs *dirs)
{
        ns_dirs_forget(dirs);
        settle(dirs, &dirs->slots[0]);
        if (dirs->error == 0)
                return 0;
        errno = dirs->error;
        return ns_fail_errno(dirs->failure);
}
