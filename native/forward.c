/* forward.c: start and loop. See forward.h.
 *
 * Started in the run directory, like a shim, with a pipe as descriptor 0 on which it tells once how its start went. It
 * ends when it is asked to, and when the process is gone that holds the pods' network namespace.
 */
#include "forward.h"
#include "cleanup.h"
#include "kernel.h"

#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>

enum { EVENTS = 128, OTHER_FDS = 64, FDS_PER_CONNECTION = 6, MILLISECOND = 1000000 };

void ns_chain_init(struct ns_chain *head)
{
        head->before = head->after = head;
}

void ns_chain_append(struct ns_chain *head, struct ns_chain *item)
{
        item->before = head->before;
        item->after = head;
        head->before->after = item;
        head->before = item;
}

void ns_chain_remove(struct ns_chain *item)
{
        if (item->after == NULL)
                return;
        item->before->after = item->after;
        item->after->before = item->before;
        item->before = item->after = NULL;
}

int ns_forward_watch(struct ns_forward *forward, int fd, uint32_t events, enum ns_forward_source source, uint32_t index)
{
        struct epoll_event event = {.events = events, .data.u64 = (uint64_t)source << 32 | index};
        return epoll_ctl(forward->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

/* As many descriptors as may be, and from that what fits: two sockets and, while they move data, two pipes each. */
static int size_up(struct ns_forward *forward)
{
        struct rlimit limit;
        if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
                return -1;
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
                return -1;
        uint64_t all = limit.rlim_cur < UINT64_C(1) << 20 ? limit.rlim_cur : UINT64_C(1) << 20;
        uint64_t ports = all / 4 < NS_FORWARD_PORTS_MAX ? all / 4 : NS_FORWARD_PORTS_MAX;
        uint64_t flows = all / 8 < NS_FORWARD_FLOWS_MAX ? all / 8 : NS_FORWARD_FLOWS_MAX;
        if (all < ports + flows + OTHER_FDS + FDS_PER_CONNECTION)
                return errno = EMFILE, -1;
        uint64_t connections = (all - ports - flows - OTHER_FDS) / FDS_PER_CONNECTION;
        forward->flows_max = (uint32_t)flows;
        forward->connections_max =
            connections < NS_FORWARD_CONNECTIONS_MAX ? (uint32_t)connections : NS_FORWARD_CONNECTIONS_MAX;
        return 0;
}

static int start(struct ns_forward *forward)
{
        struct ns_chain *const heads[] = {
            &forward->free_connections, &forward->connecting, &forward->open,     &forward->ready,
            &forward->free_flows,       &forward->unanswered, &forward->answered,
        };
        for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++)
                ns_chain_init(heads[i]);
        for (int i = 0; i < NS_FORWARD_CLIENTS_MAX; i++)
                forward->controllers[i] = -1;
        forward->holder_fd = -1;
        sys_reset_signals();
        if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || sys_sigmask(~UINT64_C(0), NULL) < 0 || size_up(forward) < 0)
                return -1;
        if (getrandom(&forward->key, sizeof(forward->key), 0) != sizeof(forward->key))
                return -1;
        forward->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
        return forward->epoll_fd < 0 ? -1 : ns_forward_listen(forward);
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

static void dispatch(struct ns_forward *forward, const struct epoll_event *event)
{
        uint32_t index = (uint32_t)event->data.u64;
        switch ((enum ns_forward_source)(event->data.u64 >> 32)) {
        case NS_FORWARD_FROM_CONTROL:
                ns_forward_welcome(forward);
                break;
        case NS_FORWARD_FROM_CONTROLLER:
                ns_forward_hear(forward, index);
                break;
        case NS_FORWARD_FROM_HOLDER:
                forward->stopped = true;
                break;
        case NS_FORWARD_FROM_PORT:
                if (forward->ports[index].fd < 0)
                        break;
                if (forward->ports[index].port.protocol == NS_FORWARD_TCP)
                        ns_connections_accept(forward, &forward->ports[index]);
                else
                        ns_flows_receive(forward, &forward->ports[index]);
                break;
        case NS_FORWARD_FROM_CLIENT:
                ns_connection_event(forward, &forward->connections[index], NS_CLIENT, event->events);
                break;
        case NS_FORWARD_FROM_POD:
                ns_connection_event(forward, &forward->connections[index], NS_POD, event->events);
                break;
        case NS_FORWARD_FROM_FLOW:
                ns_flow_answer(forward, &forward->flows[index]);
                break;
        }
}

static int64_t clock_now(void)
{
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Milliseconds until something is due; -1: nothing is. */
static int patience(const struct ns_forward *forward)
{
        if (forward->ready.after != &forward->ready)
                return 0;
        int64_t due = ns_connections_due(forward), flows = ns_flows_due(forward);
        if (flows < due)
                due = flows;
        if (forward->retry_at != 0 && forward->retry_at < due)
                due = forward->retry_at;
        if (due == INT64_MAX)
                return -1;
        int64_t left = due - clock_now();
        return left <= 0 ? 0 : (int)(left / MILLISECOND) + 1;
}

static void loop(struct ns_forward *forward)
{
        struct epoll_event events[EVENTS];
        while (!forward->stopped) {
                int count = epoll_wait(forward->epoll_fd, events, EVENTS, patience(forward));
                forward->now = clock_now();
                for (int i = 0; i < count; i++)
                        dispatch(forward, &events[i]);
                ns_pump_ready(forward);
                ns_connections_expire(forward);
                ns_flows_expire(forward);
                if (forward->retry_at != 0 && forward->retry_at <= forward->now) {
                        forward->retry_at = 0;
                        ns_ports_resume(forward);
                }
        }
}

int main(void)
{
        prctl(PR_SET_NAME, "nsrun-forward", 0, 0, 0);
        struct ns_forward *forward =
            mmap(NULL, sizeof(*forward), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (forward == MAP_FAILED || start(forward) < 0) {
                report_start(errno);
                return 1;
        }
        if (report_start(0) < 0)
                return 1;
        loop(forward);
        return 0;
}
