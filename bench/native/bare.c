/* bare.c: the floor. The system calls of a container's start, one after the other, by a program that does nothing else:
 * no plan, no checks, no log, no records. What nsrun-shim needs for the same is measured against this.
 *
 *   bare <directory> <count> <idle ms> <program>    prints the microseconds from clone3 to exec, one line for each
 * start
 *
 * The directory holds lower0/, lower1/, stage/ and empty/. Runs in a mount namespace of its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { DETACH = 2 };

static long must(long result, const char *what)
{
        if (result < 0) {
                perror(what);
                _exit(1);
        }
        return result;
}

static int in_root(int root, const char *path, uint64_t flags)
{
        struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
        return (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
}

static int target(int root, const char *path)
{
        int fd = in_root(root, path, O_PATH | O_DIRECTORY);
        if (fd < 0 && errno == ENOENT) {
                must(mkdirat(root, path + 1, 0755), path);
                fd = in_root(root, path, O_PATH | O_DIRECTORY);
        }
        return (int)must(fd, path);
}

static void attach(int mount_fd, int target_fd)
{
        must(syscall(SYS_move_mount, mount_fd, "", target_fd, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH),
             "move_mount");
        close(mount_fd);
        close(target_fd);
}

static void fs(int root, const char *type, const char *path, const char *key, const char *value, unsigned int flags)
{
        int context = (int)must(syscall(SYS_fsopen, type, FSOPEN_CLOEXEC), type);
        if (key != NULL)
                must(syscall(SYS_fsconfig, context, FSCONFIG_SET_STRING, key, value, 0), key);
        must(syscall(SYS_fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0), type);
        int mounted = (int)must(syscall(SYS_fsmount, context, FSMOUNT_CLOEXEC, flags), type);
        close(context);
        attach(mounted, target(root, path));
}

static void cover(int root, const char *path, const char *empty, int null_fd)
{
        struct mount_attr read_only = {.attr_set = MOUNT_ATTR_RDONLY};
        struct stat status;
        int fd = in_root(root, path, O_PATH);
        if (fd < 0)
                return;
        must(fstat(fd, &status), path);
        int copy =
            (int)(S_ISDIR(status.st_mode)
                      ? syscall(SYS_open_tree, AT_FDCWD, empty, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)
                      : syscall(SYS_open_tree, null_fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH));
        must(copy, path);
        if (S_ISDIR(status.st_mode))
                must(syscall(SYS_mount_setattr, copy, "", AT_EMPTY_PATH, &read_only, sizeof(read_only)), path);
        attach(copy, fd);
}

static void read_only(int root, const char *path)
{
        struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};
        const unsigned int flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE;
        int fd = in_root(root, path, O_PATH);
        if (fd < 0)
                return;
        int copy = (int)must(syscall(SYS_open_tree, fd, "", flags), path);
        must(syscall(SYS_mount_setattr, copy, "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof(attributes)), path);
        attach(copy, fd);
}

static void build(const char *base, int number)
{
        static const char *const masked[] = {
            "/proc/acpi",       "/proc/kcore", "/proc/keys",    "/proc/latency_stats",          "/proc/timer_list",
            "/proc/interrupts", "/proc/scsi",  "/sys/firmware", "/sys/devices/virtual/powercap"};
        static const char *const fixed[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
        static const char *const nodes[] = {"null", "zero", "full", "random", "urandom", "tty"};
        static const int minors[] = {3, 5, 7, 8, 9, 0};
        char path[256];
        char options[512];
        int fds[4];
        const char *const parts[] = {"lower0", "lower1", "upper", "work"};

        must(syscall(SYS_mount, NULL, "/", NULL, MS_SLAVE | MS_REC, NULL), "slave");
        for (int i = 0; i < 4; i++) {
                snprintf(path, sizeof(path), i < 2 ? "%s/%s" : "%s/%s/%d", base, parts[i], number);
                fds[i] = (int)must(open(path, O_PATH | O_CLOEXEC), path);
        }
        snprintf(
            options, sizeof(options),
            "lowerdir=/proc/self/fd/%d:/proc/self/fd/%d,upperdir=/proc/self/fd/%d,workdir=/proc/self/fd/%d,volatile",
            fds[0], fds[1], fds[2], fds[3]);
        snprintf(path, sizeof(path), "%s/stage", base);
        must(syscall(SYS_mount, "overlay", path, "overlay", 0, options), "overlay");
        int root = (int)must(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC), path);
        const unsigned int tight = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
        fs(root, "proc", "/proc", NULL, NULL, tight);
        fs(root, "tmpfs", "/dev", "mode", "755", MOUNT_ATTR_NOSUID);
        fs(root, "devpts", "/dev/pts", "mode", "0620", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
        fs(root, "mqueue", "/dev/mqueue", NULL, NULL, tight);
        fs(root, "tmpfs", "/dev/shm", "mode", "1777", tight);
        fs(root, "sysfs", "/sys", NULL, NULL, tight | MOUNT_ATTR_RDONLY);
        int dev = target(root, "/dev");
        for (int i = 0; i < 6; i++)
                must(mknodat(dev, nodes[i], S_IFCHR | 0666, makedev(i == 5 ? 5 : 1, minors[i])), nodes[i]);
        must(symlinkat("/proc/self/fd", dev, "fd"), "fd");
        must(symlinkat("/proc/self/fd/0", dev, "stdin"), "stdin");
        must(symlinkat("/proc/self/fd/1", dev, "stdout"), "stdout");
        must(symlinkat("/proc/self/fd/2", dev, "stderr"), "stderr");
        must(symlinkat("pts/ptmx", dev, "ptmx"), "ptmx");
        snprintf(path, sizeof(path), "%s/empty", base);
        int null_fd = (int)must(open("/dev/null", O_PATH | O_CLOEXEC), "null");
        for (size_t i = 0; i < sizeof(masked) / sizeof(masked[0]); i++)
                cover(root, masked[i], path, null_fd);
        for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++)
                read_only(root, fixed[i]);
        must(fchdir(root), "fchdir");
        must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
        must(syscall(SYS_umount2, ".", DETACH), "umount");
        must(chdir("/"), "chdir");
}

static void drop(void)
{
        const uint64_t kept = 0xa80425fb & ~(1ULL << 13 | 1ULL << 27 | 1ULL << 29);
        struct rlimit files = {1024, 1024};
        struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct data[2] = {{(uint32_t)kept, (uint32_t)kept, 0}, {0, 0, 0}};
        must(setsid(), "setsid");
        must(setrlimit(RLIMIT_NOFILE, &files), "rlimit");
        must(syscall(SYS_setgroups, 0, NULL), "setgroups");
        for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
                if ((kept >> cap & 1) == 0)
                        must(prctl(PR_CAPBSET_DROP, cap, 0, 0, 0), "capbset");
        must(syscall(SYS_capset, &head, data), "capset");
        must(prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0), "pdeathsig");
}

static void child(const char *base, int number, int pause_fd, const char *program)
{
        char *const argv[] = {(char *)(uintptr_t)program, "exit", "0", NULL};
        char *const envp[] = {NULL};
        must(syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC), "close_range");
        must(syscall(SYS_setns, pause_fd, CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET), "setns");
        build(base, number);
        drop();
        execve(program, argv, envp);
        must(-1, program);
}

static pid_t start(uint64_t flags, int *pidfd)
{
        struct clone_args args = {
            .flags = flags | CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)pidfd, .exit_signal = SIGCHLD};
        return (pid_t)must(syscall(SYS_clone3, &args, sizeof(args)), "clone3");
}

static double now(void)
{
        struct timespec time;
        clock_gettime(CLOCK_MONOTONIC, &time);
        return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static double launch(const char *base, int number, int pause_fd, const char *program)
{
        char path[256];
        char byte;
        int ends[2];
        int pidfd = -1;
        snprintf(path, sizeof(path), "%s/upper/%d", base, number);
        must(mkdir(path, 0755), path);
        snprintf(path, sizeof(path), "%s/work/%d", base, number);
        must(mkdir(path, 0755), path);
        double before = now();
        must(pipe2(ends, O_CLOEXEC), "pipe");
        pid_t pid = start(CLONE_NEWNS | CLONE_NEWPID, &pidfd);
        if (pid == 0)
                child(base, number, pause_fd, program);
        close(ends[1]);
        if (read(ends[0], &byte, 1) != 0) /* the exec closes it */
                exit(1);
        double took = now() - before;
        close(ends[0]);
        close(pidfd);
        must(waitpid(pid, NULL, 0), "waitpid");
        return took;
}

int main(int argc, char **argv)
{
        int pause_fd = -1;
        if (argc != 5)
                return 2;
        pid_t holder = start(CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET, &pause_fd);
        if (holder == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
                for (;;)
                        pause();
        }
        for (int number = 0; number < atoi(argv[2]); number++) {
                long idle = atol(argv[3]);
                struct timespec between = {.tv_sec = idle / 1000, .tv_nsec = idle % 1000 * 1000000};
                nanosleep(&between, NULL);
                printf("%.1f\n", launch(argv[1], number, pause_fd, argv[4]));
        }
        kill(holder, SIGKILL);
        return 0;
}
