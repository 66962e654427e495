/* unpack_writer.h: a second thread, which fills, dresses and closes small files while the first makes the next ones: of
 * the time that a layer of many files takes, half is the kernel's for writing into them.
 *
 * It gets the descriptor of a file that is made, and a copy of its bytes. What is done with a descriptor means that
 * file whatever becomes of its name meanwhile: a link to it, or another file in its place, is as if there were no
 * thread.
 */
#pragma once

#include "unpack_tar.h"

#include <pthread.h>

enum { NS_WRITER_FILES = 32, NS_WRITER_ROOM = 1 << 16, NS_WRITER_STACK = 1 << 17 };

/* `entry`: its path is in `path`. `bytes`: all that is in the file. */
struct ns_written {
        int fd;
        bool is_plain;
        struct ns_entry entry;
        char *path;     /* [NS_UNPACK_PATH_MAX + 1] */
        uint8_t *bytes; /* [NS_WRITER_ROOM] */
        size_t length;
};

/* files[done % NS_WRITER_FILES .. given % NS_WRITER_FILES) are the thread's, the rest the caller's. */
struct ns_writer {
        struct ns_written *files; /* [NS_WRITER_FILES] */
        uint64_t given;
        uint64_t done;
        bool is_ready;   /* it has locked itself in */
        bool has_failed; /* at files[done % NS_WRITER_FILES], and takes no more */
        struct ns_unpack_failure failure;
        pthread_mutex_t lock;
        pthread_cond_t to_do;
        pthread_cond_t to_give;
};

/* `writer` is zeroed, but for `files`. The thread keeps the capabilities to dress files, and system calls for what it
 * does, alone. Returns when that is so. 0, or -1 and errno. */
int ns_writer_start(struct ns_writer *writer);

/* Whether a file goes this way. */
bool ns_writer_takes(const struct ns_entry *entry);

/* A free place, which the caller fills, and may leave. NULL: an earlier file has failed. */
struct ns_written *ns_writer_place(struct ns_writer *writer);

/* The place is filled: the descriptor is the thread's from now on. */
void ns_writer_give(struct ns_writer *writer);

/* Waits until nothing is left to do. 0, or -1: a file has failed. */
int ns_writer_finish(struct ns_writer *writer);
