/* unpack_remove.c: removes a tree, with one descriptor and no memory however deep it is.
 *
 * It goes down into the first directory that is not empty, and up by "..", which nobody can move here. Whatever was
 * removed is gone, so a directory that is come back to is read from its beginning.
 */
#include "cleanup.h"
#include "kernel.h"
#include "unpack_layer.h"

#include <dirent.h>
#include <string.h>

enum { ENTRIES_ROOM = 32768, OPEN_DIRECTORY = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC };

struct kernel_dirent {
        uint64_t inode;
        int64_t offset;
        uint16_t length;
        uint8_t kind;
        char name[];
};

static bool is_self_or_parent(const char *name)
{
        return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* 1: it is gone; 0: it is a directory with something in it; -1. */
static int remove_one(int directory, const char *name)
{
        if (unlinkat(directory, name, 0) == 0)
                return 1;
        if (errno != EISDIR && errno != EPERM)
                return -1;
        if (unlinkat(directory, name, AT_REMOVEDIR) == 0)
                return 1;
        return errno == ENOTEMPTY || errno == EEXIST ? 0 : -1;
}

/* Empties the directory as far as it goes. 1: it is empty; 0: *below is now a directory in it that is not; -1. */
static int empty(int directory, int *below)
{
        _Alignas(struct kernel_dirent) char entries[ENTRIES_ROOM];
        if (lseek(directory, 0, SEEK_SET) < 0)
                return -1;
        for (bool removed = false;;) {
                long got = syscall(SYS_getdents64, directory, entries, sizeof(entries));
                if (got < 0)
                        return -1;
                if (got == 0 && !removed)
                        return 1;
                if (got == 0) {
                        removed = false;
                        if (lseek(directory, 0, SEEK_SET) < 0)
                                return -1;
                }
                for (long at = 0; at < got;) {
                        const struct kernel_dirent *entry = (const void *)(entries + at);
                        at += entry->length;
                        if (is_self_or_parent(entry->name))
                                continue;
                        int gone = remove_one(directory, entry->name);
                        if (gone < 0)
                                return -1;
                        removed = true;
                        if (gone == 0) {
                                *below = openat(directory, entry->name, OPEN_DIRECTORY);
                                return *below < 0 ? -1 : 0;
                        }
                }
        }
}

int ns_remove_tree(int parent, const char *name)
{
        CLEANUP_FD int directory = openat(parent, name, OPEN_DIRECTORY);
        if (directory < 0)
                return -1;
        for (size_t depth = 0;;) {
                int next = -1;
                int done = empty(directory, &next);
                if (done < 0)
                        return -1;
                if (done > 0 && depth == 0)
                        return unlinkat(parent, name, AT_REMOVEDIR);
                if (done > 0)
                        next = openat(directory, "..", OPEN_DIRECTORY);
                if (next < 0)
                        return -1;
                depth = done > 0 ? depth - 1 : depth + 1;
                ns_close_fd(&directory);
                directory = next;
        }
}
