/* unpack_dress.c: owner, mode, attributes and time of what was made. */
#include "kernel.h"
#include "unpack_layer.h"

#include <string.h>
#include <sys/xattr.h>

enum { SPECIAL_BITS = 07000, XATTR_NAME_MAX = 255 };

static bool is_kept(const char *name)
{
        static const char overlay[] = "user.overlay.";
        if (strcmp(name, "security.capability") == 0)
                return true;
        return strncmp(name, "user.", strlen("user.")) == 0 && strncmp(name, overlay, sizeof(overlay) - 1) != 0;
}

/* Many file systems have no user.*, and nothing depends on it. A lost capability would break the program. */
static int set_xattr(int fd, const char *name, struct ns_slice value)
{
        if (fsetxattr(fd, name, value.data, value.length, 0) == 0)
                return 0;
        return errno == EOPNOTSUPP && strncmp(name, "user.", strlen("user.")) == 0 ? 0 : -1;
}

/* The reader has seen that the records are well formed, and that no name has a NUL in it. */
static int set_xattrs(int fd, const struct ns_pax *pax, struct ns_unpack_failure *failure)
{
        char name[XATTR_NAME_MAX + 2];
        struct ns_pax_record record;
        size_t at = 0;
        while (ns_pax_next(pax->content, pax->length, &at, &record, failure) > 0) {
                struct ns_slice found = ns_pax_xattr(record.key);
                /* An empty value takes a record back (POSIX pax), also for who else reads layers: Go's archive/tar. */
                if (found.data == NULL || record.value.length == 0)
                        continue;
                /* Of a name that is too long the kernel sees enough to say so. */
                size_t length = found.length <= XATTR_NAME_MAX ? found.length : XATTR_NAME_MAX + 1;
                memcpy(name, found.data, length);
                name[length] = '\0';
                if (is_kept(name) && set_xattr(fd, name, record.value) < 0)
                        return ns_fail_errno(failure);
        }
        return 0;
}

bool ns_born_with_mode(const struct ns_entry *entry, bool is_plain)
{
        bool inherits = entry->kind == NS_ENTRY_DIRECTORY && !is_plain;
        return !inherits && (entry->mode & SPECIAL_BITS) == 0;
}

/* Owner first: chown(2) takes set-user-ID bits and file capabilities away. */
int ns_dress(int fd, const struct ns_entry *entry, bool is_plain, struct ns_unpack_failure *failure)
{
        bool is_owned = is_plain && entry->uid == 0 && entry->gid == 0;
        if (!is_owned && fchown(fd, (uid_t)entry->uid, (gid_t)entry->gid) < 0)
                return ns_fail_errno(failure);
        if (!ns_born_with_mode(entry, is_plain) && fchmod(fd, entry->mode) < 0)
                return ns_fail_errno(failure);
        if (entry->xattrs != NULL && set_xattrs(fd, entry->xattrs, failure) < 0)
                return -1;
        return entry->has_lost_owner ? ns_owner_record(fd, entry, failure) : 0;
}

int ns_set_time(int fd, const struct ns_entry *entry, struct ns_unpack_failure *failure)
{
        struct timespec time = {.tv_sec = entry->mtime.seconds, .tv_nsec = entry->mtime.nanoseconds};
        struct timespec times[2] = {time, time};
        return futimens(fd, times) < 0 ? ns_fail_errno(failure) : 0;
}

int ns_dress_by_name(int parent, const char *name, const struct ns_entry *entry, bool is_plain,
                     struct ns_unpack_failure *failure)
{
        bool is_owned = is_plain && entry->uid == 0 && entry->gid == 0;
        struct timespec time = {.tv_sec = entry->mtime.seconds, .tv_nsec = entry->mtime.nanoseconds};
        struct timespec times[2] = {time, time};
        if (!is_owned && fchownat(parent, name, (uid_t)entry->uid, (gid_t)entry->gid, AT_SYMLINK_NOFOLLOW) < 0)
                return ns_fail_errno(failure);
        /* Made by us just now, and no link. */
        if (entry->kind != NS_ENTRY_SYMLINK && fchmodat(parent, name, entry->mode, 0) < 0)
                return ns_fail_errno(failure);
        return utimensat(parent, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? ns_fail_errno(failure) : 0;
}
