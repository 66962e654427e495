/* shim_rotate.c: a log that has grown enough gets another name, and a new one begins.
 *
 *   0.log → 0.log.20060102-150405        the time in UTC, always later than that of the one before
 *
 * The name tells the order, so nothing has to be kept in mind, and a file is never written to again once there is a
 * newer one: whoever reads a log to its end and then finds another file has missed nothing. Should anything fail, the
 * log goes on in the file it has.
 */
#include "cleanup.h"
#include "kernel.h"
#include "shim.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

enum { STAMP_LENGTH = 15, ENTRIES_ROOM = 4096, MOST_REMOVED = 64, NAME_TRIES = 1000 };

/* What getdents64 gives. */
struct entry {
        uint64_t inode;
        int64_t offset;
        uint16_t length;
        uint8_t type;
        char name[];
};

static bool is_stamp(const char *text)
{
        for (int at = 0; at < STAMP_LENGTH; at++)
                if (at == 8 ? text[at] != '-' : text[at] < '0' || text[at] > '9')
                        return false;
        return text[STAMP_LENGTH] == '\0';
}

static bool is_rotated(const struct ns_log *log, const char *name)
{
        size_t length = strlen(log->name);
        return strncmp(name, log->name, length) == 0 && name[length] == '.' && is_stamp(name + length + 1);
}

/* How many rotated files there are, and which is the oldest. */
static unsigned int count_rotated(const struct ns_log *log, char oldest[NS_NAME_MAX])
{
        _Alignas(struct entry) char room[ENTRIES_ROOM];
        unsigned int count = 0;
        long size = 0;
        oldest[0] = '\0';
        if (lseek(log->dir_fd, 0, SEEK_SET) < 0)
                return 0;
        while ((size = syscall(SYS_getdents64, log->dir_fd, room, sizeof(room))) > 0) {
                for (long at = 0; at < size;) {
                        const struct entry *entry = (const struct entry *)(room + at);
                        at += entry->length;
                        if (!is_rotated(log, entry->name))
                                continue;
                        if (count++ == 0 || strcmp(entry->name, oldest) < 0)
                                memcpy(oldest, entry->name, strlen(entry->name) + 1);
                }
        }
        return count;
}

static void remove_oldest(const struct ns_log *log)
{
        char oldest[NS_NAME_MAX];
        for (int removed = 0; removed < MOST_REMOVED && count_rotated(log, oldest) + 1 > log->files; removed++)
                if (unlinkat(log->dir_fd, oldest, 0) < 0)
                        return;
}

/* A name that is not taken. */
static int choose_name(struct ns_log *log, char name[NS_NAME_MAX])
{
        struct stat status;
        size_t length = strlen(log->name);
        int64_t now = ns_now(CLOCK_REALTIME) / 1000000000;
        if (length + 1 + STAMP_LENGTH >= NS_NAME_MAX)
                return errno = ENAMETOOLONG, -1;
        memcpy(name, log->name, length);
        name[length] = '.';
        for (int tries = 0; tries < NAME_TRIES; tries++) {
                log->rotated = now > log->rotated ? now : log->rotated + 1;
                *ns_put_stamp(name + length + 1, log->rotated) = '\0';
                if (fstatat(log->dir_fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
                        return errno == ENOENT ? 0 : -1;
        }
        return errno = EEXIST, -1;
}

void ns_log_rotate(struct ns_log *log)
{
        char name[NS_NAME_MAX];
        int old_fd = log->fd;
        log->size = 0; /* should it fail: not again at once */
        if (choose_name(log, name) < 0)
                return;
        /* A log that somebody took away begins again, too. */
        if (renameat(log->dir_fd, log->name, log->dir_fd, name) < 0 && errno != ENOENT)
                return;
        if (ns_log_open(log) < 0) {
                log->fd = old_fd;
                renameat(log->dir_fd, name, log->dir_fd, log->name);
                return;
        }
        ns_close_fd(&old_fd);
        remove_oldest(log);
}
