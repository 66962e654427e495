/* shim_requests.c: what each request does. */
#include "cleanup.h"
#include "kernel.h"
#include "shim.h"

#include <string.h>

void ns_answer(struct ns_shim *shim, int client, uint64_t serial, const struct ns_failure *failure)
{
        struct ns_message message = {.kind = NS_MSG_DONE, .serial = serial};
        if (failure != NULL) {
                message.kind = NS_MSG_FAILED;
                message.failure = *failure;
        }
        ns_client_send(shim, client, &message);
}

static int signal_entry(struct ns_entry *entry, int number, struct ns_failure *failure)
{
        if (entry->phase != NS_STARTING && entry->phase != NS_RUNNING)
                return ns_fail(failure, NS_STEP_SIGNAL, ESRCH);
        return sys_pidfd_send_signal(entry->process.pidfd, number) < 0 ? ns_fail(failure, NS_STEP_SIGNAL, errno) : 0;
}

/* With a serial, a command. */
static int signal_process(struct ns_shim *shim, int client, const struct ns_request *request,
                          struct ns_failure *failure)
{
        if (request->of_serial != 0)
                return ns_exec_signal(shim, client, request->of_serial, request->value, failure);
        struct ns_entry *entry = ns_entry_find(shim, request->id);
        return entry == NULL ? ns_fail(failure, NS_STEP_REQUEST, ENOENT) : signal_entry(entry, request->value, failure);
}

static int forget_entry(struct ns_shim *shim, struct ns_entry *entry, struct ns_failure *failure)
{
        if (entry->phase != NS_ENDED)
                return ns_fail(failure, NS_STEP_REQUEST, EBUSY);
        if (ns_exit_forget(shim, entry->message.id) < 0)
                return ns_fail(failure, NS_STEP_RECORD, errno);
        ns_entry_free(shim, entry);
        return 0;
}

static int reopen_log(struct ns_entry *entry, struct ns_failure *failure)
{
        if (entry->log.dir_fd < 0)
                return ns_fail(failure, NS_STEP_LOG, ENOENT);
        ns_close_fd(&entry->log.fd);
        return ns_log_open(&entry->log) < 0 ? ns_fail(failure, NS_STEP_LOG, errno) : 0;
}

static void list_entries(struct ns_shim *shim, int client, uint64_t serial)
{
        for (unsigned int i = 0; i < shim->used; i++) {
                struct ns_message message = shim->entries[i].message;
                if (shim->entries[i].phase == NS_FREE)
                        continue;
                message.kind = NS_MSG_ENTRY;
                message.serial = serial;
                message.dropped = shim->entries[i].log.dropped; /* up to now */
                ns_client_send(shim, client, &message);
        }
}

static void subscribe(struct ns_shim *shim, int client)
{
        shim->clients[client].subscribed = true;
        for (unsigned int i = 0; i < shim->used; i++)
                if (shim->entries[i].phase == NS_ENDED)
                        ns_client_send(shim, client, &shim->entries[i].message);
}

static void begin_shutdown(struct ns_shim *shim, int client, uint64_t serial)
{
        shim->stopping = true;
        shim->stop_client = client;
        shim->stop_serial = serial;
        ns_entries_kill(shim);
        ns_execs_kill(shim);
}

/* The requests about one entry that exists. */
static int handle_entry(struct ns_shim *shim, const struct ns_request *request, struct ns_failure *failure)
{
        struct ns_entry *entry = ns_entry_find(shim, request->id);
        if (entry == NULL)
                return ns_fail(failure, NS_STEP_REQUEST, ENOENT);
        if (request->kind == NS_REQ_FORGET)
                return forget_entry(shim, entry, failure);
        return reopen_log(entry, failure);
}

void ns_request_handle(struct ns_shim *shim, int client, const struct ns_request *request, int *fds, unsigned int count)
{
        struct ns_failure failure;
        int result = 0;
        switch (request->kind) {
        case NS_REQ_LAUNCH:
                if (ns_launch_begin(shim, client, request, fds, count, &failure) < 0)
                        ns_answer(shim, client, request->serial, &failure);
                return;
        case NS_REQ_EXEC:
                if (ns_exec_begin(shim, client, request, fds, &failure) < 0)
                        ns_answer(shim, client, request->serial, &failure);
                return;
        case NS_REQ_ATTACH:
                if (ns_attach_begin(shim, client, request, &failure) < 0)
                        ns_answer(shim, client, request->serial, &failure);
                return;
        case NS_REQ_SHUTDOWN:
                begin_shutdown(shim, client, request->serial);
                return;
        case NS_REQ_LIST:
                list_entries(shim, client, request->serial);
                break;
        case NS_REQ_SUBSCRIBE:
                subscribe(shim, client);
                break;
        case NS_REQ_CANCEL:
                ns_exec_cancel(shim, client, request->of_serial);
                ns_attached_cancel(shim, client, request->of_serial);
                break;
        case NS_REQ_SIGNAL:
                result = signal_process(shim, client, request, &failure);
                break;
        default:
                result = handle_entry(shim, request, &failure);
                break;
        }
        ns_answer(shim, client, request->serial, result < 0 ? &failure : NULL);
}
