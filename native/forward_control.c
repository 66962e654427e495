/* forward_control.c: the socket that nsrun asks through. Whoever may connect is trusted with the ports; what it sends
 * is checked all the same. */
#include "cleanup.h"
#include "forward.h"
#include "forward_request.h"
#include "kernel.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

enum { MAX_FDS = 2, BACKLOG = 16 };

static const int64_t MILLISECOND = 1000000;

static const struct sockaddr_un ADDRESS = {.sun_family = AF_UNIX, .sun_path = "forward.sock"};

/* What was here before may have been killed and left its socket; one that answers is alive. */
static int clear_stale(void)
{
        CLEANUP_FD int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -1;
        if (connect(fd, (const struct sockaddr *)&ADDRESS, sizeof(ADDRESS)) == 0 || errno == EAGAIN)
                return errno = EADDRINUSE, -1;
        return unlink(ADDRESS.sun_path) < 0 && errno != ENOENT ? -1 : 0;
}

int ns_forward_listen(struct ns_forward *forward)
{
        CLEANUP_FD int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || clear_stale() < 0)
                return -1;
        umask(0177);
        if (bind(fd, (const struct sockaddr *)&ADDRESS, sizeof(ADDRESS)) < 0 || listen(fd, BACKLOG) < 0)
                return -1;
        if (ns_forward_watch(forward, fd, EPOLLIN, NS_FORWARD_FROM_CONTROL, 0) < 0)
                return -1;
        forward->control_fd = ns_take_fd(&fd);
        return 0;
}

static bool welcome(int fd)
{
        struct ucred peer;
        socklen_t size = sizeof(peer);
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
                return false;
        return peer.uid == 0 || peer.uid == geteuid();
}

void ns_forward_welcome(struct ns_forward *forward)
{
        uint32_t index = 0;
        CLEANUP_FD int fd = accept4(forward->control_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 || !welcome(fd))
                return;
        while (index < NS_FORWARD_CLIENTS_MAX && forward->controllers[index] >= 0)
                index++;
        if (index < NS_FORWARD_CLIENTS_MAX &&
            ns_forward_watch(forward, fd, EPOLLIN, NS_FORWARD_FROM_CONTROLLER, index) == 0)
                forward->controllers[index] = ns_take_fd(&fd);
}

static void answer(struct ns_forward *forward, uint32_t index, int error, bool with_ports)
{
        struct {
                struct ns_forward_answer head;
                struct ns_forward_port ports[NS_FORWARD_PORTS_MAX];
        } message = {.head = {
                         .error = error,
                         .flags = (forward->configured ? NS_FORWARD_CONFIGURED : 0) |
                                  (forward->transparent ? NS_FORWARD_TRANSPARENT : 0),
                         .connections = forward->connection_count,
                         .connections_max = forward->connections_max,
                         .flows = forward->flow_count,
                         .flows_max = forward->flows_max,
                     }};
        for (uint32_t i = 0; with_ports && i < forward->ports_used; i++)
                if (forward->ports[i].fd >= 0)
                        message.ports[message.head.count++] = forward->ports[i].port;
        size_t size = sizeof(message.head) + message.head.count * sizeof(message.ports[0]);
        if (send(forward->controllers[index], &message, size, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
                ns_close_fd(&forward->controllers[index]);
}

/* Once: there is no way back. What cannot be changed any more is done last. */
static int configure(struct ns_forward *forward, const struct ns_forward_request *request, int fds[MAX_FDS])
{
        if (forward->configured)
                return EALREADY;
        if (ns_forward_watch(forward, fds[1], EPOLLIN, NS_FORWARD_FROM_HOLDER, 0) < 0)
                return errno;
        forward->holder_fd = ns_take_fd(&fds[1]);
        if (ns_forward_enter(fds[0]) < 0) {
                forward->stopped = true;
                return errno;
        }
        forward->network = request->network;
        forward->mask = request->mask;
        forward->connect_limit = request->connect_ms * MILLISECOND;
        forward->unanswered_limit = request->unanswered_ms * MILLISECOND;
        forward->answered_limit = request->answered_ms * MILLISECOND;
        forward->transparent = (request->flags & NS_FORWARD_TRANSPARENT) != 0 && ns_source_possible();
        forward->configured = true;
        return 0;
}

/* 0 or an errno. Descriptors that stay are taken out of `fds`. */
static int handle(struct ns_forward *forward, const struct ns_forward_request *request, int fds[MAX_FDS])
{
        switch ((enum ns_forward_kind)request->kind) {
        case NS_FORWARD_CONFIGURE:
                return configure(forward, request, fds);
        case NS_FORWARD_ADD:
                return forward->configured ? ns_port_add(forward, &request->port, &fds[0]) : ENOTCONN;
        case NS_FORWARD_REMOVE:
                return ns_port_remove(forward, &request->port);
        case NS_FORWARD_LIST:
                break;
        case NS_FORWARD_STOP:
                unlink(ADDRESS.sun_path);
                forward->stopped = true;
                break;
        }
        return 0;
}

/* Copies the descriptors of a message out; returns how many. */
static unsigned int collect(struct msghdr *head, int fds[MAX_FDS])
{
        struct cmsghdr *part = CMSG_FIRSTHDR(head);
        if (part == NULL || part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
                return 0;
        size_t size = part->cmsg_len - CMSG_LEN(0);
        memcpy(fds, CMSG_DATA(part), size);
        return (unsigned int)(size / sizeof(int));
}

void ns_forward_hear(struct ns_forward *forward, uint32_t index)
{
        struct ns_forward_request request = {0};
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int) * MAX_FDS)];
        } control;
        struct iovec part = {.iov_base = &request, .iov_len = sizeof(request)};
        struct msghdr head = {
            .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes)};
        int fds[MAX_FDS] = {-1, -1};

        if (forward->controllers[index] < 0)
                return;
        ssize_t size = recvmsg(forward->controllers[index], &head, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (size < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (size <= 0) {
                ns_close_fd(&forward->controllers[index]);
                return;
        }
        unsigned int count = collect(&head, fds);
        int error = (head.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 ? EMSGSIZE
                                                                     : ns_forward_check(&request, (size_t)size, count);
        if (error == 0)
                error = handle(forward, &request, fds);
        for (int i = 0; i < MAX_FDS; i++)
                ns_close_fd(&fds[i]);
        answer(forward, index, error, error == 0 && request.kind == NS_FORWARD_LIST);
}
