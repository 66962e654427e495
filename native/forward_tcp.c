/* forward_tcp.c: connections, from accept to close. What pods make of them is forward_pump.c's. */
#include "cleanup.h"
#include "forward.h"
#include "kernel.h"

#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum { ACCEPT_SHARE = 32, CONNECTING_MAX = 256, KEEPALIVE_IDLE = 300, KEEPALIVE_EVERY = 30, KEEPALIVE_COUNT = 6 };

static const int64_t RETRY = 100000000; /* nanoseconds */
static const uint32_t EDGES = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;

/* No port takes the place of all others, however many call there. */
bool ns_connections_allowed(const struct ns_forward *forward, const struct ns_host_port *host_port)
{
        uint32_t most = forward->connections_max - forward->connections_max / 4;
        if (host_port->port.protocol != NS_FORWARD_TCP)
                return true;
        return forward->connection_count < forward->connections_max && host_port->connections < most &&
               host_port->connecting < CONNECTING_MAX;
}

static void set_options(int fd)
{
        const struct {
                int level, name, value;
        } options[] = {
            {IPPROTO_TCP, TCP_NODELAY, 1},
            {SOL_SOCKET, SO_KEEPALIVE, 1},
            {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE},
            {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_EVERY},
            {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_COUNT},
        };
        for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
                setsockopt(fd, options[i].level, options[i].name, &options[i].value, sizeof(options[i].value));
}

static struct ns_connection *take_place(struct ns_forward *forward)
{
        struct ns_chain *first = forward->free_connections.after;
        if (first == &forward->free_connections)
                return &forward->connections[forward->connections_used++];
        ns_chain_remove(first);
        return NS_CHAINED(first, struct ns_connection, order);
}

/* The client's port may be in use towards this very pod: it called two ports of the host that lead there. */
static int connect_pod(const struct ns_forward *forward, struct ns_connection *connection)
{
        const struct sockaddr_in pod = ns_pod_address(&connection->host_port->port);
        for (int any_port = 0; any_port <= 1; any_port++) {
                CLEANUP_FD int fd = ns_source_socket(forward, SOCK_STREAM, &connection->client, any_port);
                if (fd < 0)
                        return -1;
                set_options(fd);
                if (connect(fd, (const struct sockaddr *)&pod, sizeof(pod)) == 0 || errno == EINPROGRESS)
                        return ns_take_fd(&fd);
                if (errno != EADDRNOTAVAIL && errno != EADDRINUSE)
                        return -1;
        }
        return -1;
}

static void begin(struct ns_forward *forward, struct ns_host_port *host_port, int fd, const struct sockaddr_in *client)
{
        struct ns_connection *connection = take_place(forward);
        uint32_t index = (uint32_t)(connection - forward->connections);
        const struct ns_way empty = {.pipe = {.reader = -1, .writer = -1}};
        *connection = (struct ns_connection){
            .ends = {{.fd = fd}, {.fd = -1}},
            .ways = {empty, empty},
            .host_port = host_port,
            .client = *client,
            .since = forward->now,
            .is_connecting = true,
        };
        ns_chain_append(&forward->connecting, &connection->order);
        forward->connection_count++;
        host_port->connections++;
        host_port->connecting++;
        set_options(fd);
        connection->ends[NS_POD].fd = connect_pod(forward, connection);
        if (connection->ends[NS_POD].fd < 0 ||
            ns_forward_watch(forward, fd, EDGES, NS_FORWARD_FROM_CLIENT, index) < 0 ||
            ns_forward_watch(forward, connection->ends[NS_POD].fd, EDGES, NS_FORWARD_FROM_POD, index) < 0)
                ns_connection_close(forward, connection, true);
}

void ns_connections_accept(struct ns_forward *forward, struct ns_host_port *host_port)
{
        for (int i = 0; i < ACCEPT_SHARE; i++) {
                struct sockaddr_in client = {0};
                socklen_t size = sizeof(client);
                if (!ns_connections_allowed(forward, host_port)) {
                        ns_port_pause(forward, host_port); /* who comes now waits in the backlog */
                        return;
                }
                int fd = accept4(host_port->fd, (struct sockaddr *)&client, &size, SOCK_CLOEXEC | SOCK_NONBLOCK);
                if (fd >= 0) {
                        begin(forward, host_port, fd, &client);
                } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                        ns_port_pause(forward, host_port);
                        forward->retry_at = forward->now + RETRY;
                        return;
                } else if (errno == EAGAIN) {
                        return;
                }
        }
}

static void close_end(struct ns_end *end, bool abort)
{
        const struct linger at_once = {.l_onoff = 1};
        if (end->fd >= 0 && abort)
                setsockopt(end->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
        ns_close_fd(&end->fd);
}

/* It waits for its pod no more. */
static void move_on(struct ns_forward *forward, struct ns_connection *connection, struct ns_chain *next)
{
        ns_chain_remove(&connection->order);
        ns_chain_append(next, &connection->order);
        connection->host_port->connecting -= connection->is_connecting;
        connection->is_connecting = false;
        ns_ports_resume(forward);
}

void ns_connection_close(struct ns_forward *forward, struct ns_connection *connection, bool abort)
{
        for (int i = 0; i < 2; i++) {
                close_end(&connection->ends[i], abort);
                ns_pipe_release(forward, &connection->ways[i]);
        }
        ns_chain_remove(&connection->ready);
        connection->host_port->connections--;
        forward->connection_count--;
        move_on(forward, connection, &forward->free_connections);
}

/* An event may be of a connection that had the place before: the socket is asked itself. */
static void check_connected(struct ns_forward *forward, struct ns_connection *connection)
{
        int fd = connection->ends[NS_POD].fd, error = 0;
        struct sockaddr_in peer;
        socklen_t size = sizeof(error), peer_size = sizeof(peer);
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 || error != 0)
                ns_connection_close(forward, connection, true);
        else if (getpeername(fd, (struct sockaddr *)&peer, &peer_size) == 0)
                move_on(forward, connection, &forward->open);
}

void ns_connection_event(struct ns_forward *forward, struct ns_connection *connection, unsigned int side,
                         uint32_t events)
{
        struct ns_end *end = &connection->ends[side];
        const uint32_t broken = EPOLLERR | EPOLLHUP;
        if (end->fd < 0)
                return;
        end->readable |= (events & (EPOLLIN | EPOLLRDHUP | broken)) != 0;
        end->writable |= (events & (EPOLLOUT | broken)) != 0;
        if (connection->is_connecting && side == NS_POD)
                check_connected(forward, connection);
        else if (connection->is_connecting && (events & broken) != 0)
                ns_connection_close(forward, connection, true);
        if (end->fd < 0 || connection->is_connecting)
                return;
        ns_pump(forward, connection);
        /* Who has said all may still reset; nobody reads there any more, and would be told so. */
        if (end->fd >= 0 && (events & EPOLLERR) != 0 && connection->ways[side].ended)
                ns_connection_close(forward, connection, true);
}

int64_t ns_connections_due(const struct ns_forward *forward)
{
        const struct ns_chain *first = forward->connecting.after;
        if (first == &forward->connecting)
                return INT64_MAX;
        return NS_CHAINED(first, const struct ns_connection, order)->since + forward->connect_limit;
}

void ns_connections_expire(struct ns_forward *forward)
{
        while (ns_connections_due(forward) <= forward->now)
                ns_connection_close(forward, NS_CHAINED(forward->connecting.after, struct ns_connection, order), true);
}

void ns_connections_of(struct ns_forward *forward, const struct ns_host_port *host_port)
{
        for (uint32_t i = 0; host_port->connections > 0 && i < forward->connections_used; i++) {
                struct ns_connection *connection = &forward->connections[i];
                if (connection->ends[NS_CLIENT].fd >= 0 && connection->host_port == host_port)
                        ns_connection_close(forward, connection, true);
        }
}
