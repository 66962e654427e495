/* unpack_writer.c: see unpack_writer.h. */
#include "unpack_writer.h"
#include "cleanup.h"
#include "kernel.h"
#include "unpack_confine.h"
#include "unpack_layer.h"

#include <string.h>

/* ---- the thread ----------------------------------------------------------------------------------------------------
 */

static int fill(struct ns_written *file, struct ns_unpack_failure *failure)
{
        CLEANUP_FD int fd = ns_take_fd(&file->fd);
        for (size_t at = 0; at < file->length;) {
                ssize_t written = write(fd, file->bytes + at, file->length - at);
                if (written < 0)
                        return ns_fail_errno(failure);
                at += (size_t)written;
        }
        if (ns_dress(fd, &file->entry, file->is_plain, failure) < 0)
                return -1;
        return ns_set_time(fd, &file->entry, failure);
}

static struct ns_written *next(struct ns_writer *writer)
{
        pthread_mutex_lock(&writer->lock);
        while (writer->done == writer->given)
                pthread_cond_wait(&writer->to_do, &writer->lock);
        struct ns_written *file = &writer->files[writer->done % NS_WRITER_FILES];
        pthread_mutex_unlock(&writer->lock);
        return file;
}

static void tell(struct ns_writer *writer, bool *what)
{
        pthread_mutex_lock(&writer->lock);
        *what = true;
        pthread_cond_signal(&writer->to_give);
        pthread_mutex_unlock(&writer->lock);
}

/* Who waits for a place is woken when half of them are free: for each file it would cost as much as making one. */
static void tell_done(struct ns_writer *writer)
{
        pthread_mutex_lock(&writer->lock);
        uint64_t left = writer->given - ++writer->done;
        if (left == 0 || left == NS_WRITER_FILES / 2)
                pthread_cond_signal(&writer->to_give);
        pthread_mutex_unlock(&writer->lock);
}

_Noreturn static void *write_files(void *argument)
{
        struct ns_writer *writer = argument;
        bool confined = ns_confine_writer(&writer->failure) == 0;
        tell(writer, confined ? &writer->is_ready : &writer->has_failed);
        while (confined && fill(next(writer), &writer->failure) == 0)
                tell_done(writer);
        tell(writer, &writer->has_failed);
        pthread_mutex_lock(&writer->lock);
        for (;;) /* a thread's end takes system calls that it has not */
                pthread_cond_wait(&writer->to_do, &writer->lock);
}

/* ---- who gives -----------------------------------------------------------------------------------------------------
 */

int ns_writer_start(struct ns_writer *writer)
{
        pthread_attr_t attributes;
        pthread_t thread;
        int error = pthread_attr_init(&attributes);
        if (error == 0)
                error = pthread_attr_setstacksize(&attributes, NS_WRITER_STACK);
        if (error == 0)
                error = pthread_mutex_init(&writer->lock, NULL);
        if (error == 0)
                error = pthread_cond_init(&writer->to_do, NULL);
        if (error == 0)
                error = pthread_cond_init(&writer->to_give, NULL);
        if (error == 0)
                error = pthread_create(&thread, &attributes, write_files, writer);
        if (error != 0) {
                errno = error;
                return ns_fail_errno(&writer->failure);
        }
        pthread_mutex_lock(&writer->lock);
        while (!writer->is_ready && !writer->has_failed)
                pthread_cond_wait(&writer->to_give, &writer->lock);
        pthread_mutex_unlock(&writer->lock);
        return writer->is_ready ? 0 : -1;
}

bool ns_writer_takes(const struct ns_entry *entry)
{
        return !entry->is_sparse && entry->xattrs == NULL && !entry->has_lost_owner && entry->stored <= NS_WRITER_ROOM;
}

struct ns_written *ns_writer_place(struct ns_writer *writer)
{
        pthread_mutex_lock(&writer->lock);
        while (!writer->has_failed && writer->given - writer->done == NS_WRITER_FILES)
                pthread_cond_wait(&writer->to_give, &writer->lock);
        bool has_failed = writer->has_failed;
        pthread_mutex_unlock(&writer->lock);
        return has_failed ? NULL : &writer->files[writer->given % NS_WRITER_FILES];
}

void ns_writer_give(struct ns_writer *writer)
{
        pthread_mutex_lock(&writer->lock);
        writer->given++;
        pthread_cond_signal(&writer->to_do);
        pthread_mutex_unlock(&writer->lock);
}

int ns_writer_finish(struct ns_writer *writer)
{
        pthread_mutex_lock(&writer->lock);
        while (!writer->has_failed && writer->done != writer->given)
                pthread_cond_wait(&writer->to_give, &writer->lock);
        pthread_mutex_unlock(&writer->lock);
        return writer->has_failed ? -1 : 0;
}
