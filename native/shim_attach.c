/* shim_attach.c: who sees what a container writes, and writes to it.
 *
 * Copies of its outputs go through pipes of our own making that do not block. Whoever lags behind by more than such a
 * pipe holds is cut off: neither the container nor its log ever waits for anybody. Input does not pass through here:
 * who attaches gets the end of it that is ours.
 */
#include "cleanup.h"
#include "kernel.h"
#include "shim.h"

#include <string.h>

static const uint32_t output_bits[2] = {NS_STREAM_OUT, NS_STREAM_ERR};

static void detach(struct ns_attachment *attachment)
{
        ns_close_fd(&attachment->fds[0]);
        ns_close_fd(&attachment->fds[1]);
        attachment->entry = NULL;
}

/* ---- beginning
 * ------------------------------------------------------------------------------------------------------- */

static struct ns_attachment *find_place(struct ns_shim *shim)
{
        for (unsigned int i = 0; i < NS_MAX_ATTACHED; i++)
                if (shim->attachments[i].entry == NULL)
                        return &shim->attachments[i];
        return NULL;
}

/* A copy of one output; theirs goes to the client. */
static int open_copy(int *ours, int *theirs)
{
        int ends[2];
        if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0)
                return -1;
        *theirs = ends[0];
        *ours = ends[1];
        fcntl(ends[1], F_SETPIPE_SZ, NS_ATTACH_BUFFER); /* what it is, where the kernel does not grant that */
        return 0;
}

/* What there is of the streams that are asked for; its flags. `fds`: for the client, `given` of them ours to keep. */
static int open_streams(struct ns_attachment *attachment, uint32_t asked, int fds[3], unsigned int *kept,
                        unsigned int *count)
{
        const struct ns_entry *entry = attachment->entry;
        int flags = 0;
        *count = 0;
        if (entry->terminal_fd >= 0) {
                flags |= NS_STREAM_TERMINAL;
                fds[(*count)++] = entry->log.streams[0].fd;
        } else if ((asked & NS_STREAM_IN) != 0 && entry->stdin_fd >= 0) {
                flags |= NS_STREAM_IN;
                fds[(*count)++] = entry->stdin_fd;
        }
        *kept = *count;
        for (unsigned int stream = 0; stream < 2; stream++) {
                const struct ns_stream *source = &entry->log.streams[stream];
                if ((asked & output_bits[stream]) == 0 || source->fd < 0)
                        continue;
                if (open_copy(&attachment->fds[stream], &fds[*count]) < 0)
                        return -1;
                /* The line that was begun is read from its start: most of all, a prompt. It is in no log yet. */
                if (source->held_length > 0 && write(attachment->fds[stream], source->held, source->held_length) < 0)
                        return -1;
                flags |= (int)output_bits[stream];
                (*count)++;
        }
        return flags;
}

int ns_attach_begin(struct ns_shim *shim, int client, const struct ns_request *request, struct ns_failure *failure)
{
        struct ns_entry *entry = ns_entry_running(shim, request->id);
        struct ns_attachment *attachment = find_place(shim);
        int fds[3];
        unsigned int kept = 0;
        unsigned int count = 0;
        if (entry == NULL)
                return ns_fail(failure, NS_STEP_REQUEST, ESRCH);
        if (attachment == NULL)
                return ns_fail(failure, NS_STEP_REQUEST, ENOSPC);
        *attachment = (struct ns_attachment){
            .entry = entry,
            .client = client,
            .serial = request->serial,
            .fds = {-1, -1},
        };
        int flags = open_streams(attachment, request->flags, fds, &kept, &count);
        if (flags < 0) {
                ns_fail(failure, NS_STEP_PIPES, errno);
                detach(attachment);
        } else {
                struct ns_message message = entry->message;
                message.kind = NS_MSG_STARTED;
                message.serial = request->serial;
                message.flags = (uint32_t)flags;
                ns_client_send_fds(shim, client, &message, fds, count);
                if ((flags & NS_STREAM_IN) != 0 && entry->stdin_once)
                        ns_close_fd(&entry->stdin_fd);
        }
        for (unsigned int i = kept; i < count; i++)
                close(fds[i]);
        return flags < 0 ? -1 : 0;
}

/* ---- in between
 * ------------------------------------------------------------------------------------------------------ */

static void cut_off(struct ns_shim *shim, struct ns_attachment *attachment)
{
        const struct ns_failure failure = {.step = NS_STEP_ATTACH, .error = ENOBUFS, .index = NS_NO_INDEX};
        int client = attachment->client;
        detach(attachment);
        ns_answer(shim, client, attachment->serial, &failure);
}

void ns_attached_copy(struct ns_shim *shim, const struct ns_entry *entry, unsigned int stream, const char *data,
                      size_t size)
{
        for (unsigned int i = 0; i < NS_MAX_ATTACHED; i++) {
                struct ns_attachment *attachment = &shim->attachments[i];
                if (attachment->entry != entry || attachment->fds[stream] < 0)
                        continue;
                ssize_t written = write(attachment->fds[stream], data, size);
                if (written < 0 && errno == EPIPE) /* it was closed over there */
                        ns_close_fd(&attachment->fds[stream]);
                else if (written != (ssize_t)size)
                        cut_off(shim, attachment);
        }
}

/* ---- ending
 * ---------------------------------------------------------------------------------------------------------- */

void ns_attached_cancel(struct ns_shim *shim, int client, uint64_t serial)
{
        for (unsigned int i = 0; i < NS_MAX_ATTACHED; i++) {
                struct ns_attachment *attachment = &shim->attachments[i];
                if (attachment->entry != NULL && attachment->client == client && attachment->serial == serial)
                        detach(attachment);
        }
}

void ns_attached_client_gone(struct ns_shim *shim, int client)
{
        for (unsigned int i = 0; i < NS_MAX_ATTACHED; i++)
                if (shim->attachments[i].entry != NULL && shim->attachments[i].client == client)
                        detach(&shim->attachments[i]);
}

void ns_attached_entry_gone(struct ns_shim *shim, const struct ns_entry *entry)
{
        for (unsigned int i = 0; i < NS_MAX_ATTACHED; i++) {
                struct ns_attachment *attachment = &shim->attachments[i];
                if (attachment->entry != entry)
                        continue;
                struct ns_message message = entry->message;
                message.kind = NS_MSG_RESULT;
                message.serial = attachment->serial;
                int client = attachment->client;
                detach(attachment);
                ns_client_send(shim, client, &message);
        }
}
