/* unpack_layer.c: see unpack_layer.h. */
#include "unpack_layer.h"
#include "cleanup.h"
#include "kernel.h"

#include <string.h>
#include <sys/sysmacros.h>

enum {
        CREATE = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
        OPEN_DIRECTORY = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
        EXISTS = 1, /* what has the name is in the way */
};

static int errno_or_exists(struct ns_layer *layer)
{
        return errno == EEXIST ? EXISTS : ns_fail_errno(layer->failure);
}

/* ---- files ---------------------------------------------------------------------------------------------------------
 */

static int write_all(struct ns_layer *layer, int fd, const uint8_t *bytes, size_t count)
{
        while (count > 0) {
                ssize_t written = write(fd, bytes, count);
                if (written < 0)
                        return ns_fail_errno(layer->failure);
                bytes += written;
                count -= (size_t)written;
        }
        return 0;
}

/* The next `count` stored bytes, to where the file's descriptor is. */
static int write_data(struct ns_layer *layer, int fd, uint64_t count)
{
        while (count > 0) {
                const uint8_t *bytes = NULL;
                size_t got = ns_tar_data(layer->tar, count, &bytes);
                if (got == 0 || write_all(layer, fd, bytes, got) < 0)
                        return -1;
                count -= got;
        }
        return 0;
}

/* Spreads the stored bytes over the regions; what lies between stays a hole. */
static int write_sparse(struct ns_layer *layer, int fd, const struct ns_entry *entry)
{
        for (size_t i = 0; i < entry->region_count; i++) {
                if (lseek(fd, (off_t)entry->regions[i].offset, SEEK_SET) < 0)
                        return ns_fail_errno(layer->failure);
                if (write_data(layer, fd, entry->regions[i].length) < 0)
                        return -1;
        }
        return ftruncate(fd, (off_t)entry->size) < 0 ? ns_fail_errno(layer->failure) : 0;
}

/* The descriptor and the bytes, for the writer. */
static int hand_over(struct ns_layer *layer, int *fd, const struct ns_entry *entry, bool is_plain)
{
        struct ns_written *file = ns_writer_place(layer->writer);
        if (file == NULL)
                return -1;
        for (file->length = 0; file->length < entry->stored;) {
                const uint8_t *bytes = NULL;
                size_t got = ns_tar_data(layer->tar, entry->stored - file->length, &bytes);
                if (got == 0)
                        return -1;
                memcpy(file->bytes + file->length, bytes, got);
                file->length += got;
        }
        memcpy(file->path, entry->path, entry->path_length + 1);
        file->entry = *entry;
        file->entry.path = file->path;
        file->is_plain = is_plain;
        file->fd = ns_take_fd(fd);
        ns_writer_give(layer->writer);
        return 0;
}

static int make_file(struct ns_layer *layer, const struct ns_entry *entry, const struct ns_directory *parent)
{
        bool is_plain = parent->is_plain;
        mode_t mode = ns_born_with_mode(entry, is_plain) ? entry->mode : 0600;
        CLEANUP_FD int fd = openat(parent->fd, layer->place.name, CREATE, mode);
        if (fd < 0)
                return errno_or_exists(layer);
        if (__builtin_add_overflow(layer->size, entry->size, &layer->size) || layer->size > layer->limits->size)
                return ns_fail_number(layer->failure, NS_UNPACK_SIZE, layer->limits->size);
        if (ns_writer_takes(entry))
                return hand_over(layer, &fd, entry, is_plain);
        if ((entry->is_sparse ? write_sparse(layer, fd, entry) : write_data(layer, fd, entry->stored)) < 0)
                return -1;
        if (ns_dress(fd, entry, is_plain, layer->failure) < 0)
                return -1;
        return ns_set_time(fd, entry, layer->failure);
}

/* ---- directories ---------------------------------------------------------------------------------------------------
 */

/* 0 and *hidden: it is there, and whether there was a whiteout instead, which now hides behind the directory. */
static int make_or_merge(struct ns_layer *layer, const struct ns_directory *parent, mode_t mode, bool *is_new,
                         bool *hidden)
{
        const char *name = layer->place.name;
        struct stat status;
        *is_new = mkdirat(parent->fd, name, mode) == 0;
        if (*is_new)
                return 0;
        if (errno != EEXIST || fstatat(parent->fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
                return ns_fail_errno(layer->failure);
        if (S_ISDIR(status.st_mode))
                return 0;
        if (!ns_is_whiteout(&status))
                return EXISTS;
        *hidden = *is_new = true;
        if (unlinkat(parent->fd, name, 0) < 0 || mkdirat(parent->fd, name, mode) < 0)
                return ns_fail_errno(layer->failure);
        return 0;
}

static int make_directory(struct ns_layer *layer, const struct ns_entry *entry, const struct ns_directory *parent)
{
        struct ns_place *place = &layer->place;
        bool is_new = false;
        bool hidden = false;
        mode_t mode = ns_born_with_mode(entry, parent->is_plain) ? entry->mode : 0700;
        int made = make_or_merge(layer, parent, mode, &is_new, &hidden);
        if (made != 0)
                return made;
        CLEANUP_FD int fd = openat(parent->fd, place->name, OPEN_DIRECTORY);
        if (fd < 0)
                return ns_fail_errno(layer->failure);
        if (ns_dress(fd, entry, is_new && parent->is_plain, layer->failure) < 0 ||
            (hidden && ns_dirs_make_opaque(&layer->dirs, fd) < 0))
                return -1;
        if (place->directory_length > 0)
                place->directory[place->directory_length] = '/';
        return ns_dirs_dressed(&layer->dirs, place->directory, strlen(place->directory), ns_take_fd(&fd), entry->mtime);
}

/* The layer's own. */
static int dress_root(struct ns_layer *layer, const struct ns_entry *entry)
{
        if (entry->kind != NS_ENTRY_DIRECTORY)
                return ns_fail(layer->failure, NS_UNPACK_ROOT);
        int fd = layer->dirs.slots[0].fd;
        if (ns_dress(fd, entry, false, layer->failure) < 0)
                return -1;
        int again = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (again < 0)
                return ns_fail_errno(layer->failure);
        return ns_dirs_dressed(&layer->dirs, "", 0, again, entry->mtime);
}

/* ---- links and nodes -----------------------------------------------------------------------------------------------
 */

static int make_symlink(struct ns_layer *layer, const struct ns_entry *entry, const struct ns_directory *parent)
{
        if (entry->target_length == 0)
                return ns_fail(layer->failure, NS_UNPACK_EMPTY_LINK);
        if (symlinkat(entry->target, parent->fd, layer->place.name) < 0)
                return errno_or_exists(layer);
        return ns_dress_by_name(parent->fd, layer->place.name, entry, parent->is_plain, layer->failure);
}

static int link_error(struct ns_layer *layer, const struct ns_entry *entry)
{
        if (errno == ENOENT || errno == ENOTDIR)
                return ns_fail_text(layer->failure, NS_UNPACK_LINK_MISSING, entry->target, entry->target_length);
        return errno_or_exists(layer);
}

/* Links to what this layer has, and to a symbolic link itself if it is one: POSIX pax; linkat without
 * AT_SYMLINK_FOLLOW. */
static int make_hard_link(struct ns_layer *layer, const struct ns_entry *entry, const struct ns_directory *parent)
{
        struct ns_place *place = &layer->place;
        struct ns_place *target = &layer->target;
        struct stat status;
        if (ns_place_read(target, entry->target, layer->limits, layer->failure) < 0)
                return -1;
        if (target->parts == 0)
                return ns_fail(layer->failure, NS_UNPACK_LINK_ROOT);
        if (target->parts == place->parts && strcmp(target->name, place->name) == 0 &&
            (place->parts == 1 || strcmp(target->directory, place->directory) == 0))
                return ns_fail(layer->failure, NS_UNPACK_LINK_SELF);
        int parent_fd = parent->fd;
        const struct ns_directory *source = ns_dirs_find(&layer->dirs, target->directory, target->directory_length);
        if (source == NULL || fstatat(source->fd, target->name, &status, AT_SYMLINK_NOFOLLOW) < 0)
                return link_error(layer, entry);
        if (S_ISDIR(status.st_mode))
                return ns_fail(layer->failure, NS_UNPACK_LINK_DIRECTORY);
        if (ns_is_whiteout(&status))
                return ns_fail_text(layer->failure, NS_UNPACK_LINK_MISSING, entry->target, entry->target_length);
        return linkat(source->fd, target->name, parent_fd, place->name, 0) < 0 ? link_error(layer, entry) : 0;
}

/* null, zero, full, random, urandom, tty, console, ptmx; and 0:0, a whiteout, which says no more than a .wh. file does.
 */
static bool is_harmless(const struct ns_entry *entry)
{
        static const uint8_t harmless[][2] = {{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 1}, {5, 2}, {0, 0}};
        if (entry->kind == NS_ENTRY_FIFO)
                return true;
        for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
                if (entry->kind == NS_ENTRY_CHARACTER && entry->major == harmless[i][0] &&
                    entry->minor == harmless[i][1])
                        return true;
        return false;
}

/* Where devices cannot be made (a user namespace, a cgroup that forbids it), the harmless ones become whiteouts, too:
 * a container has its own. */
static int make_node(struct ns_layer *layer, const struct ns_entry *entry, const struct ns_directory *parent)
{
        const char *name = layer->place.name;
        bool is_fifo = entry->kind == NS_ENTRY_FIFO;
        bool is_whiteout = !is_harmless(entry) || (!is_fifo && entry->major == 0);
        if (!is_whiteout) {
                dev_t device = is_fifo ? 0 : makedev((unsigned)entry->major, (unsigned)entry->minor);
                if (mknodat(parent->fd, name, (is_fifo ? S_IFIFO : S_IFCHR) | 0600, device) == 0)
                        return ns_dress_by_name(parent->fd, name, entry, parent->is_plain, layer->failure);
                if (is_fifo || errno != EPERM)
                        return errno_or_exists(layer);
        }
        return mknodat(parent->fd, name, S_IFCHR, 0) < 0 ? errno_or_exists(layer) : 0;
}

/* A whiteout speaks of the layers below only: what this layer has by that name stays, but alone. */
static int hide(struct ns_layer *layer, const struct ns_directory *parent, const char *name)
{
        struct stat status;
        if (mknodat(parent->fd, name, S_IFCHR, 0) == 0)
                return 0;
        if (errno != EEXIST || fstatat(parent->fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
                return ns_fail_errno(layer->failure);
        if (!S_ISDIR(status.st_mode))
                return 0;
        CLEANUP_FD int fd = openat(parent->fd, name, OPEN_DIRECTORY);
        return fd < 0 ? ns_fail_errno(layer->failure) : ns_dirs_make_opaque(&layer->dirs, fd);
}

/* ---- entries -------------------------------------------------------------------------------------------------------
 */

static int make(struct ns_layer *layer, const struct ns_entry *entry, const struct ns_directory *parent)
{
        switch (entry->kind) {
        case NS_ENTRY_FILE:
                return make_file(layer, entry, parent);
        case NS_ENTRY_HARD_LINK:
                return make_hard_link(layer, entry, parent);
        case NS_ENTRY_SYMLINK:
                return make_symlink(layer, entry, parent);
        case NS_ENTRY_DIRECTORY:
                return make_directory(layer, entry, parent);
        case NS_ENTRY_CHARACTER:
        case NS_ENTRY_BLOCK:
        case NS_ENTRY_FIFO:
                return make_node(layer, entry, parent);
        }
        __builtin_unreachable();
}

static int clear_the_way(struct ns_layer *layer, const struct ns_directory *parent)
{
        const char *name = layer->place.name;
        struct stat status;
        if (fstatat(parent->fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
                return ns_fail_errno(layer->failure);
        bool is_directory = S_ISDIR(status.st_mode);
        if ((is_directory ? ns_remove_tree(parent->fd, name) : unlinkat(parent->fd, name, 0)) < 0)
                return ns_fail_errno(layer->failure);
        if (is_directory || S_ISLNK(status.st_mode))
                ns_dirs_forget(&layer->dirs);
        return 0;
}

static int add_named(struct ns_layer *layer, const struct ns_entry *entry)
{
        struct ns_place *place = &layer->place;
        for (int attempt = 0;; attempt++) {
                struct ns_directory *parent = ns_dirs_open(&layer->dirs, place->directory, place->directory_length);
                int done = parent == NULL ? -1 : make(layer, entry, parent);
                if (done <= 0)
                        return done;
                errno = EEXIST;
                if (attempt > 0)
                        return ns_fail_errno(layer->failure);
                if (clear_the_way(layer, parent) < 0)
                        return -1;
        }
}

int ns_layer_add(struct ns_layer *layer, struct ns_entry *entry)
{
        struct ns_place *place = &layer->place;
        if (ns_place_read(place, entry->path, layer->limits, layer->failure) < 0)
                return -1;
        if (ns_owner_fit(entry, layer->limits, layer->failure) < 0)
                return -1;
        if (place->parts == 0)
                return dress_root(layer, entry);
        enum ns_name_kind kind = ns_name_kind(place->name);
        if (kind == NS_NAME_PLAIN)
                return add_named(layer, entry);
        if (kind == NS_NAME_BAD)
                return ns_fail(layer->failure, NS_UNPACK_WHITEOUT_NAME);
        if (kind == NS_NAME_IGNORE)
                return 0;
        const struct ns_directory *parent = ns_dirs_open(&layer->dirs, place->directory, place->directory_length);
        if (parent == NULL)
                return -1;
        return kind == NS_NAME_HIDE ? hide(layer, parent, place->name + NS_WHITEOUT_PREFIX)
                                    : ns_dirs_make_opaque(&layer->dirs, parent->fd);
}
