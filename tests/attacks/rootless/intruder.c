/* intruder: lays hands on what is named, and says of each way whether it worked: "<way> ok" or "<way> <errno's name>".
 *
 *   intruder process PID ADDRESS   a process, and the byte at a hexadecimal address of its memory
 *   intruder see WORD              processes whose command line has the word: "see <how many>"
 *   intruder everybody             SIGUSR1 to all that may be signalled
 *   intruder key DESCRIPTION       a key of the user's, by name and by number
 *   intruder abstract NAME         an abstract socket
 *   intruder socket PATH           a socket in the file system
 *   intruder namespace PID         the namespaces of a process
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/keyctl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SYS_pidfd_open
#define SYS_pidfd_open 434
#endif
#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

static void told(const char *way, long result)
{
        printf("%s %s\n", way, result >= 0 ? "ok" : strerrorname_np(errno));
        fflush(stdout);
}

static const char *of(const char *pid, const char *name)
{
        static char path[PATH_MAX];
        snprintf(path, sizeof(path), "/proc/%s/%s", pid, name);
        return path;
}

/* Fails where nothing comes, too: what is not shown reads as empty. */
static long first_byte(const char *path, off_t at)
{
        char byte;
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return -1;
        ssize_t got = pread(fd, &byte, 1, at);
        if (got == 0)
                errno = ENODATA;
        close(fd);
        return got == 1 ? 0 : -1;
}

static void process(const char *pid, const char *address)
{
        pid_t number = atoi(pid);
        unsigned long at = strtoul(address, NULL, 16);
        char byte;
        struct iovec here = {&byte, 1};
        struct iovec there = {(void *)at, 1};
        told("signal", kill(number, 0));
        int pidfd = (int)syscall(SYS_pidfd_open, number, 0);
        told("pidfd-signal", pidfd < 0 ? -1 : syscall(SYS_pidfd_send_signal, pidfd, 0, NULL, 0));
        told("descriptor", pidfd < 0 ? -1 : syscall(SYS_pidfd_getfd, pidfd, 0, 0));
        told("environment", first_byte(of(pid, "environ"), 0));
        told("memory", first_byte(of(pid, "mem"), (off_t)at));
        told("memory-call", process_vm_readv(number, &here, 1, &there, 1, 0));
        told("maps", first_byte(of(pid, "maps"), 0));
        told("root", open(of(pid, "root/"), O_PATH));
        told("directory", open(of(pid, "cwd/"), O_PATH));
        char target[PATH_MAX];
        told("descriptors", readlink(of(pid, "fd/0"), target, sizeof(target)));
        told("program", open(of(pid, "exe"), O_RDONLY));
        long traced = ptrace(PTRACE_SEIZE, number, NULL, NULL);
        told("trace", traced);
}

static void namespaces(const char *pid)
{
        static const struct {
                const char *way, *name;
        } all[] = {{"network", "ns/net"}, {"mounts", "ns/mnt"}, {"users", "ns/user"}, {"ipc", "ns/ipc"}};
        for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
                /* Each in a process of its own: one that worked changes what the next may do. */
                fflush(stdout);
                pid_t child = fork();
                if (child == 0) {
                        int fd = open(of(pid, all[i].name), O_RDONLY);
                        told(all[i].way, fd < 0 ? -1 : setns(fd, 0));
                        _exit(0);
                }
                waitpid(child, NULL, 0);
        }
}

static void see(const char *word)
{
        char line[4096];
        int seen = 0;
        DIR *proc = opendir("/proc");
        for (const struct dirent *entry; proc != NULL && (entry = readdir(proc)) != NULL;) {
                if (atoi(entry->d_name) <= 0 || atoi(entry->d_name) == getpid())
                        continue;
                int fd = open(of(entry->d_name, "cmdline"), O_RDONLY);
                ssize_t got = fd < 0 ? -1 : read(fd, line, sizeof(line));
                if (got > 0 && memmem(line, (size_t)got, word, strlen(word)) != NULL)
                        seen++;
                if (fd >= 0)
                        close(fd);
        }
        printf("see %d\n", seen);
}

static long readable(int serial)
{
        char secret[256];
        return syscall(SYS_keyctl, KEYCTL_READ, serial, secret, sizeof(secret));
}

/* By name in the keyrings that are reached by their special numbers, then by the numbers that /proc/keys lists: a
 * keyring that may be linked into one's own makes all in it one's own. */
static void key(const char *description)
{
        static const struct {
                const char *way;
                int keyring;
        } rings[] = {{"session", KEY_SPEC_SESSION_KEYRING}, {"user", KEY_SPEC_USER_KEYRING}};
        for (size_t i = 0; i < sizeof(rings) / sizeof(rings[0]); i++) {
                long found = syscall(SYS_keyctl, KEYCTL_SEARCH, rings[i].keyring, "user", description, 0);
                told(rings[i].way, found < 0 ? -1 : readable((int)found));
        }
        char line[512];
        long linked = -1, listed = -1;
        int why_not = ENOKEY;
        FILE *keys = fopen("/proc/keys", "r");
        while (keys != NULL && fgets(line, sizeof(line), keys) != NULL) {
                int serial = (int)strtoul(line, NULL, 16);
                if (strstr(line, description) != NULL && readable(serial) >= 0)
                        listed = 0;
                if (strstr(line, " keyring ") == NULL)
                        continue;
                if (syscall(SYS_keyctl, KEYCTL_LINK, serial, KEY_SPEC_PROCESS_KEYRING) < 0)
                        why_not = errno;
        }
        long found = syscall(SYS_keyctl, KEYCTL_SEARCH, KEY_SPEC_PROCESS_KEYRING, "user", description, 0);
        if (found >= 0)
                linked = readable((int)found);
        errno = why_not;
        told("listed", listed);
        told("linked", linked);
}

static long connected(const struct sockaddr_un *address, size_t length)
{
        char byte;
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);
        if (fd < 0 || connect(fd, (const struct sockaddr *)address, (socklen_t)length) < 0)
                return -1;
        return read(fd, &byte, 1);
}

static void abstract(const char *name)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        size_t length = strlen(name);
        memcpy(address.sun_path + 1, name, length);
        told("abstract", connected(&address, offsetof(struct sockaddr_un, sun_path) + 1 + length));
}

static void in_files(const char *path)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
        told("socket", connected(&address, sizeof(address)));
}

int main(int argc, char **argv)
{
        const char *what = argc > 1 ? argv[1] : "";
        if (strcmp(what, "process") == 0 && argc == 4)
                process(argv[2], argv[3]);
        else if (strcmp(what, "namespace") == 0 && argc == 3)
                namespaces(argv[2]);
        else if (strcmp(what, "see") == 0 && argc == 3)
                see(argv[2]);
        else if (strcmp(what, "key") == 0 && argc == 3)
                key(argv[2]);
        else if (strcmp(what, "abstract") == 0 && argc == 3)
                abstract(argv[2]);
        else if (strcmp(what, "socket") == 0 && argc == 3)
                in_files(argv[2]);
        else if (strcmp(what, "everybody") == 0) {
                signal(SIGUSR1, SIG_IGN);
                told("everybody", kill(-1, SIGUSR1));
        } else
                return 2;
        return 0;
}
