/* watcher.c: a container's program that waits for others to appear in its process namespace, and lays hands on them
 * before they have executed anything. It says what it got, one word a line; "ready" first.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PIDS = 1 << 16 };

static int slurp(const char *path, char *text, size_t room)
{
        int fd = open(path, O_RDONLY);
        ssize_t size = fd < 0 ? -1 : read(fd, text, room - 1);
        if (fd >= 0)
                close(fd);
        text[size < 0 ? 0 : size] = '\0';
        return size < 0 ? -1 : 0;
}

/* What else it has open than a program has. */
static void look_at_fds(int pid)
{
        char path[64];
        char target[256] = "";
        struct dirent *entry;
        snprintf(path, sizeof(path), "/proc/%d/fd", pid);
        DIR *directory = opendir(path);
        while (directory != NULL && (entry = readdir(directory)) != NULL) {
                if (atoi(entry->d_name) < 3)
                        continue;
                ssize_t size = readlinkat(dirfd(directory), entry->d_name, target, sizeof(target) - 1);
                target[size < 0 ? 0 : size] = '\0';
                if (size >= 0)
                        printf("fd %s\n", target);
        }
        if (directory != NULL)
                closedir(directory);
}

/* Not gone, and no program of its own yet. */
static int is_set_up(int pid, char *text, size_t room)
{
        char path[64];
        snprintf(path, sizeof(path), "/proc/%d/status", pid);
        return slurp(path, text, room) == 0 && strncmp(text, "Name:\tnsrun-shim", 16) == 0;
}

/* What was got of it, if it was still itself then. */
static const char *gotten(int pid, const char *word)
{
        char text[4096];
        return is_set_up(pid, text, sizeof(text)) ? word : "gone";
}

static void look_at(int pid)
{
        char path[64];
        char text[4096];
        if (!is_set_up(pid, text, sizeof(text)))
                return;
        const char *caps = strstr(text, "CapEff:\t");
        printf("caps %.16s\n", caps == NULL ? "?" : caps + 8);
        look_at_fds(pid);
        snprintf(path, sizeof(path), "/proc/%d/mem", pid);
        int fd = open(path, O_RDWR);
        printf("mem %s\n", fd < 0 ? "refused" : gotten(pid, "open"));
        close(fd);
        snprintf(path, sizeof(path), "/proc/%d/exe", pid);
        fd = open(path, O_WRONLY);
        printf("exe %s\n", fd < 0 ? "refused" : "open");
        close(fd);
        /* Not PTRACE_ATTACH: its SIGSTOP may come after all is over, and leave the process stopped. */
        if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) < 0) {
                printf("trace %s\n", errno == ESRCH ? "gone" : "refused");
        } else {
                ptrace(PTRACE_INTERRUPT, pid, NULL, NULL);
                waitpid(pid, NULL, __WALL);
                printf("trace %s\n", gotten(pid, "attached"));
                ptrace(PTRACE_DETACH, pid, NULL, NULL);
        }
        fflush(stdout);
}

int main(void)
{
        static char seen[PIDS];
        printf("ready\n");
        fflush(stdout);
        for (;;) {
                /* Numbers are given one after the other: who comes next is known. */
                DIR *directory = opendir("/proc");
                struct dirent *entry;
                while (directory != NULL && (entry = readdir(directory)) != NULL) {
                        int pid = atoi(entry->d_name);
                        if (pid <= 1 || pid >= PIDS || seen[pid])
                                continue;
                        seen[pid] = 1;
                        look_at(pid);
                }
                if (directory != NULL)
                        closedir(directory);
        }
}
