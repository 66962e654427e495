/* shim_log.c: what a container writes becomes CRI log records, "<RFC3339Nano> <stdout|stderr> <P|F> <content>\n".
 *
 * One read, one writev: all lines of a read share one prefix, and content goes from the pipe's buffer to the file
 * without another copy. A pipe is always read on, whatever becomes of the log, or the container would block on a full
 * disk; records that cannot be written are counted. A record that was written in part is cut off again.
 */
#include "cleanup.h"
#include "kernel.h"
#include "shim.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>

enum { PREFIX_MAX = 48, PARTS = 96, SPAN_MAX = 3 };

/* Records that wait to be written together. Each is a prefix, its content and, where that does not end in one, a
 * newline. */
struct batch {
        struct ns_log *log;
        struct iovec parts[PARTS];
        int count;
        size_t prefix_length;
        char full[PREFIX_MAX];
        char partial[PREFIX_MAX];
};

int ns_log_open(struct ns_log *log)
{
        log->fd =
            openat(log->dir_fd, log->name, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0640);
        struct stat status;
        if (log->fd < 0)
                return -1;
        log->size = fstat(log->fd, &status) < 0 ? 0 : (uint64_t)status.st_size;
        return 0;
}

bool ns_log_streaming(const struct ns_log *log)
{
        return log->streams[0].fd >= 0 || log->streams[1].fd >= 0;
}

/* ---- writing
 * --------------------------------------------------------------------------------------------------------- */

static void begin(struct batch *batch, struct ns_log *log, unsigned int stream)
{
        static const char tails[2][2][12] = {{" stdout F ", " stdout P "}, {" stderr F ", " stderr P "}};
        const size_t tail = sizeof(" stdout F ") - 1;
        char *end = ns_put_time(batch->full, ns_now(CLOCK_REALTIME));
        size_t stamp = (size_t)(end - batch->full);
        memcpy(end, tails[stream][0], tail);
        memcpy(batch->partial, batch->full, stamp);
        memcpy(batch->partial + stamp, tails[stream][1], tail);
        batch->prefix_length = stamp + tail;
        batch->log = log;
        batch->count = 0;
}

static bool starts_record(const struct batch *batch, const struct iovec *part)
{
        return part->iov_base == batch->full || part->iov_base == batch->partial;
}

/* `written` bytes got through, the rest cannot: counts the records that are lost, and cuts off the one that is torn. */
static void lose(struct batch *batch, size_t written)
{
        size_t whole = 0; /* bytes of complete records */
        size_t seen = 0;
        struct stat status;
        for (int i = 0; i < batch->count; i++) {
                seen += batch->parts[i].iov_len;
                if (i + 1 < batch->count && !starts_record(batch, &batch->parts[i + 1]))
                        continue;
                if (seen <= written)
                        whole = seen;
                else
                        batch->log->dropped++;
        }
        off_t torn = (off_t)(written - whole);
        if (torn == 0 || fstat(batch->log->fd, &status) < 0 || status.st_size < torn)
                return;
        if (ftruncate(batch->log->fd, status.st_size - torn) < 0)
                return; /* a torn line stays, and every reader of CRI logs skips it */
}

static void flush(struct batch *batch)
{
        struct iovec rest[PARTS];
        struct iovec *first = rest;
        int left = batch->count;
        size_t written = 0;
        memcpy(rest, batch->parts, sizeof(rest[0]) * (size_t)batch->count);
        while (left > 0) {
                ssize_t now = writev(batch->log->fd, first, left);
                if (now < 0 && errno == EINTR)
                        continue;
                if (now <= 0) {
                        lose(batch, written);
                        break;
                }
                written += (size_t)now;
                batch->log->size += (uint64_t)now;
                while (left > 0 && (size_t)now >= first->iov_len) {
                        now -= (ssize_t)first->iov_len;
                        first++;
                        left--;
                }
                if (left > 0) {
                        first->iov_base = (char *)first->iov_base + now;
                        first->iov_len -= (size_t)now;
                }
        }
        batch->count = 0;
        if (batch->log->limit > 0 && batch->log->size >= batch->log->limit)
                ns_log_rotate(batch->log); /* between records */
}

static void add(struct batch *batch, const char *start, size_t length)
{
        batch->parts[batch->count++] = (struct iovec){.iov_base = (void *)(uintptr_t)start, .iov_len = length};
}

/* One record. `content` ends in a newline already when `ended`. */
static void add_record(struct batch *batch, bool partial, const char *content, size_t length, bool ended)
{
        static const char newline[] = "\n";
        if (batch->count + SPAN_MAX > PARTS)
                flush(batch);
        add(batch, partial ? batch->partial : batch->full, batch->prefix_length);
        add(batch, content, length);
        if (!ended)
                add(batch, newline, 1);
}

/* ---- reading
 * --------------------------------------------------------------------------------------------------------- */

/* Every whole line of data[0 .. length) is added; returns where the unfinished rest begins. */
static size_t add_lines(struct batch *batch, struct ns_stream *stream, char *data, size_t length)
{
        size_t start = 0;
        size_t searched = stream->held_length; /* no newline before that */
        char *newline = NULL;
        while ((newline = memchr(data + searched, '\n', length - searched)) != NULL) {
                size_t end = (size_t)(newline - data) + 1;
                add_record(batch, false, data + start, end - start, true);
                stream->open = false;
                start = searched = end;
        }
        if (length - start == NS_LINE_MAX) {
                add_record(batch, true, data, length, false);
                stream->open = true;
                start = length;
        }
        return start;
}

/* Keeps the unfinished line for the next read; without memory for it, it is written as it is. */
static void hold(struct batch *batch, struct ns_stream *stream, char *data, size_t length)
{
        if (length > 0 && stream->held == NULL) {
                void *room = mmap(NULL, NS_LINE_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                stream->held = room == MAP_FAILED ? NULL : room;
        }
        if (length > 0 && stream->held == NULL) {
                add_record(batch, true, data, length, false);
                stream->open = true;
                length = 0;
        }
        if (length > 0)
                memcpy(stream->held, data, length);
        stream->held_length = (uint32_t)length;
}

static void end_stream(struct ns_log *log, struct ns_stream *stream)
{
        ns_unwatch(log->epoll_fd, &stream->fd);
        if (stream->held != NULL)
                munmap(stream->held, NS_LINE_MAX);
        stream->held = NULL;
        stream->held_length = 0;
}

/* A last line without a newline is a line; one whose records were all partial gets its end. */
static void finish_stream(struct ns_log *log, unsigned int which)
{
        struct ns_stream *stream = &log->streams[which];
        struct batch batch;
        if (stream->held_length > 0 || stream->open) {
                const char *content = stream->held_length > 0 ? stream->held : batch.full;
                begin(&batch, log, which);
                add_record(&batch, false, content, stream->held_length, false);
                flush(&batch);
                stream->open = false;
        }
        end_stream(log, stream);
}

size_t ns_log_read(struct ns_log *log, unsigned int which, char scratch[NS_LINE_MAX])
{
        struct ns_stream *stream = &log->streams[which];
        struct batch batch;
        size_t held = stream->held_length;
        ssize_t got = read(stream->fd, scratch + held, NS_LINE_MAX - held);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
                return 0;
        if (got <= 0) {
                finish_stream(log, which);
                return 0;
        }
        if (held > 0)
                memcpy(scratch, stream->held, held);
        size_t length = held + (size_t)got;
        begin(&batch, log, which);
        size_t start = add_lines(&batch, stream, scratch, length);
        hold(&batch, stream, scratch + start, length - start);
        flush(&batch);
        return (size_t)got;
}

void ns_log_finish(struct ns_log *log)
{
        for (unsigned int which = 0; which < 2; which++)
                finish_stream(log, which);
        ns_close_fd(&log->fd);
        ns_close_fd(&log->dir_fd);
}
