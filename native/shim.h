/* shim.h: the state of a shim, all of it, and what its parts do with it.
 *
 *   shim.c           start, and the loop: one epoll, nothing ever waits for anything else
 *   shim_clients.c   the socket: who may speak, requests in, messages out
 *   shim_requests.c  what each request does
 *   shim_launch.c    from a request to a process, and to the answer once it has exec'ed
 *   shim_entries.c   the table of processes, and their ends
 *   shim_exits.c     exit records
 *   shim_log.c       from pipes to CRI log lines
 *
 * The state lives in one anonymous mapping of zeroes: what was never used costs no memory.
 */
#pragma once

#include "launch.h"
#include "nsrun_abi.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
        NS_MAX_ENTRIES = 256,
        NS_MAX_CLIENTS = 16,
        NS_LINE_MAX = 16384, /* of content in a log record: longer lines become partial records */
        NS_DRAIN_MS = 250,   /* how long output may still come after an end, if a descendant holds the pipe */
};

/* One of a process's two outputs. `held`: a line that has not ended yet. */
struct ns_stream {
        int fd;    /* -1: at its end, or there is none */
        bool open; /* the last record was partial: another must follow */
        uint32_t held_length;
        char *held; /* NS_LINE_MAX bytes, mapped when first needed */
};

struct ns_log {
        int epoll_fd; /* watches the streams */
        int dir_fd;
        int fd; /* -1: nothing can be written, records count as dropped */
        uint32_t dropped;
        struct ns_stream streams[2]; /* stdout, stderr */
        char name[NS_NAME_MAX];
};

enum ns_phase {
        NS_FREE = 0,
        NS_STARTING, /* cloned; the exec has not been seen */
        NS_RUNNING,
        NS_DRAINING, /* ended and recorded; output is still read */
        NS_ENDED,
};

struct ns_entry {
        enum ns_phase phase;
        bool sandbox;
        bool ready;       /* NS_REPORT_EXEC was seen */
        int client;       /* who waits for the answer to its launch; -1: nobody */
        int64_t deadline; /* NS_DRAINING: CLOCK_MONOTONIC, ns */
        struct ns_process process;
        struct ns_log log;
        struct ns_message message; /* all that is told about it */
};

struct ns_client {
        int fd; /* -1: the place is free */
        bool subscribed;
};

struct ns_shim {
        int epoll_fd;
        int listen_fd;
        int signal_fd;
        int exits_fd; /* the directory of exit records */
        bool stopping;
        bool stopped;    /* the loop ends */
        int stop_client; /* who asked for it */
        uint64_t stop_serial;
        unsigned int used; /* entries at and above this were never used */
        struct ns_client clients[NS_MAX_CLIENTS];
        struct ns_entry entries[NS_MAX_ENTRIES];
        char scratch[NS_LINE_MAX]; /* what is being read from a pipe */
};

/* What an event of epoll is about: kind, index of the entry or client, and which stream. */
enum ns_source { NS_FROM_LISTENER, NS_FROM_SIGNALS, NS_FROM_CLIENT, NS_FROM_CONTROL, NS_FROM_STREAM };

/* shim.c */
int ns_watch(struct ns_shim *shim, int fd, enum ns_source source, unsigned int index, unsigned int stream);
/* Closes it. Explicitly unwatched first: a child that has not exec'ed yet may hold a copy, which would keep the watch
 * alive. */
void ns_unwatch(int epoll_fd, int *fd);
int64_t ns_now(int clock);

/* shim_clients.c */
void ns_clients_accept(struct ns_shim *shim);
void ns_client_read(struct ns_shim *shim, unsigned int index);
/* A client that does not read is dropped: it comes back, subscribes, and is told everything. */
void ns_client_send(struct ns_shim *shim, int index, const struct ns_message *message);
void ns_clients_publish(struct ns_shim *shim, const struct ns_message *message);

/* shim_requests.c. Owns none of the descriptors; sets those to -1 that it keeps. */
void ns_request_handle(struct ns_shim *shim, int client, const struct ns_request *request, int *fds,
                       unsigned int count);
void ns_answer(struct ns_shim *shim, int client, uint64_t serial, const struct ns_failure *failure);

/* shim_launch.c. 0: the answer follows, now or later; -1: *failure is the answer. */
int ns_launch_begin(struct ns_shim *shim, int client, const struct ns_request *request, int *fds, unsigned int count,
                    struct ns_failure *failure);
void ns_launch_progress(struct ns_shim *shim, struct ns_entry *entry);

/* shim_entries.c */
struct ns_entry *ns_entry_find(struct ns_shim *shim, const char *id);
struct ns_entry *ns_entry_new(struct ns_shim *shim, const char *id);
void ns_entry_free(struct ns_shim *shim, struct ns_entry *entry);
void ns_entries_reap(struct ns_shim *shim);
void ns_entry_read(struct ns_shim *shim, struct ns_entry *entry, unsigned int stream);
/* Milliseconds until a drain has to end; -1: none is going on. */
int ns_entries_timeout(const struct ns_shim *shim);
void ns_entries_expire(struct ns_shim *shim);
void ns_entries_kill(struct ns_shim *shim);
bool ns_entries_alive(const struct ns_shim *shim);
void ns_strays_kill(void);

/* shim_exits.c */
int ns_exit_record(const struct ns_shim *shim, const struct ns_message *message);
int ns_exit_forget(const struct ns_shim *shim, const char *id);

/* shim_log.c */
int ns_log_open(struct ns_log *log);
/* Reads once and writes what is complete. Closes the stream at its end. */
void ns_log_read(struct ns_log *log, unsigned int stream, char scratch[NS_LINE_MAX]);
/* Reads what is there now, ends open lines, closes everything. */
void ns_log_finish(struct ns_log *log);
bool ns_log_streaming(const struct ns_log *log);
