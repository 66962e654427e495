/* forward_abi.h: what nsrun-forward is asked and what it answers, on its SOCK_SEQPACKET socket `forward.sock`. This is
 * both a C header and, without its lines for the preprocessor, the cdef of nsrun._native.
 *
 * One message is one request, with the descriptors it says; each is answered by one message, in order. Addresses are in
 * network byte order, ports in that of the machine.
 */
#pragma once

#include <stdint.h>

enum {
        NS_FORWARD_PORTS_MAX = 1024,
        NS_FORWARD_TCP = 6,
        NS_FORWARD_UDP = 17,
};

enum ns_forward_kind {
        NS_FORWARD_CONFIGURE = 1, /* two descriptors: the pods' network namespace, and a pidfd of who holds it. Once */
        NS_FORWARD_ADD,           /* one descriptor: a socket that listens, or, of UDP, is bound */
        NS_FORWARD_REMOVE,        /* its connections end with it */
        NS_FORWARD_LIST,
        NS_FORWARD_STOP,
};

enum ns_forward_flag {
        NS_FORWARD_CONFIGURED = 1,
        NS_FORWARD_TRANSPARENT =
            2, /* asked: answers to any address come back; answered: connections have their client's */
};

/* A port of the host that leads to one of a pod. No two have the same protocol, host address and host port. */
struct ns_forward_port {
        uint32_t host_address; /* 0: every one */
        uint32_t pod_address;
        uint16_t host_port;
        uint16_t pod_port;
        uint16_t protocol;
        uint16_t reserved; /* 0 */
};

struct ns_forward_request {
        uint32_t kind;
        uint32_t flags;   /* of NS_FORWARD_CONFIGURE */
        uint32_t network; /* of NS_FORWARD_CONFIGURE: the range of the pods, whose addresses no client has */
        uint32_t mask;
        uint32_t connect_ms;    /* of NS_FORWARD_CONFIGURE: how long a pod may take to answer a connection, … */
        uint32_t unanswered_ms; /* … and how long a flow of datagrams is remembered that was never answered, … */
        uint32_t answered_ms;   /* … or was */
        struct ns_forward_port port; /* of NS_FORWARD_ADD and NS_FORWARD_REMOVE */
};

/* `count` ports follow, in answer to NS_FORWARD_LIST. */
struct ns_forward_answer {
        int32_t error; /* errno, or 0 */
        uint32_t flags;
        uint32_t count;
        uint32_t connections; /* as they are now */
        uint32_t connections_max;
        uint32_t flows;
        uint32_t flows_max;
        uint32_t reserved;
};
