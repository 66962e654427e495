/* shim.c: the parent of everything in a pod.
 *
 * It acts and remembers; nsrun decides, and may die at any moment. The shim is started in the pod's run directory with
 * a pipe as descriptor 0, on which it tells once how its start went. From then on it waits in one epoll: for requests,
 * for output, for ends. It ignores every signal but SIGKILL, and its own death kills pause (PDEATHSIG), and so
 * every process namespace of the pod (launch.c).
 */
#include "shim.h"
#include "cleanup.h"
#include "kernel.h"

#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

enum { EVENTS = 32, BACKLOG = 128 };

int64_t ns_now(int clock)
{
        struct timespec now;
        clock_gettime(clock, &now);
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int ns_fail(struct ns_failure *failure, uint32_t step, int error)
{
        *failure = (struct ns_failure){.step = step, .error = error, .index = NS_NO_INDEX};
        return -1;
}

int ns_watch(struct ns_shim *shim, int fd, enum ns_source source, unsigned int index, unsigned int stream)
{
        struct epoll_event event = {
            .events = EPOLLIN,
            .data.u64 = (uint64_t)source << 32 | (uint64_t)index << 8 | stream,
        };
        return epoll_ctl(shim->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

void ns_unwatch(int epoll_fd, int *fd)
{
        if (*fd >= 0)
                epoll_ctl(epoll_fd, EPOLL_CTL_DEL, *fd, NULL);
        ns_close_fd(fd);
}

/* What was here before may have been killed and left its socket; one that answers is alive. */
static int clear_stale(const struct sockaddr_un *address)
{
        CLEANUP_FD int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -1;
        if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN)
                return errno = EADDRINUSE, -1;
        return unlink(address->sun_path) < 0 && errno != ENOENT ? -1 : 0;
}

static int open_socket(void)
{
        const struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "shim.sock"};
        CLEANUP_FD int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || clear_stale(&address) < 0)
                return -1;
        umask(0177);
        if (bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, BACKLOG) < 0)
                return -1;
        umask(027); /* logs are 0640; everything else is made with a mode of its own */
        return ns_take_fd(&fd);
}

static int open_exits(void)
{
        if (mkdir("exits", 0700) < 0 && errno != EEXIST)
                return -1;
        return open("exits", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Every signal is blocked for good, none is ignored: children would inherit that. Of SIGCHLD the loop is told. */
static int open_signals(void)
{
        const uint64_t child = UINT64_C(1) << (SIGCHLD - 1);
        sys_reset_signals();
        if (sys_sigmask(~UINT64_C(0), NULL) < 0)
                return -1;
        return (int)syscall(SYS_signalfd4, -1, &child, NS_SIGSET_SIZE, SFD_CLOEXEC | SFD_NONBLOCK);
}

static int start(struct ns_shim *shim)
{
        if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0)
                return -1;
        for (int i = 0; i < NS_MAX_CLIENTS; i++)
                shim->clients[i].fd = -1;
        shim->stop_client = -1;
        shim->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        shim->signal_fd = open_signals();
        shim->exits_fd = open_exits();
        if (shim->epoll_fd < 0 || shim->signal_fd < 0 || shim->exits_fd < 0)
                return -1;
        shim->listen_fd = open_socket();
        if (shim->listen_fd < 0 || ns_watch(shim, shim->signal_fd, NS_FROM_SIGNALS, 0, 0) < 0)
                return -1;
        return ns_watch(shim, shim->listen_fd, NS_FROM_LISTENER, 0, 0);
}

/* Tells the starter, then lets go of it. */
static int report_start(int error)
{
        ssize_t written = write(0, &error, sizeof(error));
        (void)written;
        CLEANUP_FD int null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
        for (int fd = 0; fd < 3; fd++)
                if (dup2(null_fd, fd) < 0)
                        return -1;
        return 0;
}

static void swallow(int signal_fd)
{
        struct signalfd_siginfo info;
        while (read(signal_fd, &info, sizeof(info)) > 0)
                ;
}

static void dispatch(struct ns_shim *shim, uint64_t data)
{
        unsigned int index = (unsigned int)(data >> 8) & 0xffffff;
        switch ((enum ns_source)(data >> 32)) {
        case NS_FROM_LISTENER:
                ns_clients_accept(shim);
                break;
        case NS_FROM_SIGNALS:
                swallow(shim->signal_fd);
                ns_entries_reap(shim);
                break;
        case NS_FROM_CLIENT:
                ns_client_read(shim, index);
                break;
        case NS_FROM_CONTROL:
                ns_launch_progress(shim, &shim->entries[index]);
                break;
        case NS_FROM_STREAM:
                ns_entry_read(shim, &shim->entries[index], (unsigned int)data & 0xff);
                break;
        case NS_FROM_EXEC:
                ns_exec_read(shim, &shim->execs[index]);
                break;
        case NS_FROM_EXEC_CONTROL:
                ns_exec_heard(shim, &shim->execs[index]);
                break;
        }
}

/* Everything has ended and is recorded: nothing of the pod is left but us. */
static void stop(struct ns_shim *shim)
{
        ns_strays_kill();
        unlink("shim.sock");
        ns_answer(shim, shim->stop_client, shim->stop_serial, NULL);
        shim->stopped = true;
}

static void loop(struct ns_shim *shim)
{
        struct epoll_event events[EVENTS];
        while (!shim->stopped) {
                int count = epoll_wait(shim->epoll_fd, events, EVENTS, ns_entries_timeout(shim));
                for (int i = 0; i < count; i++)
                        dispatch(shim, events[i].data.u64);
                ns_entries_expire(shim);
                ns_execs_expire(shim);
                if (shim->stopping && !ns_entries_alive(shim) && !ns_execs_alive(shim))
                        stop(shim);
        }
}

int main(void)
{
        /* Started from a descriptor, it would be called by the descriptor's number. */
        prctl(PR_SET_NAME, "nsrun-shim", 0, 0, 0);
        struct ns_shim *shim = mmap(NULL, sizeof(*shim), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (shim == MAP_FAILED || start(shim) < 0) {
                report_start(errno);
                return 1;
        }
        if (report_start(0) < 0)
                return 1;
        loop(shim);
        return 0;
}
