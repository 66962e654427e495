/* shim_exec_process.c: a command's process: what it says, what it writes, how it ends, and what it leaves. */
#include "cleanup.h"
#include "kernel.h"
#include "shim_exec.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

enum {
        OUTPUT_READS = 64, /* of what is there at a command's end: somebody may write for ever */
        /* Between tries to be rid of what was killed: it dies at once, or waits for a dead disk. */
        FIRST_PAUSE_MS = 2,
        LAST_PAUSE_MS = 1000,
};

static const int64_t millisecond = 1000000;

/* ---- what it leaves
 * -------------------------------------------------------------------------------- */

/* Everything but its cgroup's name, which is only left to be removed. */
static void let_go(struct ns_shim *shim, struct ns_exec *exec)
{
        ns_unwatch(shim->epoll_fd, &exec->output_fd);
        ns_unwatch(shim->epoll_fd, &exec->control_fd);
        ns_close_fd(&exec->master_fd);
        ns_close_fd(&exec->terminal_fd);
        if (exec->output != NULL)
                munmap(exec->output, exec->output_limit);
        exec->output = NULL;
}

void ns_exec_free(struct ns_shim *shim, struct ns_exec *exec)
{
        let_go(shim, exec);
        ns_close_fd(&exec->cgroup_fd);
        exec->phase = NS_EXEC_FREE;
}

/* Removes an ended command's cgroup, and forgets it. When something is left in there that was to be killed: again in a
 * while; when it may live: when another command begins. */
void ns_exec_tidy(struct ns_shim *shim, struct ns_exec *exec)
{
        if (exec->cgroup_fd < 0 || exec->entry == NULL || exec->entry->cgroup_fd < 0 ||
            ns_cgroup_remove(exec->entry->cgroup_fd, exec->number) == 0) {
                ns_exec_free(shim, exec);
                return;
        }
        exec->deadline = INT64_MAX;
        if (!exec->killed)
                return;
        ns_cgroup_kill(exec->cgroup_fd);
        exec->pause = exec->pause == 0 ? FIRST_PAUSE_MS : exec->pause * 2;
        exec->pause = exec->pause < LAST_PAUSE_MS ? exec->pause : LAST_PAUSE_MS;
        exec->deadline = ns_now(CLOCK_MONOTONIC) + exec->pause * millisecond;
}

/* ---- output
 * ---------------------------------------------------------------------------------------------------------- */

static void keep_output(struct ns_exec *exec, const char *data, size_t size)
{
        size_t room = exec->output_limit - exec->output_length;
        if (size > room)
                exec->message.flags |= NS_RESULT_CUT;
        size = size < room ? size : room;
        if (size > 0 && exec->output == NULL) {
                void *fresh =
                    mmap(NULL, exec->output_limit, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                if (fresh == MAP_FAILED)
                        return;
                exec->output = fresh;
        }
        if (size > 0)
                memcpy(exec->output + exec->output_length, data, size);
        exec->output_length += (uint32_t)size;
}

/* False: nothing is there now, or nothing will come any more. */
static bool read_output(struct ns_shim *shim, struct ns_exec *exec)
{
        if (exec->output_fd < 0)
                return false;
        ssize_t size = read(exec->output_fd, shim->scratch, sizeof(shim->scratch));
        if (size < 0 && errno == EINTR)
                return true;
        if (size < 0 && errno == EAGAIN)
                return false;
        if (size > 0)
                keep_output(exec, shim->scratch, (size_t)size);
        else
                ns_unwatch(shim->epoll_fd, &exec->output_fd);
        return size > 0;
}

void ns_exec_read(struct ns_shim *shim, struct ns_exec *exec)
{
        if (exec->phase == NS_EXEC_RUNNING)
                read_output(shim, exec);
}

/* ---- what the child says
 * --------------------------------------------------------------------------------------------- */

static void take_terminal(struct ns_exec *exec, int fds[2])
{
        if (exec->streams && exec->master_fd < 0 && fds[0] >= 0) {
                exec->master_fd = ns_take_fd(&fds[0]);
                exec->terminal_fd = ns_take_fd(&fds[1]);
        }
        ns_close_fd(&fds[0]);
        ns_close_fd(&fds[1]);
}

static void hear(struct ns_exec *exec, const struct ns_report *report, pid_t sender)
{
        struct ns_message *message = &exec->message;
        siginfo_t ours = {0};
        if (report->kind == NS_REPORT_TOLERATED && message->tolerated_count < NS_MAX_TOLERATED)
                message->tolerated[message->tolerated_count++] = report->failure;
        if (report->kind == NS_REPORT_FAILED)
                message->failure = report->failure;
        if (report->kind == NS_REPORT_EXEC)
                exec->ready = true;
        /* Only a child of ours can have been born for us, and it is one until we reap it. */
        pid_t born = report->failure.error > 0 ? report->failure.error : sender;
        if (report->kind == NS_REPORT_BORN && waitid(P_PID, (id_t)born, &ours, WEXITED | WNOHANG | WNOWAIT) == 0) {
                exec->pid = born;
                exec->born = true;
        } else if (report->kind == NS_REPORT_BORN && !exec->born) {
                exec->stillborn = true; /* killed, and reaped as nobody's, before it said a word */
        }
}

/* It has executed: who asked gets the terminal. Once, and before its end. */
static void tell_start(struct ns_shim *shim, struct ns_exec *exec)
{
        if (!exec->streams || exec->started || !exec->ready || exec->message.failure.step != 0)
                return;
        exec->started = true;
        struct ns_message message = exec->message;
        message.kind = NS_MSG_STARTED;
        message.pid = exec->pid;
        message.flags = exec->master_fd >= 0 ? NS_STREAM_TERMINAL : 0;
        ns_client_send_fds(shim, exec->client, &message, &exec->master_fd, exec->master_fd >= 0 ? 1 : 0);
}

void ns_exec_progress(struct ns_shim *shim, struct ns_exec *exec)
{
        struct ns_report report;
        int fds[2];
        pid_t sender = 0;
        ssize_t size = 0;
        if (exec->phase != NS_EXEC_RUNNING || exec->control_fd < 0)
                return;
        while ((size = ns_launch_hear(exec->control_fd, &report, fds, &sender)) == sizeof(report)) {
                take_terminal(exec, fds);
                hear(exec, &report, sender);
        }
        if (size < 0 && errno == EAGAIN)
                return;
        ns_unwatch(shim->epoll_fd, &exec->control_fd);
        tell_start(shim, exec);
}

void ns_exec_heard(struct ns_shim *shim, struct ns_exec *exec)
{
        ns_exec_progress(shim, exec);
}

void ns_execs_progress(struct ns_shim *shim)
{
        for (unsigned int i = 0; i < shim->execs_used; i++)
                ns_exec_progress(shim, &shim->execs[i]);
}

/* ---- ending
 * ---------------------------------------------------------------------------------------------------------- */

/* Sent once: who asked is nobody any more after it. */
void ns_exec_answer(struct ns_shim *shim, struct ns_exec *exec)
{
        struct ns_message *message = &exec->message;
        message->pid = exec->pid;
        message->exited_ns = ns_now(CLOCK_REALTIME);
        if (message->failure.step != 0 && (message->flags & NS_RESULT_TIMED_OUT) == 0)
                message->kind = NS_MSG_FAILED;
        int client = exec->client;
        exec->client = -1;
        ns_client_send_with(shim, client, message, exec->output,
                            message->kind == NS_MSG_RESULT ? exec->output_length : 0);
}

void ns_exec_kill(struct ns_shim *shim, struct ns_exec *exec)
{
        exec->killed = true;
        exec->deadline = ns_now(CLOCK_MONOTONIC) + LAST_PAUSE_MS * millisecond;
        if (exec->cgroup_fd >= 0) {
                ns_cgroup_kill(exec->cgroup_fd);
                return;
        }
        ns_exec_progress(shim, exec); /* who it is now */
        ns_family_kill(exec->pid);
}

static struct ns_exec *find_process(struct ns_shim *shim, pid_t pid)
{
        for (unsigned int i = 0; i < shim->execs_used; i++)
                if (shim->execs[i].phase == NS_EXEC_RUNNING && shim->execs[i].pid == pid)
                        return &shim->execs[i];
        return NULL;
}

bool ns_execs_reaped(struct ns_shim *shim, pid_t pid, int status)
{
        struct ns_exec *exec = find_process(shim, pid);
        if (exec == NULL)
                return false;
        for (int reads = 0; reads < OUTPUT_READS && read_output(shim, exec); reads++)
                ;
        exec->message.wait_status = exec->stillborn ? SIGKILL : status;
        if (!exec->born && !exec->stillborn &&
            exec->message.failure.step == 0) /* the joiner was killed before it could say a word */
                ns_fail(&exec->message.failure, NS_STEP_CHILD, ECHILD);
        tell_start(shim, exec);
        ns_exec_answer(shim, exec);
        let_go(shim, exec);
        exec->phase = NS_EXEC_ENDED;
        ns_exec_tidy(shim, exec);
        return true;
}
