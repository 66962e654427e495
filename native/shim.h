/* shim.h: the state of a shim, all of it, and what its parts do with it.
 *
 *   shim.c           start, and the loop: one epoll, nothing ever waits for anything else
 *   shim_clients.c   the socket: who may speak, requests in, messages out
 *   shim_requests.c  what each request does
 *   shim_launch.c    from a request to a process, and to the answer once it has exec'ed
 *   shim_exec.c      commands in containers: from the request to the answer at their end
 *   shim_exec_process.c  … and their processes
 *   shim_attach.c    who sees what a container writes
 *   shim_cgroup.c    their cgroups
 *   shim_entries.c   the table of processes, and their ends
 *   shim_exits.c     exit records
 *   shim_log.c       from pipes to CRI log lines
 *   shim_rotate.c    … in files that do not grow without end
 *   shim_time.c      dates
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
        uint32_t files;              /* how many there may be */
        uint64_t limit;              /* of a file's size; 0: none */
        uint64_t size;               /* of this one, or since rotating it failed */
        int64_t rotated;             /* the time in the name of the last one, seconds */
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
        bool stdin_once;  /* who attaches first takes stdin_fd along */
        int client;       /* who waits for the answer to its launch; -1: nobody */
        int64_t deadline; /* NS_DRAINING: CLOCK_MONOTONIC, ns */
        struct ns_process process;
        struct ns_log log;
        int stdin_fd;      /* our end of its standard input, -1: none; whoever attaches writes there */
        int terminal_fd;   /* its own side of its terminal, held open while it lives; we read log.streams[0] */
        int cgroup_fd;     /* the directory that holds it together, -1: none; commands get theirs below it */
        int procs_fds[16]; /* [NS_MAX_CGROUPS] where commands go besides */
        uint32_t procs_count;
        struct ns_message message; /* all that is told about it */
};

enum ns_exec_phase {
        NS_EXEC_FREE = 0,
        NS_EXEC_RUNNING,
        NS_EXEC_ENDED, /* answered; something may be left in its cgroup */
};

/* A command in a container. Its process is our child: until it is reaped its number is its own. */
struct ns_exec {
        enum ns_exec_phase phase;
        bool detached;
        bool born; /* `pid` is its own */
        bool stillborn;
        bool streams; /* its start is told, too */
        bool ready;   /* NS_REPORT_EXEC was seen */
        bool started; /* told */
        bool killed;  /* all that it started has to go with it */
        int client;   /* who asked; -1: nobody any more */
        uint64_t serial;
        struct ns_entry *entry; /* the container; NULL once that is forgotten */
        pid_t pid;              /* the joiner's, and its own once it is born */
        int control_fd;
        int output_fd;
        int master_fd; /* of its terminal, held open while it lives: it is killed, not hung up, when its client goes */
        int terminal_fd; /* its own side, likewise */
        int cgroup_fd;
        uint64_t number;  /* its cgroup is "exec-<number>" */
        int64_t deadline; /* CLOCK_MONOTONIC, ns; INT64_MAX: none. When ended: of the next try to remove the cgroup */
        int64_t pause;    /* before the try after that */
        uint32_t output_limit;
        uint32_t output_length;
        char *output; /* output_limit bytes, mapped when first needed */
        struct ns_message message;
};

/* Somebody sees what a container writes. */
struct ns_attachment {
        struct ns_entry *entry; /* NULL: the place is free */
        int client;
        uint64_t serial;
        int fds[2]; /* our ends of copies of its outputs; -1: not asked for, or nobody reads it any more */
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
        unsigned int execs_used; /* likewise */
        uint64_t execs_counted;
        struct ns_exec execs[NS_MAX_EXECS];
        struct ns_attachment attachments[NS_MAX_ATTACHED];
        char scratch[NS_LINE_MAX]; /* what is being read from a pipe */
};

/* What an event of epoll is about: kind, index of the entry or client, and which stream. */
enum ns_source {
        NS_FROM_LISTENER,
        NS_FROM_SIGNALS,
        NS_FROM_CLIENT,
        NS_FROM_CONTROL,
        NS_FROM_STREAM,
        NS_FROM_EXEC,
        NS_FROM_EXEC_CONTROL
};

/* shim.c */
int ns_watch(struct ns_shim *shim, int fd, enum ns_source source, unsigned int index, unsigned int stream);
/* Closes it. Explicitly unwatched first: a child that has not exec'ed yet may hold a copy, which would keep the watch
 * alive. */
void ns_unwatch(int epoll_fd, int *fd);
int64_t ns_now(int clock);
/* NS_STEP_* went wrong: fills *failure, and returns -1. */
int ns_fail(struct ns_failure *failure, uint32_t step, int error);

/* shim_clients.c */
void ns_clients_accept(struct ns_shim *shim);
void ns_client_read(struct ns_shim *shim, unsigned int index);
/* A client that does not read is dropped: it comes back, subscribes, and is told everything. */
void ns_client_send(struct ns_shim *shim, int index, const struct ns_message *message);
/* The same with `size` bytes of data behind the message. */
void ns_client_send_with(struct ns_shim *shim, int index, const struct ns_message *message, const void *data,
                         size_t size);
/* The same with descriptors, which stay ours. */
void ns_client_send_fds(struct ns_shim *shim, int index, const struct ns_message *message, const int *fds,
                        unsigned int count);
void ns_clients_publish(struct ns_shim *shim, const struct ns_message *message);

/* shim_requests.c. Owns none of the descriptors; sets those to -1 that it keeps. */
void ns_request_handle(struct ns_shim *shim, int client, const struct ns_request *request, int *fds,
                       unsigned int count);
void ns_answer(struct ns_shim *shim, int client, uint64_t serial, const struct ns_failure *failure);

/* shim_launch.c. 0: the answer follows, now or later; -1: *failure is the answer. */
int ns_launch_begin(struct ns_shim *shim, int client, const struct ns_request *request, int *fds, unsigned int count,
                    struct ns_failure *failure);
void ns_launch_progress(struct ns_shim *shim, struct ns_entry *entry);
/* The same, when its process has ended. */
void ns_launch_ended(struct ns_shim *shim, struct ns_entry *entry);
/* A checked plan, mapped; `start` NULL: none. */
struct ns_mapping {
        void *start;
        size_t size;
};
int ns_plan_map(int fd, unsigned int fd_count, struct ns_mapping *mapping, struct ns_failure *failure);
void ns_plan_unmap(struct ns_mapping *mapping);
/* A pipe for one output: ours does not block; theirs can be opened again by a program that is not root (/dev/stdout).
 */
int ns_output_pipe(int *ours, int *theirs);

/* shim_exec.c. As ns_launch_begin; the answer is sent at the command's end. */
int ns_exec_begin(struct ns_shim *shim, int client, const struct ns_request *request, int *fds,
                  struct ns_failure *failure);
void ns_exec_read(struct ns_shim *shim, struct ns_exec *exec);
void ns_exec_heard(struct ns_shim *shim, struct ns_exec *exec);
void ns_exec_cancel(struct ns_shim *shim, int client, uint64_t serial);
int ns_exec_signal(struct ns_shim *shim, int client, uint64_t serial, int number, struct ns_failure *failure);
/* Learns who was born since; has to come between knowing that a child has ended and reaping it. */
void ns_execs_progress(struct ns_shim *shim);
/* A child ended: true when it was a command. */
bool ns_execs_reaped(struct ns_shim *shim, pid_t pid, int status);
/* Forgets commands that ended and left something running, once that has ended too. */
void ns_execs_sweep(struct ns_shim *shim);
/* CLOCK_MONOTONIC of what has to be done next; INT64_MAX: nothing. */
int64_t ns_execs_deadline(const struct ns_shim *shim);
void ns_execs_expire(struct ns_shim *shim);
void ns_execs_client_gone(struct ns_shim *shim, int client);
void ns_execs_entry_gone(struct ns_shim *shim, const struct ns_entry *entry);
void ns_execs_kill(struct ns_shim *shim);
bool ns_execs_alive(const struct ns_shim *shim);

/* shim_cgroup.c: cgroups of commands, below their container's. */
int ns_cgroup_make(int parent_fd, uint64_t number);
/* SIGKILL for everything in it, whatever it forks meanwhile. */
void ns_cgroup_kill(int cgroup_fd);
/* -1: something is in it. */
int ns_cgroup_remove(int parent_fd, uint64_t number);

/* shim_family.c. Of /proc/<pid>/stat; `ended`: none of its threads lives. False: there is no such process. */
struct ns_stat {
        pid_t parent;
        uint64_t start_ticks;
        bool ended;
};
bool ns_stat_read(pid_t pid, struct ns_stat *stat);
/* SIGKILL for a child of ours that is a subreaper, and for all that it started. */
void ns_family_kill(pid_t pid);

/* shim_attach.c. As ns_launch_begin; the answer is sent. */
int ns_attach_begin(struct ns_shim *shim, int client, const struct ns_request *request, struct ns_failure *failure);
/* The container wrote this: whoever is attached gets it, or is cut off. */
void ns_attached_copy(struct ns_shim *shim, const struct ns_entry *entry, unsigned int stream, const char *data,
                      size_t size);
void ns_attached_cancel(struct ns_shim *shim, int client, uint64_t serial);
void ns_attached_client_gone(struct ns_shim *shim, int client);
/* Everybody is told how the container ended. */
void ns_attached_entry_gone(struct ns_shim *shim, const struct ns_entry *entry);

/* shim_entries.c */
struct ns_entry *ns_entry_find(struct ns_shim *shim, const char *id);
/* A container that runs; NULL: there is none of this name. */
struct ns_entry *ns_entry_running(struct ns_shim *shim, const char *id);
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
/* Reads once and writes what is complete. Closes the stream at its end. How much was read: it lies in `scratch`, behind
 * what was held before. */
size_t ns_log_read(struct ns_log *log, unsigned int stream, char scratch[NS_LINE_MAX]);
/* Reads what is there now, ends open lines, closes everything. */
void ns_log_finish(struct ns_log *log);
bool ns_log_streaming(const struct ns_log *log);

/* shim_rotate.c. Between two records. */
void ns_log_rotate(struct ns_log *log);

/* shim_time.c. Both return the end of what they wrote: "2006-01-02T15:04:05.000000000Z", "20060102-150405". */
char *ns_put_time(char *out, int64_t nanoseconds);
char *ns_put_stamp(char *out, int64_t seconds);
