/* relay.c: see relay.h. One poll(2) for everything; a flow is waited for at one end at a time, where it reads or where
 * it writes, so that whoever is slow is never read ahead of.
 */
#include "relay.h"
#include "cleanup.h"
#include "kernel.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>

enum { TYPED_CHUNK = 1024 };

static bool pending(const struct ns_flow *flow)
{
        return flow->start < flow->end;
}

/* Of the two ends one is ours to close; the other is the tool's own. */
static void finish(struct ns_flow *flow)
{
        if ((flow->flags & NS_FLOW_INPUT) != 0)
                ns_close_fd(&flow->to_fd);
        else
                ns_close_fd(&flow->from_fd);
        flow->from_fd = flow->to_fd = -1;
        flow->start = flow->end = 0;
}

/* True: the last of the keys was typed. Those that began like them and went on otherwise are passed on. */
static bool take_typed(const struct ns_relay *relay, struct ns_flow *flow, const char *typed, size_t count)
{
        for (size_t i = 0; i < count; i++) {
                if (flow->matched < relay->key_count && typed[i] == relay->keys[flow->matched]) {
                        if (++flow->matched == relay->key_count)
                                return true;
                        continue;
                }
                memcpy(flow->buffer + flow->end, relay->keys, flow->matched);
                flow->end += flow->matched;
                flow->matched = 0;
                if (relay->key_count > 1 && typed[i] == relay->keys[0])
                        flow->matched = 1;
                else
                        flow->buffer[flow->end++] = typed[i];
        }
        return false;
}

/* An event, or 0. */
static int read_flow(const struct ns_relay *relay, struct ns_flow *flow)
{
        bool typed = (flow->flags & NS_FLOW_TYPED) != 0;
        char keys[TYPED_CHUNK];
        flow->start = flow->end = 0;
        ssize_t size = read(flow->from_fd, typed ? keys : flow->buffer, typed ? sizeof(keys) : sizeof(flow->buffer));
        if (size < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (size <= 0) { /* of a terminal, EIO is an end */
                finish(flow);
                return typed ? NS_RELAY_HANGUP : 0;
        }
        if (!typed)
                flow->end = (uint32_t)size;
        else if (take_typed(relay, flow, keys, (size_t)size))
                return NS_RELAY_DETACHED;
        return 0;
}

static void write_flow(struct ns_flow *flow)
{
        uint32_t size = flow->end - flow->start;
        ssize_t written = write(flow->to_fd, flow->buffer + flow->start, size < flow->chunk ? size : flow->chunk);
        if (written >= 0)
                flow->start += (uint32_t)written;
        else if (errno != EAGAIN && errno != EINTR) {
                flow->error = errno;
                finish(flow);
        }
}

static bool takes_part(const struct ns_flow *flow, bool draining)
{
        return flow->from_fd >= 0 && !(draining && (flow->flags & NS_FLOW_INPUT) != 0);
}

static int take_signal(struct ns_relay *relay)
{
        struct signalfd_siginfo info;
        if (read(relay->signal_fd, &info, sizeof(info)) != sizeof(info))
                return 0;
        if (info.ssi_signo == SIGWINCH) {
                if (relay->terminal_fd >= 0 && relay->master_fd >= 0)
                        ns_copy_size(relay->terminal_fd, relay->master_fd);
                return 0;
        }
        relay->signal = info.ssi_signo;
        return NS_RELAY_SIGNAL;
}

/* What is waited for; returns whether something waits to be written. */
static bool prepare(const struct ns_relay *relay, bool draining, struct pollfd *polled)
{
        bool writing = false;
        polled[0] = (struct pollfd){.fd = draining ? -1 : relay->shim_fd, .events = POLLIN};
        polled[1] = (struct pollfd){.fd = relay->signal_fd, .events = POLLIN};
        for (uint32_t i = 0; i < relay->flow_count; i++) {
                const struct ns_flow *flow = &relay->flows[i];
                struct pollfd *one = &polled[2 + i];
                *one = (struct pollfd){.fd = -1};
                if (!takes_part(flow, draining))
                        continue;
                *one = pending(flow) ? (struct pollfd){.fd = flow->to_fd, .events = POLLOUT}
                                     : (struct pollfd){.fd = flow->from_fd, .events = POLLIN};
                writing = writing || pending(flow);
        }
        return writing;
}

int ns_relay_run(struct ns_relay *relay, int draining)
{
        struct pollfd polled[2 + NS_RELAY_FLOWS];
        if (relay->flow_count > NS_RELAY_FLOWS || relay->key_count > NS_RELAY_KEYS)
                return -EINVAL;
        for (;;) {
                bool writing = prepare(relay, draining != 0, polled);
                int ready = poll(polled, 2 + relay->flow_count, draining != 0 && !writing ? 0 : -1);
                if (ready < 0 && errno != EINTR)
                        return -errno;
                if (ready == 0)
                        return NS_RELAY_IDLE;
                int event = ready > 0 && polled[1].revents != 0 ? take_signal(relay) : 0;
                for (uint32_t i = 0; i < relay->flow_count && event == 0; i++) {
                        struct ns_flow *flow = &relay->flows[i];
                        if (ready < 0 || polled[2 + i].revents == 0)
                                continue;
                        if (pending(flow))
                                write_flow(flow);
                        else
                                event = read_flow(relay, flow);
                }
                if (event == 0 && ready > 0 && polled[0].revents != 0)
                        event = NS_RELAY_SHIM;
                if (event != 0)
                        return event;
        }
}

int ns_copy_size(int from, int to)
{
        struct winsize size;
        return ioctl(from, TIOCGWINSZ, &size) < 0 || ioctl(to, TIOCSWINSZ, &size) < 0 ? -errno : 0;
}

static uint64_t without_ignored(uint64_t signals)
{
        for (int number = 1; number <= NS_SIGNAL_COUNT; number++) {
                struct sigaction action;
                uint64_t bit = 1ULL << (number - 1);
                if ((signals & bit) != 0 && sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
                        signals &= ~bit;
        }
        return signals;
}

int ns_tell_signals(struct ns_told *told)
{
        told->signals = without_ignored(told->signals);
        int fd = (int)syscall(SYS_signalfd4, -1, &told->signals, NS_SIGSET_SIZE, SFD_CLOEXEC | SFD_NONBLOCK);
        if (fd < 0)
                return -errno;
        syscall(SYS_rt_sigprocmask, SIG_BLOCK, &told->signals, &told->before, NS_SIGSET_SIZE);
        return fd;
}

void ns_untell_signals(const struct ns_told *told)
{
        static const struct timespec now = {0};
        while (syscall(SYS_rt_sigtimedwait, &told->signals, NULL, &now, NS_SIGSET_SIZE) > 0)
                continue;
        sys_sigmask(told->before, NULL);
}
