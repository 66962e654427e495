/* shim_cgroup.c: the cgroups of commands: one each, below their container's, so that all they start can be found.
 *
 * On cgroup v2 one word kills everything in one (cgroup.kill, Linux 5.14). Elsewhere it is frozen, its members are
 * killed one by one, and it is thawed.
 */
#include "cleanup.h"
#include "kernel.h"
#include "shim.h"

#include <string.h>
#include <sys/stat.h>

enum { NAME_ROOM = 32, LIST_ROOM = 4096 };

/* "exec-<number>" */
static void name_of(uint64_t number, char out[NAME_ROOM])
{
        char digits[24];
        size_t count = 0;
        size_t length = sizeof("exec-") - 1;
        memcpy(out, "exec-", length);
        do
                digits[count++] = (char)('0' + number % 10);
        while ((number /= 10) > 0);
        while (count > 0)
                out[length++] = digits[--count];
        out[length] = '\0';
}

int ns_cgroup_make(int parent_fd, uint64_t number)
{
        char name[NAME_ROOM];
        name_of(number, name);
        if (mkdirat(parent_fd, name, 0755) < 0 && errno != EEXIST)
                return -1;
        return openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

int ns_cgroup_remove(int parent_fd, uint64_t number)
{
        char name[NAME_ROOM];
        name_of(number, name);
        return unlinkat(parent_fd, name, AT_REMOVEDIR) < 0 && errno != ENOENT ? -1 : 0;
}

static int put(int cgroup_fd, const char *file, const char *word)
{
        CLEANUP_FD int fd = openat(cgroup_fd, file, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
        return fd < 0 || write(fd, word, strlen(word)) < 0 ? -1 : 0;
}

static void freeze(int cgroup_fd, bool frozen)
{
        if (put(cgroup_fd, "cgroup.freeze", frozen ? "1" : "0") < 0)
                put(cgroup_fd, "freezer.state", frozen ? "FROZEN" : "THAWED");
}

/* One pid a line. Another process namespace's members are 0: not ours to see, so not ours to kill. */
static void kill_members(int cgroup_fd)
{
        char text[LIST_ROOM];
        ssize_t size = 0;
        pid_t pid = 0;
        CLEANUP_FD int fd = openat(cgroup_fd, "cgroup.procs", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        while (fd >= 0 && (size = read(fd, text, sizeof(text))) > 0) {
                for (ssize_t at = 0; at < size; at++) {
                        if (text[at] >= '0' && text[at] <= '9') {
                                pid = pid * 10 + (text[at] - '0');
                                continue;
                        }
                        if (pid > 0)
                                kill(pid, SIGKILL);
                        pid = 0;
                }
        }
}

void ns_cgroup_kill(int cgroup_fd)
{
        if (put(cgroup_fd, "cgroup.kill", "1") == 0)
                return;
        freeze(cgroup_fd, true);
        kill_members(cgroup_fd);
        freeze(cgroup_fd, false);
}
