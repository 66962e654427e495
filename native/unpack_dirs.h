/* unpack_dirs.h: the directories of a layer that is being unpacked, found by descriptor.
 *
 * A path of an archive is the attacker's. Its directory part is resolved by openat2(2) with RESOLVE_IN_ROOT: links in
 * it are followed, as users of images expect (lib -> usr/lib, then lib/x), but as if the layer's directory were "/".
 * What is then done with the last component is done with the descriptor and the bare name, and follows nothing.
 *
 * The last ones stay open. A descriptor cannot come to mean another place (nothing moves directories here), but a path
 * can, when a link or a directory on it is replaced: whoever replaces one must ns_dirs_forget.
 *
 * Filling a directory changes its time. So each that is open knows the time it shall have, and gets it when it is
 * closed; of one that is not open, the time is right. Nothing is kept of directories that are closed, however many
 * there are.
 */
#pragma once

#include "unpack_number.h"

#include <stdbool.h>
#include <sys/stat.h>

enum { NS_DIRS_CAPACITY = 256 };

/* `inode`: two paths may lead to one directory; all of it are told alike. `is_plain`: what is made in it belongs to 0:0
 * and has the mode that was asked for. `is_touched`: its time has to be set. */
struct ns_directory {
        int fd;
        uint32_t hash;
        uint64_t inode;
        uint64_t used;
        struct ns_moment mtime;
        bool is_plain;
        bool is_touched;
        size_t length;
        char *path; /* [NS_UNPACK_PATH_MAX + 1] */
};

/* slots[0] is the layer's own directory, "". `error`: of setting a time, told at the end. */
struct ns_dirs {
        struct ns_directory *slots; /* [NS_DIRS_CAPACITY] */
        size_t capacity;
        size_t count;
        uint64_t clock;
        const char *opaque;
        int error;
        struct ns_unpack_failure *failure;
};

/* `fd`: the layer's own directory, which is dressed as a directory that nobody lists. */
int ns_dirs_begin(struct ns_dirs *dirs, int fd);

/* The directory that something is made in, good until the next call; what is missing on the way is made: 0755, root.
 * `path`: NUL-terminated, changed and put right again. */
struct ns_directory *ns_dirs_open(struct ns_dirs *dirs, char *path, size_t length);

/* The same, of a directory that must be there. NULL: errno says why. */
struct ns_directory *ns_dirs_find(struct ns_dirs *dirs, const char *path, size_t length);

/* A directory at this path was dressed: its owner and mode are new, and its time shall be this. Takes `fd`. */
int ns_dirs_dressed(struct ns_dirs *dirs, const char *path, size_t length, int fd, struct ns_moment mtime);

/* Gives all but the layer's own their times, and closes them. */
void ns_dirs_forget(struct ns_dirs *dirs);

int ns_dirs_finish(struct ns_dirs *dirs);

/* Hides what the layers below have in a directory. */
int ns_dirs_make_opaque(struct ns_dirs *dirs, int fd);

/* What overlayfs takes for a whiteout: a character device 0:0. */
static inline bool ns_is_whiteout(const struct stat *status)
{
        return S_ISCHR(status->st_mode) && status->st_rdev == 0;
}
