/* shim_family.c: what a command started, where no cgroup holds it together.
 *
 * Such a command is the subreaper of all that it starts (enter.c), so every process of its is below it as long as it
 * lives itself: daemons, too. It is stopped, and can start nothing more; then whatever is below it is killed, again and
 * again until nothing is found, and it itself comes last. Who has been killed starts nothing more either: fork(2) fails
 * while SIGKILL is pending.
 */
#include "cleanup.h"
#include "kernel.h"
#include "shim.h"

#include <string.h>

enum {
        ROUNDS = 64, /* what was killed and is still there waits for a device: then it is left to die when it can */
        PATH_ROOM = 32,
        STAT_ROOM = 1024,
        LIST_ROOM = 4096,
        FIELD_STATE = 3, /* of proc_pid_stat(5) */
        FIELD_PARENT = 4,
        FIELD_THREADS = 20,
        FIELD_START = 22,
};

/* What getdents64 gives. */
struct kernel_dirent {
        uint64_t inode;
        int64_t offset;
        uint16_t length;
        uint8_t kind;
        char name[];
};

/* "/proc/<pid>/stat" */
static void stat_path(pid_t pid, char out[PATH_ROOM])
{
        char digits[12];
        size_t count = 0;
        size_t length = sizeof("/proc/") - 1;
        memcpy(out, "/proc/", length);
        do
                digits[count++] = (char)('0' + pid % 10);
        while ((pid /= 10) > 0);
        while (count > 0)
                out[length++] = digits[--count];
        memcpy(out + length, "/stat", sizeof("/stat"));
}

static uint64_t number(const char *text)
{
        uint64_t value = 0;
        while (*text >= '0' && *text <= '9')
                value = value * 10 + (uint64_t)(*text++ - '0');
        return value;
}

bool ns_stat_read(pid_t pid, struct ns_stat *stat)
{
        char path[PATH_ROOM];
        char text[STAT_ROOM];
        stat_path(pid, path);
        CLEANUP_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
        if (size <= 0)
                return false;
        text[size] = '\0';
        *stat = (struct ns_stat){0};
        /* The second field may hold anything, so count from its last parenthesis. */
        const char *at = strrchr(text, ')');
        for (int field = 3; at != NULL && field <= FIELD_START; field++) {
                at = strchr(at + 1, ' ');
                if (at == NULL)
                        break;
                if (field == FIELD_STATE)
                        stat->ended = at[1] == 'Z' || at[1] == 'X';
                else if (field == FIELD_PARENT)
                        stat->parent = (pid_t)number(at + 1);
                else if (field == FIELD_THREADS)
                        stat->ended = stat->ended && number(at + 1) <= 1; /* only its first thread has ended */
                else if (field == FIELD_START)
                        stat->start_ticks = number(at + 1);
        }
        return true;
}

/* Up from parent to parent. A number that was read is believed when the link to it still holds afterwards: it was that
 * process's, then, while it was looked at. */
static bool is_below(pid_t pid, pid_t top)
{
        struct ns_stat child;
        struct ns_stat again;
        struct ns_stat parent;
        if (!ns_stat_read(pid, &child) || child.ended)
                return false;
        while (child.parent > 1 && child.parent != top) {
                if (!ns_stat_read(child.parent, &parent) || !ns_stat_read(pid, &again))
                        return false;
                if (again.parent != child.parent) { /* its parent died: it is somebody else's now */
                        child = again;
                        continue;
                }
                pid = child.parent;
                child = parent;
        }
        return child.parent == top;
}

static bool kill_if_below(pid_t pid, pid_t top)
{
        CLEANUP_FD int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        /* Looked at after it was opened: if it is below now, the pidfd is its, or of one that is gone. */
        if (pidfd < 0 || !is_below(pid, top))
                return false;
        sys_pidfd_send_signal(pidfd, SIGKILL);
        return true;
}

/* How many are below that have not ended. The kernel lists them by number: who is born meanwhile comes later. */
static unsigned int kill_below(pid_t top)
{
        _Alignas(struct kernel_dirent) char room[LIST_ROOM];
        unsigned int found = 0;
        long size = 0;
        CLEANUP_FD int proc_fd = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        while (proc_fd >= 0 && (size = syscall(SYS_getdents64, proc_fd, room, sizeof(room))) > 0) {
                for (long at = 0; at < size;) {
                        const struct kernel_dirent *entry = (const void *)(room + at);
                        at += entry->length;
                        pid_t pid = (pid_t)number(entry->name);
                        if (pid > 1 && pid != top && kill_if_below(pid, top))
                                found++;
                }
        }
        return found;
}

void ns_family_kill(pid_t pid)
{
        kill(pid, SIGSTOP);
        for (int round = 0; round < ROUNDS && kill_below(pid) > 0; round++)
                ;
        kill(pid, SIGKILL);
}
