/* unpack_spawn.c: starts nsrun-unpack, from a process with many threads, in namespaces of its own. */
#include "cleanup.h"
#include "kernel.h"
#include "unpack.h"

#include <linux/sched.h>
#include <sched.h>
#include <sys/wait.h>

enum { STACK_SIZE = 16384, FIRST_FREE = 4, LIFTED = 8 };

struct spawn_unpack {
        const char *program;
        int input_fd;
        int report_fd;
        int tree_fd;
        volatile int error; /* of the exec; written into the memory that both share */
};

/* 0, 1 and 3 as unpack.h says, 2 is /dev/null. The numbers may sit on each other's places: all are lifted first. */
static int arrange(const struct spawn_unpack *spawn)
{
        int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        int fds[] = {spawn->input_fd, spawn->report_fd, null_fd, spawn->tree_fd};
        for (int i = 0; i < FIRST_FREE; i++) {
                fds[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, LIFTED);
                if (fds[i] < 0)
                        return -1;
        }
        for (int i = 0; i < FIRST_FREE; i++)
                if (dup2(fds[i], i) < 0)
                        return -1;
        return sys_close_range(FIRST_FREE, ~0U, 0);
}

static int become_unpack(void *argument)
{
        struct spawn_unpack *spawn = argument;
        char *const nothing[] = {NULL};
        char *const argv[] = {(char *)"nsrun-unpack", NULL};
        sys_reset_signals();
        if (arrange(spawn) >= 0 && sys_sigmask(0, NULL) >= 0)
                execve(spawn->program, argv, nothing);
        spawn->error = errno;
        syscall(SYS_exit_group, 1);
        __builtin_unreachable();
}

int ns_spawn_unpack(const char *program, int input_fd, int report_fd, int tree_fd, int *pidfd)
{
        _Alignas(16) char stack[STACK_SIZE];
        struct spawn_unpack spawn = {
            .program = program, .input_fd = input_fd, .report_fd = report_fd, .tree_fd = tree_fd};
        int namespaces = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWPID | CLONE_NEWCGROUP;
        uint64_t signals = 0;

        sys_sigmask(~UINT64_C(0), &signals);
        pid_t child = clone(become_unpack, stack + sizeof(stack),
                            CLONE_VM | CLONE_VFORK | CLONE_PIDFD | SIGCHLD | namespaces, &spawn, pidfd);
        int error = child < 0 ? errno : spawn.error;
        sys_sigmask(signals, NULL);
        if (error == 0)
                return child;
        if (child > 0) {
                siginfo_t end;
                while (waitid(P_PID, (id_t)child, &end, WEXITED | __WALL) < 0 && errno == EINTR)
                        ;
                ns_close_fd(pidfd);
        }
        return -error;
}
