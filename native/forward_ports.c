/* forward_ports.c: the ports of the host: which there are, and which of them listen at the moment. */
#include "cleanup.h"
#include "forward.h"
#include "kernel.h"

#include <arpa/inet.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static struct ns_host_port *find(struct ns_forward *forward, const struct ns_forward_port *wanted)
{
        for (uint32_t i = 0; i < forward->ports_used; i++) {
                const struct ns_forward_port *port = &forward->ports[i].port;
                if (forward->ports[i].fd >= 0 && port->protocol == wanted->protocol &&
                    port->host_address == wanted->host_address && port->host_port == wanted->host_port)
                        return &forward->ports[i];
        }
        return NULL;
}

static int number_of(int fd, int option)
{
        int value = -1;
        socklen_t size = sizeof(value);
        return getsockopt(fd, SOL_SOCKET, option, &value, &size) < 0 ? -1 : value;
}

/* Whether it is the socket of that port, and works without waiting. */
static bool is_socket_of(const struct ns_forward_port *port, int fd)
{
        struct sockaddr_in address = {0};
        socklen_t size = sizeof(address);
        bool stream = port->protocol == NS_FORWARD_TCP;
        if (number_of(fd, SO_DOMAIN) != AF_INET || number_of(fd, SO_TYPE) != (stream ? SOCK_STREAM : SOCK_DGRAM))
                return false;
        if (stream && number_of(fd, SO_ACCEPTCONN) != 1)
                return false;
        if (getsockname(fd, (struct sockaddr *)&address, &size) < 0 || (fcntl(fd, F_GETFL) & O_NONBLOCK) == 0)
                return false;
        return address.sin_addr.s_addr == port->host_address && address.sin_port == htons(port->host_port);
}

static struct ns_host_port *free_place(struct ns_forward *forward)
{
        for (uint32_t i = 0; i < forward->ports_used; i++)
                if (forward->ports[i].fd < 0)
                        return &forward->ports[i];
        return forward->ports_used < NS_FORWARD_PORTS_MAX ? &forward->ports[forward->ports_used] : NULL;
}

int ns_port_add(struct ns_forward *forward, const struct ns_forward_port *port, int *fd)
{
        const int on = 1;
        struct ns_host_port *place = free_place(forward);
        if (find(forward, port) != NULL)
                return EEXIST;
        if (place == NULL)
                return ENOSPC;
        if (!is_socket_of(port, *fd))
                return EINVAL;
        if (port->protocol == NS_FORWARD_UDP && setsockopt(*fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on)) < 0)
                return errno;
        uint32_t index = (uint32_t)(place - forward->ports);
        if (ns_forward_watch(forward, *fd, EPOLLIN, NS_FORWARD_FROM_PORT, index) < 0)
                return errno;
        *place = (struct ns_host_port){.fd = ns_take_fd(fd), .port = *port};
        if (index == forward->ports_used)
                forward->ports_used++;
        return 0;
}

int ns_port_remove(struct ns_forward *forward, const struct ns_forward_port *port)
{
        struct ns_host_port *place = find(forward, port);
        if (place == NULL)
                return ENOENT;
        /* It may still be open elsewhere, with who made it: epoll would go on telling of it. */
        epoll_ctl(forward->epoll_fd, EPOLL_CTL_DEL, place->fd, NULL);
        forward->paused_count -= place->paused;
        ns_close_fd(&place->fd);
        ns_connections_of(forward, place);
        ns_flows_of(forward, place);
        return 0;
}

static void change(struct ns_forward *forward, struct ns_host_port *host_port, uint32_t events)
{
        struct epoll_event event = {
            .events = events,
            .data.u64 = (uint64_t)NS_FORWARD_FROM_PORT << 32 | (uint32_t)(host_port - forward->ports),
        };
        epoll_ctl(forward->epoll_fd, EPOLL_CTL_MOD, host_port->fd, &event);
        host_port->paused = events == 0;
        forward->paused_count += events == 0 ? 1 : -1;
}

void ns_port_pause(struct ns_forward *forward, struct ns_host_port *host_port)
{
        if (!host_port->paused)
                change(forward, host_port, 0);
}

void ns_ports_resume(struct ns_forward *forward)
{
        for (uint32_t i = 0; forward->paused_count > 0 && i < forward->ports_used; i++) {
                struct ns_host_port *host_port = &forward->ports[i];
                if (host_port->fd >= 0 && host_port->paused && ns_connections_allowed(forward, host_port))
                        change(forward, host_port, EPOLLIN);
        }
}
