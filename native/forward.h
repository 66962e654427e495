/* forward.h: nsrun-forward, which takes what comes in at ports of the host to pods in another network namespace.
 *
 * It lives in the pods' network namespace and makes its sockets towards pods there, from the address of each client. It
 * cannot make one in the host's: sockets that listen are made by nsrun, which is there, and handed over; what is
 * accepted on one is a connection of the host's namespace all the same. So the process that handles strangers' bytes
 * needs neither a way back nor a helper, and what it could do to the host is limited to the ports it was given.
 *
 * One thread, one epoll. Sockets of connections are watched edge-triggered: what may be read or written is remembered
 * until the kernel says otherwise, and a connection that has more to move than its share waits in `ready`.
 */
#pragma once

#include "forward_abi.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum {
        NS_FORWARD_CLIENTS_MAX = 8,
        NS_FORWARD_CONNECTIONS_MAX = 16384,
        NS_FORWARD_FLOWS_MAX = 4096,
        NS_FORWARD_BUCKETS = 4096,
        NS_FORWARD_BATCH = 16,
        NS_FORWARD_DATAGRAM = 65536,
        NS_FORWARD_LARGE_PIPES = 16,
};

/* What an event is about; in the upper half of epoll's data, the index in the lower. */
enum ns_forward_source {
        NS_FORWARD_FROM_CONTROL = 1,
        NS_FORWARD_FROM_CONTROLLER,
        NS_FORWARD_FROM_HOLDER,
        NS_FORWARD_FROM_PORT,
        NS_FORWARD_FROM_CLIENT, /* of a connection */
        NS_FORWARD_FROM_POD,
        NS_FORWARD_FROM_FLOW,
};

/* A ring without end; the head is one that belongs to nothing. Zeroed: in no list. */
struct ns_chain {
        struct ns_chain *before, *after;
};

void ns_chain_init(struct ns_chain *head);
void ns_chain_append(struct ns_chain *head, struct ns_chain *item);
void ns_chain_remove(struct ns_chain *item);

#define NS_CHAINED(item, type, member) ((type *)(void *)((char *)(item)-offsetof(type, member)))

struct ns_host_port {
        int fd; /* -1: the place is free */
        struct ns_forward_port port;
        uint32_t connections;
        uint32_t connecting; /* of these */
        bool paused;
};

struct ns_pipe {
        int reader, writer; /* -1: none */
        bool is_large;
};

/* One of the two sockets of a connection. */
struct ns_end {
        int fd;
        bool readable, writable;
};

/* What was read from one end and not written to the other yet. */
struct ns_way {
        struct ns_pipe pipe;
        uint32_t held; /* bytes in it */
        bool ended;    /* nothing more comes */
        bool shut;     /* and the other end knows */
};

enum { NS_CLIENT, NS_POD };

struct ns_connection {
        struct ns_chain order; /* of `free`, `connecting` or `open` */
        struct ns_chain ready;
        struct ns_end ends[2];
        struct ns_way ways[2]; /* by where they come from */
        struct ns_host_port *host_port;
        struct sockaddr_in client;
        int64_t since; /* when it began to connect */
        bool is_connecting;
};

/* The datagrams of one client through one port. */
struct ns_flow {
        struct ns_chain order;
        struct ns_flow *next; /* in its bucket */
        int fd;
        struct ns_host_port *host_port;
        struct sockaddr_in client;
        struct in_addr local; /* the host's address that the client sent to, and gets its answers from */
        bool answered;
        int64_t used;
};

struct ns_mail {
        unsigned char bytes[NS_FORWARD_BATCH][NS_FORWARD_DATAGRAM];
};

struct ns_forward {
        int epoll_fd, control_fd, holder_fd;
        int controllers[NS_FORWARD_CLIENTS_MAX];
        bool configured, transparent, stopped;
        uint32_t network, mask;
        int64_t connect_limit, unanswered_limit, answered_limit; /* nanoseconds */
        int64_t now;      /* CLOCK_MONOTONIC, nanoseconds, when the events in hand came */
        int64_t retry_at; /* when paused ports are tried again; 0: none waits for that */

        struct ns_host_port ports[NS_FORWARD_PORTS_MAX];
        uint32_t ports_used; /* beyond it all are free */
        int paused_count;

        struct ns_connection connections[NS_FORWARD_CONNECTIONS_MAX];
        uint32_t connections_used, connection_count, connections_max;
        struct ns_chain free_connections, connecting, open, ready;
        struct ns_pipe pipes[NS_FORWARD_LARGE_PIPES]; /* empty, to be used again */
        uint32_t pipe_count, large_pipes;

        struct ns_flow flows[NS_FORWARD_FLOWS_MAX];
        uint32_t flows_used, flow_count, flows_max;
        struct ns_chain free_flows, unanswered, answered;
        struct ns_flow *buckets[NS_FORWARD_BUCKETS];
        uint64_t key;

        struct ns_mail mail;
};

/* ---- forward.c */

int ns_forward_watch(struct ns_forward *forward, int fd, uint32_t events, enum ns_forward_source source,
                     uint32_t index);

/* ---- forward_control.c */

int ns_forward_listen(struct ns_forward *forward);
void ns_forward_welcome(struct ns_forward *forward);
void ns_forward_hear(struct ns_forward *forward, uint32_t index);

/* ---- forward_confine.c */

/* Joins the pods' network namespace and gives up all it does not need any more. 0, or -1 and errno. */
int ns_forward_enter(int netns_fd);

/* ---- forward_ports.c: each returns 0 or an errno */

int ns_port_add(struct ns_forward *forward, const struct ns_forward_port *port, int *fd);
int ns_port_remove(struct ns_forward *forward, const struct ns_forward_port *port);
void ns_port_pause(struct ns_forward *forward, struct ns_host_port *host_port);
void ns_ports_resume(struct ns_forward *forward);

/* ---- forward_source.c */

/* A socket in the pods' namespace, bound to the client's address and port where that can be: -1 and errno.
 * `any_port`: the client's own is taken, there is a like connection. */
int ns_source_socket(const struct ns_forward *forward, int type, const struct sockaddr_in *client, bool any_port);
bool ns_source_possible(void);
struct sockaddr_in ns_pod_address(const struct ns_forward_port *port);

/* ---- forward_tcp.c */

void ns_connections_accept(struct ns_forward *forward, struct ns_host_port *host_port);
bool ns_connections_allowed(const struct ns_forward *forward, const struct ns_host_port *host_port);
void ns_connection_event(struct ns_forward *forward, struct ns_connection *connection, unsigned int side,
                         uint32_t events);
/* `abort`: both ends get a reset. */
void ns_connection_close(struct ns_forward *forward, struct ns_connection *connection, bool abort);
void ns_connections_expire(struct ns_forward *forward);
void ns_connections_of(struct ns_forward *forward, const struct ns_host_port *host_port);

/* ---- forward_pump.c */

/* Moves what can be moved, a share at a time. */
void ns_pump(struct ns_forward *forward, struct ns_connection *connection);
void ns_pump_ready(struct ns_forward *forward);
void ns_pipe_release(struct ns_forward *forward, struct ns_way *way);

/* ---- forward_udp.c */

void ns_flows_receive(struct ns_forward *forward, struct ns_host_port *host_port);
void ns_flow_answer(struct ns_forward *forward, struct ns_flow *flow);
void ns_flows_expire(struct ns_forward *forward);
void ns_flows_of(struct ns_forward *forward, const struct ns_host_port *host_port);

/* When the oldest of them is due, or INT64_MAX. */
int64_t ns_connections_due(const struct ns_forward *forward);
int64_t ns_flows_due(const struct ns_forward *forward);
