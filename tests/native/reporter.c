/* reporter.c: a container's program for the tests. Its arguments are commands, done one after the other; it says on stdout
 * what it sees, one fact a line. Linked statically: the rootfs needs nothing else.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static void report_fds(void)
{
        DIR *directory = opendir("/proc/self/fd");
        struct dirent *entry;
        while (directory != NULL && (entry = readdir(directory)) != NULL) {
                char target[512] = "";
                if (entry->d_name[0] == '.' || atoi(entry->d_name) == dirfd(directory))
                        continue;
                if (readlinkat(dirfd(directory), entry->d_name, target, sizeof(target) - 1) < 0)
                        continue;
                printf("fd %s %s\n", entry->d_name, target);
        }
        if (directory != NULL)
                closedir(directory);
}

static void report_file(const char *word, const char *path)
{
        char line[4096];
        FILE *file = fopen(path, "re");
        while (file != NULL && fgets(line, sizeof(line), file) != NULL)
                printf("%s %s", word, line);
        if (file != NULL)
                fclose(file);
}

static void report_namespaces(void)
{
        static const char *const names[] = {"mnt", "pid", "net", "ipc", "uts", "cgroup", "user"};
        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                char path[64];
                char target[128] = "";
                snprintf(path, sizeof(path), "/proc/self/ns/%s", names[i]);
                if (readlink(path, target, sizeof(target) - 1) > 0)
                        printf("ns %s %s\n", names[i], target);
        }
}

static void report_all(void)
{
        char text[4096];
        int number = 0;
        struct rlimit limit;
        mode_t mask = umask(0);
        umask(mask);

        report_fds();
        report_file("status", "/proc/self/status");
        report_file("mount", "/proc/self/mountinfo");
        report_file("cgroup", "/proc/self/cgroup");
        report_file("oom", "/proc/self/oom_score_adj");
        report_namespaces();
        printf("cwd %s\n", getcwd(text, sizeof(text)) != NULL ? text : strerror(errno));
        printf("umask %03o\n", mask);
        printf("pid %d\nsid %d\n", getpid(), getsid(0));
        if (gethostname(text, sizeof(text)) == 0)
                printf("hostname %s\n", text);
        for (char **entry = environ; *entry != NULL; entry++)
                printf("env %s\n", *entry);
        for (int resource = 0; resource < RLIM_NLIMITS; resource++)
                if (getrlimit(resource, &limit) == 0)
                        printf("rlimit %d %llu %llu\n", resource, (unsigned long long)limit.rlim_cur,
                               (unsigned long long)limit.rlim_max);
        prctl(PR_GET_PDEATHSIG, &number);
        printf("pdeathsig %d\ndumpable %d\ntty %d\n", number, prctl(PR_GET_DUMPABLE), open("/dev/tty", O_RDWR));
}

static void report_stat(const char *path)
{
        struct stat status;
        if (lstat(path, &status) < 0)
                printf("stat %s errno %d\n", path, errno);
        else
                printf("stat %s %o %u:%u %u:%u\n", path, status.st_mode, status.st_uid, status.st_gid, major(status.st_rdev),
                       minor(status.st_rdev));
}

static void read_path(const char *path)
{
        char text[256];
        int fd = open(path, O_RDONLY | O_NONBLOCK);
        ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
        if (size < 0)
                printf("read %s errno %d\n", path, errno);
        else
                printf("read %s %.*s\n", path, (int)size, text);
        close(fd);
}

static void write_path(const char *path)
{
        int fd = open(path, O_WRONLY | O_CREAT, 0644);
        if (fd < 0 || write(fd, "x", 1) < 0)
                printf("write %s errno %d\n", path, errno);
        else
                printf("write %s ok\n", path);
        close(fd);
}

/* A grandchild that holds the pipes, says a word now and then, and outlives its parent. */
static void leave_behind(int seconds)
{
        fflush(stdout);
        if (fork() != 0)
                return;
        for (int tenth = 0; tenth < seconds * 10; tenth++) {
                struct timespec pause_time = {.tv_nsec = 100000000};
                nanosleep(&pause_time, NULL);
                if (write(1, "left behind\n", 12) < 0)
                        _exit(3);
        }
        _exit(0);
}

/* A grandchild that holds nothing and waits to be killed. */
static void abandon(void)
{
        fflush(stdout);
        if (fork() != 0)
                return;
        for (int fd = 0; fd < 3; fd++)
                close(fd);
        for (;;)
                pause();
}

/* The same, and nobody's child any more: its parent has ended. */
static void leave_daemon(void)
{
        fflush(stdout);
        pid_t parent = fork();
        if (parent != 0) {
                waitpid(parent, NULL, 0);
                return;
        }
        setsid();
        abandon();
        _exit(0);
}

static void flood(long lines)
{
        for (long line = 0; line < lines; line++)
                printf("line %08ld 0123456789012345678901234567890123456789\n", line);
}

static void put(char byte, long count)
{
        for (long at = 0; at < count; at++)
                putchar(byte);
}

/* What it reads, until there is no more. */
static void copy(void)
{
        char text[4096];
        ssize_t size = 0;
        fflush(stdout);
        while ((size = read(0, text, sizeof(text))) > 0)
                if (write(1, text, (size_t)size) < 0)
                        _exit(3);
}

/* SIGUSR1 is blocked from the start on: it may come before the wait for it. */
static void wait_for_signal(void)
{
        sigset_t awaited;
        int number = 0;
        fflush(stdout);
        sigemptyset(&awaited);
        sigaddset(&awaited, SIGUSR1);
        sigwait(&awaited, &number);
}

/* One command and its argument, if it takes one. Returns how many words it was. */
static int run(const char *word, const char *argument)
{
        if (strcmp(word, "report") == 0)
                return report_all(), 1;
        if (strcmp(word, "hang") == 0)
                for (fflush(stdout);;)
                        pause();
        if (strcmp(word, "await") == 0)
                return wait_for_signal(), 1;
        if (strcmp(word, "copy") == 0)
                return copy(), 1;
        if (strcmp(word, "abandon") == 0)
                return abandon(), 1;
        if (strcmp(word, "daemon") == 0)
                return leave_daemon(), 1;
        if (strcmp(word, "outlive") == 0)
                return prctl(PR_SET_PDEATHSIG, 0), 1;
        if (argument == NULL)
                exit(99);
        if (strcmp(word, "say") == 0)
                puts(argument);
        else if (strcmp(word, "mutter") == 0)
                fputs(argument, stdout), fflush(stdout);
        else if (strcmp(word, "complain") == 0)
                fprintf(stderr, "%s\n", argument);
        else if (strcmp(word, "put") == 0)
                put('x', atol(argument));
        else if (strcmp(word, "flood") == 0)
                flood(atol(argument));
        else if (strcmp(word, "stat") == 0)
                report_stat(argument);
        else if (strcmp(word, "read") == 0)
                read_path(argument);
        else if (strcmp(word, "write") == 0)
                write_path(argument);
        else if (strcmp(word, "leave") == 0)
                leave_behind(atoi(argument));
        else if (strcmp(word, "exit") == 0)
                exit(atoi(argument));
        else if (strcmp(word, "die") == 0)
                fflush(stdout), signal(atoi(argument), SIG_DFL), kill(getpid(), atoi(argument)), raise(atoi(argument));
        else
                exit(98);
        return 2;
}

int main(int argc, char **argv)
{
        sigset_t blocked;
        sigemptyset(&blocked);
        sigaddset(&blocked, SIGUSR1);
        sigaddset(&blocked, SIGUSR2); /* a sign for others: who waits for the first does not block it meanwhile */
        for (int at = 1; at < argc; at++)
                if (strcmp(argv[at], "await") == 0)
                        sigprocmask(SIG_BLOCK, &blocked, NULL);
        for (int at = 1; at < argc;)
                at += run(argv[at], at + 1 < argc ? argv[at + 1] : NULL);
        return 0;
}
