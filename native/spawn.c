/* spawn.c: starts a shim, or another helper, that outlives its starter.
 *
 *   caller ── child (leaves at once) ── shim: nobody's child here, so init or the nearest subreaper becomes its parent
 *
 * Both are vfork-like children: nothing of the caller's memory is copied. The shim's descriptor 0 is a pipe on which it
 * says once how its start went (an int, errno or 0); it then puts /dev/null there.
 */
#include "cleanup.h"
#include "kernel.h"
#include "nsrun_abi.h"
#include "vfork.h"

#include <sched.h>
#include <sys/stat.h>

struct spawn {
        const char *program;
        const char *name;
        const char *title;
        int run_dir_fd;
        int status_fd;
        volatile int error; /* of the exec */
        volatile pid_t pid;
};

/* Nothing but the status pipe, /dev/null twice, and the run directory as cwd. */
static int arrange(const struct spawn *spawn)
{
        int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null_fd < 0 || fchdir(spawn->run_dir_fd) < 0)
                return -1;
        /* The caller's 0, 1 or 2 may be closed, so that a descriptor we need sits there: lift both first. */
        int status_fd = fcntl(spawn->status_fd, F_DUPFD_CLOEXEC, 3);
        null_fd = fcntl(null_fd, F_DUPFD_CLOEXEC, 3);
        if (status_fd < 0 || null_fd < 0)
                return -1;
        if (dup2(status_fd, 0) < 0 || dup2(null_fd, 1) < 0 || dup2(null_fd, 2) < 0)
                return -1;
        return sys_close_range(3, ~0U, CLOSE_RANGE_CLOEXEC);
}

static int become_helper(void *argument)
{
        struct spawn *spawn = argument;
        char *const no_environment[] = {NULL};
        char *const argv[] = {(char *)spawn->name, (char *)spawn->title, NULL};

        sys_reset_signals();
        umask(077);
        if (setsid() >= 0 && arrange(spawn) >= 0 && sys_sigmask(0, NULL) >= 0)
                execve(spawn->program, argv, no_environment);
        spawn->error = errno;
        syscall(SYS_exit_group, 1);
        __builtin_unreachable();
}

static int leave_helper_behind(void *argument)
{
        _Alignas(16) char stack[16384];
        struct spawn *spawn = argument;
        pid_t pid = clone(become_helper, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, spawn);
        if (pid < 0)
                return -errno;
        spawn->pid = pid;
        return -spawn->error;
}

/* The shim's own word; -ECHILD when it dies without one. */
static int read_status(int fd)
{
        int error = 0;
        ssize_t got = 0;
        do
                got = read(fd, &error, sizeof(error));
        while (got < 0 && errno == EINTR);
        return got == sizeof(error) ? -error : -ECHILD;
}

int ns_spawn(const char *program, const char *name, int run_dir_fd, const char *title)
{
        int pipe_fds[2];
        if (pipe2(pipe_fds, O_CLOEXEC) < 0)
                return -errno;
        CLEANUP_FD int reader = pipe_fds[0];
        CLEANUP_FD int writer = pipe_fds[1];
        struct spawn spawn = {
            .program = program, .name = name, .title = title, .run_dir_fd = run_dir_fd, .status_fd = writer};

        int answer = ns_in_child(0, leave_helper_behind, &spawn);
        ns_close_fd(&writer);
        if (answer == 0)
                answer = read_status(reader);
        return answer < 0 ? answer : spawn.pid;
}
