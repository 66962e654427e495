/* relay.h: what a command line tool does with a session: bytes between its own ends and the container's, until
 * something happens that is not bytes. Read by cffi, too. */
#pragma once

#include <stdint.h>

enum ns_relay_limits {
        NS_RELAY_ROOM = 65536,
        NS_RELAY_FLOWS = 3,
        NS_RELAY_KEYS = 16,
};

enum ns_flow_flags {
        NS_FLOW_INPUT = 1, /* towards the container: `to_fd` is closed at its end; without it `from_fd` is */
        NS_FLOW_TYPED =
            2, /* `from_fd` is a terminal in raw mode: the keys that detach are looked for, its end is a hang-up */
};

/* From one descriptor to another; over once both are -1. `chunk`: how much a write may be, so that it does not block
 * where poll(2) says that it can be done. buffer[start .. end) has been read and not been written. */
struct ns_flow {
        int32_t from_fd;
        int32_t to_fd;
        uint32_t flags; /* enum ns_flow_flags */
        uint32_t chunk;
        uint32_t start;
        uint32_t end;
        uint32_t matched;   /* of the keys */
        int32_t error;      /* errno of a write that failed */
        char buffer[65536]; /* [NS_RELAY_ROOM] */
};

/* `shim_fd` and `signal_fd` are waited for; with a terminal here and one there, SIGWINCH copies the size of
 * `terminal_fd` to `master_fd`. */
struct ns_relay {
        int32_t shim_fd;
        int32_t signal_fd;
        int32_t terminal_fd; /* -1: none */
        int32_t master_fd;   /* -1: none */
        uint32_t signal;     /* which came */
        uint32_t flow_count;
        uint32_t key_count;
        char keys[16];           /* [NS_RELAY_KEYS] */
        struct ns_flow flows[3]; /* [NS_RELAY_FLOWS] */
};

enum ns_relay_event {
        NS_RELAY_SHIM = 1,   /* it has said something, or is gone */
        NS_RELAY_SIGNAL = 2, /* `signal` */
        NS_RELAY_DETACHED = 3,
        NS_RELAY_HANGUP = 4, /* the terminal here is gone */
        NS_RELAY_IDLE = 5,   /* draining: nothing more is there */
};

/* Until an event, which it returns, or -errno. `draining`: only what the container has written already is copied. */
int ns_relay_run(struct ns_relay *relay, int draining);

/* The size of one terminal becomes that of another. 0 or -errno. */
int ns_copy_size(int from, int to);

/* Signals that are told by a descriptor, and do nothing else meanwhile; bit n - 1 is signal n. */
struct ns_told {
        uint64_t signals;
        uint64_t before; /* the mask that was */
};

/* Blocks the signals for this thread, but those that are ignored, which stay so. The signalfd(2), close-on-exec, or
 * -errno. */
int ns_tell_signals(struct ns_told *told);

/* The mask is what it was; a signal that came and was not read is dropped. */
void ns_untell_signals(const struct ns_told *told);
