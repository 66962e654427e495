/* holder.c: nsrun-holder, alone in a user's user, mount and network namespaces, so that they outlive who made them.
 *
 *   starter ── forks and leaves ── holder: unshares, says so, waits for its maps, becomes their root, executes itself
 *
 * Descriptor 0 is a socket to the starter. Each stage says a struct ns_holder_word on it; after NS_HOLDER_UNSHARED the
 * holder waits for one byte, for it cannot write its own maps (user_namespaces(7)). When its starter goes before that,
 * the holder goes too.
 *
 * It executes itself inside because memory belongs to the user namespace of its exec: only then may the user's own
 * processes join it while it is not dumpable (ptrace(2), "Ptrace access mode checking"), and who is root in a container
 * without CAP_SYS_PTRACE may not look at it.
 *
 *   nsrun-holder make PIN    makes all three, and pins the network namespace on the file PIN
 *   nsrun-holder join PIN    holds the user and mount namespaces it is in, and the network namespace of PIN
 */
#include "holder.h"
#include "cleanup.h"
#include "kernel.h"

#include <linux/capability.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>

enum { STARTER = 0, FAILED = 1 };

static void say(enum ns_holder_step step, int error)
{
        struct ns_holder_word word = {.step = step, .error = error, .pid = getpid()};
        send(STARTER, &word, sizeof(word), MSG_NOSIGNAL);
}

static _Noreturn void fail(enum ns_holder_step step)
{
        say(step, errno);
        _exit(FAILED);
}

static int await_maps(void)
{
        char go = 0;
        ssize_t got = 0;
        do
                got = read(STARTER, &go, 1);
        while (got < 0 && errno == EINTR);
        return got == 1 ? 0 : -1;
}

static int become_root(void)
{
        /* Refused where a single id is mapped: there setgroups(2) is forbidden for good. */
        if (syscall(SYS_setgroups, 0, NULL) < 0 && errno != EPERM)
                return -1;
        return syscall(SYS_setresgid, 0, 0, 0) < 0 || syscall(SYS_setresuid, 0, 0, 0) < 0 ? -1 : 0;
}

/* What the host mounts later shows up here, never the other way round; and among those who live here, mounts
 * propagate as systemd lets them on the host. */
static int arrange_mounts(void)
{
        if (sys_mount(NULL, "/", NULL, MS_SLAVE | MS_REC, NULL) < 0)
                return -1;
        return sys_mount(NULL, "/", NULL, MS_SHARED | MS_REC, NULL);
}

static int loopback_up(void)
{
        struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
        CLEANUP_FD int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        return fd < 0 ? -1 : ioctl(fd, SIOCSIFFLAGS, &request);
}

/* For who comes after a holder that was killed: as long as somebody is in the mount namespace, it is not lost. */
static int pin_network(const char *pin)
{
        return sys_mount("/proc/self/ns/net", pin, NULL, MS_BIND, NULL);
}

static int join_network(const char *pin)
{
        CLEANUP_FD int fd = open(pin, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -1;
        if (sys_setns(fd, CLONE_NEWNET) == 0)
                return 0;
        /* EINVAL: nothing is pinned there. */
        return errno != EINVAL || sys_unshare(CLONE_NEWNET) < 0 ? -1 : pin_network(pin);
}

static int give_up_power(void)
{
        struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct none[2] = {0};
        if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return -1;
        return syscall(SYS_capset, &head, none) < 0 ? -1 : 0;
}

/* SIGTERM ends it; no other signal that can be ignored does. */
static void ignore_signals(void)
{
        struct ns_kernel_sigaction ignored = {.handler = SIG_IGN};
        for (int number = 1; number <= NS_SIGNAL_COUNT; number++)
                if (number != SIGTERM)
                        syscall(SYS_rt_sigaction, number, &ignored, NULL, NS_SIGSET_SIZE);
}

static _Noreturn void hold(void)
{
        prctl(PR_SET_NAME, "nsrun-holder", 0, 0, 0);
        if (sys_close_range(1, ~0U, 0) < 0 || chdir("/") < 0)
                fail(NS_HOLDER_ALONE);
        sys_reset_signals();
        ignore_signals();
        sys_sigmask(0, NULL);
        if (give_up_power() < 0)
                fail(NS_HOLDER_ALONE);
        say(NS_HOLDER_HOLDS, 0);
        close(STARTER);
        for (;;)
                syscall(SYS_ppoll, NULL, 0, NULL, NULL, 0);
}

static _Noreturn void hold_again(void)
{
        char *const argv[] = {(char *)"nsrun-holder", (char *)"hold", NULL};
        char *const no_environment[] = {NULL};
        execve("/proc/self/exe", argv, no_environment);
        fail(NS_HOLDER_EXEC);
}

static _Noreturn void make_namespaces(const char *pin)
{
        if (sys_unshare(CLONE_NEWUSER) < 0)
                fail(NS_HOLDER_USER);
        if (sys_unshare(CLONE_NEWNS | CLONE_NEWNET) < 0)
                fail(NS_HOLDER_OTHERS);
        say(NS_HOLDER_UNSHARED, 0);
        if (await_maps() < 0)
                _exit(FAILED);
        if (become_root() < 0)
                fail(NS_HOLDER_ROOT);
        if (arrange_mounts() < 0)
                fail(NS_HOLDER_MOUNTS);
        if (pin_network(pin) < 0)
                fail(NS_HOLDER_NETWORK);
        if (loopback_up() < 0)
                fail(NS_HOLDER_LOOPBACK);
        hold_again();
}

static _Noreturn void join_namespaces(const char *pin)
{
        if (join_network(pin) < 0)
                fail(NS_HOLDER_NETWORK);
        if (loopback_up() < 0)
                fail(NS_HOLDER_LOOPBACK);
        hold_again();
}

int main(int argc, char **argv)
{
        if (argc == 2 && strcmp(argv[1], "hold") == 0)
                hold();
        if (argc != 3)
                return FAILED;
        pid_t child = fork();
        if (child < 0)
                fail(NS_HOLDER_ALONE);
        if (child > 0)
                return 0;
        if (setsid() < 0)
                fail(NS_HOLDER_ALONE);
        if (strcmp(argv[1], "join") == 0)
                join_namespaces(argv[2]);
        make_namespaces(argv[2]);
}
