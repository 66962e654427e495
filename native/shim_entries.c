/* shim_entries.c: the processes of the pod, and what happens when one ends.
 *
 *   free → starting → running → draining → ended → free
 *
 * The end of a process is written down before anything else is done about it, and told only after its last output is in
 * the log.
 */
#include "cleanup.h"
#include "kernel.h"
#include "shim.h"

#include <string.h>
#include <sys/wait.h>
#include <time.h>

enum { LONGEST_WAIT_MS = 3600000 };

struct ns_entry *ns_entry_find(struct ns_shim *shim, const char *id)
{
        for (unsigned int i = 0; i < shim->used; i++)
                if (shim->entries[i].phase != NS_FREE && strcmp(shim->entries[i].message.id, id) == 0)
                        return &shim->entries[i];
        return NULL;
}

struct ns_entry *ns_entry_running(struct ns_shim *shim, const char *id)
{
        struct ns_entry *entry = ns_entry_find(shim, id);
        return entry == NULL || entry->phase != NS_RUNNING || entry->sandbox ? NULL : entry;
}

struct ns_entry *ns_entry_new(struct ns_shim *shim, const char *id)
{
        unsigned int index = 0;
        while (index < shim->used && shim->entries[index].phase != NS_FREE)
                index++;
        if (index == NS_MAX_ENTRIES)
                return NULL;
        if (index == shim->used)
                shim->used++;
        struct ns_entry *entry = &shim->entries[index];
        *entry = (struct ns_entry){
            .phase = NS_FREE,
            .client = -1,
            .process = {.pidfd = -1, .control_fd = -1},
            .stdin_fd = -1,
            .terminal_fd = -1,
            .cgroup_fd = -1,
            .log = {.epoll_fd = shim->epoll_fd, .dir_fd = -1, .fd = -1, .streams = {{.fd = -1}, {.fd = -1}}},
            .message = {.kind = NS_MSG_ENTRY, .state = NS_STATE_RUNNING},
        };
        memcpy(entry->message.id, id, strlen(id) + 1);
        return entry;
}

/* What only a living process needs: no input comes any more, and no command. */
static void close_living(struct ns_entry *entry)
{
        ns_close_fd(&entry->stdin_fd);
        ns_close_fd(&entry->terminal_fd);
        ns_close_fd(&entry->cgroup_fd);
        for (uint32_t i = 0; i < entry->procs_count; i++)
                ns_close_fd(&entry->procs_fds[i]);
        entry->procs_count = 0;
}

void ns_entry_free(struct ns_shim *shim, struct ns_entry *entry)
{
        ns_execs_entry_gone(shim, entry);
        ns_attached_entry_gone(shim, entry);
        close_living(entry);
        ns_log_finish(&entry->log);
        ns_close_fd(&entry->process.pidfd);
        ns_unwatch(shim->epoll_fd, &entry->process.control_fd);
        entry->phase = NS_FREE;
}

static void record(struct ns_shim *shim, struct ns_message *message)
{
        if (ns_exit_record(shim, message) < 0)
                message->failure = (struct ns_failure){.step = NS_STEP_RECORD, .error = errno, .index = NS_NO_INDEX};
}

/* All its output is written, or too late. */
static void settle(struct ns_shim *shim, struct ns_entry *entry)
{
        struct ns_message *message = &entry->message;
        ns_log_finish(&entry->log);
        if (entry->log.dropped != message->dropped) {
                message->dropped = entry->log.dropped;
                record(shim, message);
        }
        entry->phase = NS_ENDED;
        message->kind = NS_MSG_EXIT;
        ns_attached_entry_gone(shim, entry);
        ns_clients_publish(shim, message);
}

/* It never ran. Who asked for it is told; if nobody waits any more, it counts as a run that ended. */
static bool failed_start(struct ns_shim *shim, struct ns_entry *entry)
{
        struct ns_message answer = entry->message;
        if (answer.failure.step == 0) /* killed before it could say a word */
                answer.failure = (struct ns_failure){.step = NS_STEP_CHILD, .error = ECHILD, .index = NS_NO_INDEX};
        entry->message.failure = answer.failure;
        if (entry->client < 0)
                return false;
        answer.kind = NS_MSG_FAILED;
        ns_client_send(shim, entry->client, &answer);
        ns_entry_free(shim, entry);
        return true;
}

static void ended(struct ns_shim *shim, struct ns_entry *entry, int status)
{
        struct ns_message *message = &entry->message;
        ns_launch_ended(shim, entry); /* the start is told before the end */
        message->exited_ns = ns_now(CLOCK_REALTIME);
        message->wait_status = status;
        if (entry->phase == NS_STARTING && failed_start(shim, entry))
                return;
        message->serial = 0;
        message->state = NS_STATE_EXITED;
        ns_close_fd(&entry->process.pidfd);
        ns_execs_entry_gone(shim, entry);
        close_living(entry);
        record(shim, message);
        entry->phase = NS_DRAINING;
        entry->deadline = ns_now(CLOCK_MONOTONIC) + (int64_t)NS_DRAIN_MS * 1000000;
        for (unsigned int stream = 0; stream < 2; stream++)
                ns_entry_read(shim, entry, stream);
        if (entry->phase == NS_DRAINING && !ns_log_streaming(&entry->log))
                settle(shim, entry);
}

static struct ns_entry *find_pid(struct ns_shim *shim, pid_t pid)
{
        for (unsigned int i = 0; i < shim->used; i++) {
                struct ns_entry *entry = &shim->entries[i];
                if ((entry->phase == NS_STARTING || entry->phase == NS_RUNNING) && entry->process.pid == pid)
                        return entry;
        }
        return NULL;
}

void ns_entries_reap(struct ns_shim *shim)
{
        siginfo_t ahead = {0};
        int status = 0;
        /* Looked at before it is reaped: what it said before its end, above all who it is, is to be read then. */
        while (waitid(P_ALL, 0, &ahead, WEXITED | WNOHANG | WNOWAIT) == 0 && ahead.si_pid > 0) {
                ns_execs_progress(shim);
                for (unsigned int i = 0; i < shim->used; i++)
                        ns_launch_progress(shim, &shim->entries[i]);
                pid_t pid = waitpid(ahead.si_pid, &status, WNOHANG);
                ahead.si_pid = 0;
                if (pid <= 0 || ns_execs_reaped(shim, pid, status))
                        continue;
                struct ns_entry *entry = find_pid(shim, pid);
                if (entry != NULL)
                        ended(shim, entry, status);
                else /* a joiner, or an orphan that some container left to us */
                        ns_execs_sweep(shim);
        }
}

void ns_entry_read(struct ns_shim *shim, struct ns_entry *entry, unsigned int stream)
{
        if (entry->phase == NS_FREE || entry->log.streams[stream].fd < 0)
                return;
        size_t held = entry->log.streams[stream].held_length;
        size_t size = ns_log_read(&entry->log, stream, shim->scratch);
        if (size > 0)
                ns_attached_copy(shim, entry, stream, shim->scratch + held, size);
        if (entry->phase == NS_DRAINING && !ns_log_streaming(&entry->log))
                settle(shim, entry);
}

int ns_entries_timeout(const struct ns_shim *shim)
{
        int64_t first = ns_execs_deadline(shim);
        for (unsigned int i = 0; i < shim->used; i++)
                if (shim->entries[i].phase == NS_DRAINING && shim->entries[i].deadline < first)
                        first = shim->entries[i].deadline;
        if (first == INT64_MAX)
                return -1;
        int64_t left = (first - ns_now(CLOCK_MONOTONIC)) / 1000000;
        if (left < 0)
                return 0;
        return left < LONGEST_WAIT_MS ? (int)left + 1 : LONGEST_WAIT_MS;
}

void ns_entries_expire(struct ns_shim *shim)
{
        for (unsigned int i = 0; i < shim->used; i++) {
                struct ns_entry *entry = &shim->entries[i];
                if (entry->phase == NS_DRAINING && entry->deadline <= ns_now(CLOCK_MONOTONIC))
                        settle(shim, entry);
        }
}

void ns_entries_kill(struct ns_shim *shim)
{
        for (unsigned int i = 0; i < shim->used; i++)
                if (shim->entries[i].phase == NS_STARTING || shim->entries[i].phase == NS_RUNNING)
                        sys_pidfd_send_signal(shim->entries[i].process.pidfd, SIGKILL);
}

bool ns_entries_alive(const struct ns_shim *shim)
{
        for (unsigned int i = 0; i < shim->used; i++)
                if (shim->entries[i].phase != NS_FREE && shim->entries[i].phase != NS_ENDED)
                        return true;
        return false;
}

/* Kills the pids in "12 345 ", the form of /proc/<pid>/task/<tid>/children. */
static void kill_listed(const char *text, const char *end)
{
        pid_t pid = 0;
        for (; text < end; text++) {
                if (*text >= '0' && *text <= '9') {
                        pid = pid * 10 + (*text - '0');
                        continue;
                }
                if (pid > 0)
                        kill(pid, SIGKILL);
                pid = 0;
        }
}

/* Descendants that outlived their container, because it had no process namespace of its own. Each round may uncover
 * more. */
void ns_strays_kill(void)
{
        char text[4096];
        for (int round = 0; round < 64; round++) {
                CLEANUP_FD int fd = open("/proc/thread-self/children", O_RDONLY | O_CLOEXEC);
                ssize_t size = fd < 0 ? 0 : read(fd, text, sizeof(text));
                if (size <= 0)
                        return;
                kill_listed(text, text + size);
                while (waitpid(-1, NULL, 0) > 0)
                        ;
        }
}
