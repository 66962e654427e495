/* forward_pump.c: moves bytes between the two sockets of a connection without looking at them: splice(2), by a pipe for
 * each way. A pipe is filled only when it is empty, so that "again" from the kernel has one meaning, and is given back
 * when it is: a connection at rest has none. */
#include "cleanup.h"
#include "forward.h"
#include "kernel.h"

#include <sys/epoll.h>
#include <sys/socket.h>

enum { LARGE = 1 << 20, SHARE = 1 << 20 };

enum outcome { RESTS, HAS_MORE, BROKEN };

/* Large ones save a fifth of the work. They are few, because the kernel lets all processes of a user have only so many
 * pages of pipes (pipe(7), pipe-user-pages-soft: 64 of these), pods among them; a busy connection has one of them for
 * a moment at a time. */
static int pipe_take(struct ns_forward *forward, struct ns_pipe *pipe)
{
        int fds[2];
        if (forward->pipe_count > 0) {
                *pipe = forward->pipes[--forward->pipe_count];
                return 0;
        }
        if (pipe2(fds, O_NONBLOCK | O_CLOEXEC) < 0)
                return -1;
        *pipe = (struct ns_pipe){.reader = fds[0], .writer = fds[1]};
        if (forward->large_pipes < NS_FORWARD_LARGE_PIPES && fcntl(pipe->writer, F_SETPIPE_SZ, LARGE) >= LARGE) {
                pipe->is_large = true;
                forward->large_pipes++;
        }
        return 0;
}

void ns_pipe_release(struct ns_forward *forward, struct ns_way *way)
{
        if (way->pipe.reader < 0)
                return;
        if (way->held == 0 && way->pipe.is_large) {
                forward->pipes[forward->pipe_count++] = way->pipe;
        } else {
                forward->large_pipes -= way->pipe.is_large;
                ns_close_fd(&way->pipe.reader);
                ns_close_fd(&way->pipe.writer);
        }
        way->pipe = (struct ns_pipe){.reader = -1, .writer = -1};
        way->held = 0;
}

static ssize_t fill(struct ns_forward *forward, struct ns_way *way, struct ns_end *from)
{
        if (way->pipe.reader < 0 && pipe_take(forward, &way->pipe) < 0)
                return -1;
        ssize_t got = splice(from->fd, NULL, way->pipe.writer, NULL, LARGE, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (got > 0)
                way->held = (uint32_t)got;
        else if (got == 0)
                way->ended = true;
        else if (errno == EAGAIN)
                from->readable = false;
        return got < 0 && errno != EAGAIN ? -1 : 0;
}

static ssize_t drain(struct ns_way *way, struct ns_end *to)
{
        ssize_t put = splice(way->pipe.reader, NULL, to->fd, NULL, way->held, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
        if (put >= 0)
                way->held -= (uint32_t)put;
        else if (errno == EAGAIN)
                to->writable = false;
        return put < 0 && errno == EAGAIN ? 0 : put;
}

static enum outcome move(struct ns_forward *forward, struct ns_way *way, struct ns_end *from, struct ns_end *to)
{
        ssize_t moved = 0;
        while (moved < SHARE) {
                ssize_t step = 0;
                if (way->held > 0 && to->writable)
                        step = drain(way, to);
                else if (way->held == 0 && from->readable && !way->ended)
                        step = fill(forward, way, from);
                else
                        break;
                if (step < 0)
                        return BROKEN;
                moved += step;
        }
        if (way->held == 0)
                ns_pipe_release(forward, way);
        if (way->held == 0 && way->ended && !way->shut) {
                way->shut = true;
                shutdown(to->fd, SHUT_WR);
        }
        return moved >= SHARE ? HAS_MORE : RESTS;
}

void ns_pump(struct ns_forward *forward, struct ns_connection *connection)
{
        struct ns_end *client = &connection->ends[NS_CLIENT], *pod = &connection->ends[NS_POD];
        struct ns_way *in = &connection->ways[NS_CLIENT], *out = &connection->ways[NS_POD];
        enum outcome inwards = move(forward, in, client, pod);
        enum outcome outwards = inwards == BROKEN ? BROKEN : move(forward, out, pod, client);
        ns_chain_remove(&connection->ready);
        if (outwards == BROKEN)
                ns_connection_close(forward, connection, true);
        else if (in->shut && out->shut)
                ns_connection_close(forward, connection, false);
        else if (inwards == HAS_MORE || outwards == HAS_MORE)
                ns_chain_append(&forward->ready, &connection->ready);
}

/* Each that waits now, once: who has more to move is behind the others again. */
void ns_pump_ready(struct ns_forward *forward)
{
        const struct ns_chain *last = forward->ready.before;
        const struct ns_chain *item = NULL;
        while (item != last && forward->ready.after != &forward->ready) {
                item = forward->ready.after;
                ns_pump(forward, NS_CHAINED(item, struct ns_connection, ready));
        }
}
