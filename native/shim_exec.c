/* shim_exec.c: commands in containers.
 *
 *   free → running → ended → free
 *
 * A command is answered when its process has ended; one with streams of its client's when it has executed, too. What it
 * left running stays, as it would with any runtime, and its cgroup with it, unless the command was killed: for its
 * time, because its client went, or by request. Then all it started goes.
 */
#include "shim_exec.h"
#include "cleanup.h"
#include "kernel.h"
#include "plan.h"

#include <string.h>
#include <time.h>

/* ---- the table
 * ------------------------------------------------------------------------------------------------------- */

/* A place in the table. When all are taken, that of a command which ended long ago and left something running: its
 * cgroup goes with the container's. */
static struct ns_exec *find_place(struct ns_shim *shim)
{
        struct ns_exec *oldest = NULL;
        for (unsigned int i = 0; i < shim->execs_used; i++) {
                struct ns_exec *exec = &shim->execs[i];
                if (exec->phase == NS_EXEC_FREE)
                        return exec;
                if (exec->phase == NS_EXEC_ENDED && (oldest == NULL || exec->number < oldest->number))
                        oldest = exec;
        }
        return shim->execs_used < NS_MAX_EXECS ? &shim->execs[shim->execs_used++] : oldest;
}

void ns_execs_sweep(struct ns_shim *shim)
{
        for (unsigned int i = 0; i < shim->execs_used; i++)
                if (shim->execs[i].phase == NS_EXEC_ENDED && !shim->execs[i].killed)
                        ns_exec_tidy(shim, &shim->execs[i]);
}

/* ---- beginning
 * ------------------------------------------------------------------------------------------------------- */

/* Its own cgroup below the container's; without one, it is where the container is. */
static int prepare_cgroup(struct ns_shim *shim, struct ns_exec *exec, struct ns_failure *failure)
{
        exec->number = ++shim->execs_counted;
        if (exec->entry->cgroup_fd < 0)
                return 0;
        exec->cgroup_fd = ns_cgroup_make(exec->entry->cgroup_fd, exec->number);
        return exec->cgroup_fd < 0 ? ns_fail(failure, NS_STEP_PLACE, errno) : 0;
}

static int prepare_stdio(struct ns_exec *exec, const struct ns_request *request, const int *fds, struct ns_launch *what,
                         struct ns_failure *failure)
{
        if ((request->flags & NS_EXEC_STDIO) != 0) {
                memcpy(what->stdio, fds + 1, sizeof(what->stdio));
                return 0;
        }
        if (request->output_limit == 0 || exec->streams)
                return 0;
        if (ns_output_pipe(&exec->output_fd, &what->stdio[1]) < 0)
                return ns_fail(failure, NS_STEP_PIPES, errno);
        what->stdio[2] = what->stdio[1];
        return 0;
}

static int begin(struct ns_shim *shim, struct ns_exec *exec, const struct ns_request *request, const int *fds,
                 struct ns_launch *what, struct ns_failure *failure)
{
        struct ns_process process;
        if (prepare_cgroup(shim, exec, failure) < 0 || prepare_stdio(exec, request, fds, what, failure) < 0)
                return -1;
        what->cgroup_fd = exec->cgroup_fd;
        if (ns_launch_start(what, &process, failure) < 0)
                return -1;
        close(process.pidfd); /* a child that is not reaped keeps its number */
        exec->pid = process.pid;
        exec->control_fd = process.control_fd;
        exec->phase = NS_EXEC_RUNNING;
        /* Fails only when the kernel is out of memory: then it is told at the end, as far as the pipe holds it. */
        unsigned int index = (unsigned int)(exec - shim->execs);
        if (exec->output_fd >= 0)
                ns_watch(shim, exec->output_fd, NS_FROM_EXEC, index, 0);
        if (exec->streams)
                ns_watch(shim, exec->control_fd, NS_FROM_EXEC_CONTROL, index, 0);
        return 0;
}

static void undo(struct ns_shim *shim, struct ns_exec *exec)
{
        ns_close_fd(&exec->cgroup_fd);
        if (exec->entry->cgroup_fd >= 0)
                ns_cgroup_remove(exec->entry->cgroup_fd, exec->number);
        ns_exec_free(shim, exec);
}

int ns_exec_begin(struct ns_shim *shim, int client, const struct ns_request *request, int *fds,
                  struct ns_failure *failure)
{
        __attribute__((cleanup(ns_plan_unmap))) struct ns_mapping mapping = {0};
        struct ns_entry *entry = ns_entry_running(shim, request->id);
        if (shim->stopping)
                return ns_fail(failure, NS_STEP_REQUEST, ESHUTDOWN);
        if (entry == NULL)
                return ns_fail(failure, NS_STEP_REQUEST, ESRCH);
        if (ns_plan_map(fds[0], 0, &mapping, failure) < 0)
                return -1;
        ns_execs_sweep(shim);
        struct ns_exec *exec = find_place(shim);
        if (exec == NULL)
                return ns_fail(failure, NS_STEP_REQUEST, ENOSPC);
        if (exec->phase == NS_EXEC_ENDED)
                ns_exec_free(shim, exec);

        *exec = (struct ns_exec){
            .detached = (request->flags & NS_EXEC_DETACHED) != 0,
            .streams = (request->flags & (NS_EXEC_STDIO | NS_EXEC_TERMINAL)) != 0,
            .client = client,
            .serial = request->serial,
            .entry = entry,
            .control_fd = -1,
            .output_fd = -1,
            .master_fd = -1,
            .terminal_fd = -1,
            .cgroup_fd = -1,
            .deadline = INT64_MAX,
            .output_limit = request->output_limit,
            .message = {.kind = NS_MSG_RESULT, .serial = request->serial, .started_ns = ns_now(CLOCK_REALTIME)},
        };
        int64_t now = ns_now(CLOCK_MONOTONIC);
        if (request->timeout_ns > 0 && request->timeout_ns < (uint64_t)(INT64_MAX - now))
                exec->deadline = now + (int64_t)request->timeout_ns;
        struct ns_launch what = {
            .plan = mapping.start,
            .pause_pidfd = -1,
            .target_pidfd = entry->process.pidfd,
            .births = true,
            .cgroup_fd = -1,
            .procs_fds = entry->procs_fds,
            .procs_count = entry->procs_count,
            .stdio = {0, 1, 2},
        };
        int result = begin(shim, exec, request, fds, &what, failure);
        if (exec->output_fd >= 0)
                close(what.stdio[1]);
        if (result < 0)
                undo(shim, exec);
        return result;
}

/* ---- ending
 * ---------------------------------------------------------------------------------------------------------- */

static void expire(struct ns_shim *shim, struct ns_exec *exec)
{
        if (exec->phase == NS_EXEC_ENDED) {
                ns_exec_tidy(shim, exec);
                return;
        }
        if (exec->killed) { /* it waits for something that no signal interrupts: nobody has to wait for it */
                exec->message.wait_status = SIGKILL;
                ns_exec_answer(shim, exec);
        } else {
                exec->message.flags |= NS_RESULT_TIMED_OUT;
        }
        ns_exec_kill(shim, exec);
}

int64_t ns_execs_deadline(const struct ns_shim *shim)
{
        int64_t first = INT64_MAX;
        for (unsigned int i = 0; i < shim->execs_used; i++)
                if (shim->execs[i].phase != NS_EXEC_FREE && shim->execs[i].deadline < first)
                        first = shim->execs[i].deadline;
        return first;
}

void ns_execs_expire(struct ns_shim *shim)
{
        for (unsigned int i = 0; i < shim->execs_used; i++) {
                struct ns_exec *exec = &shim->execs[i];
                if (exec->phase != NS_EXEC_FREE && exec->deadline != INT64_MAX &&
                    exec->deadline <= ns_now(CLOCK_MONOTONIC))
                        expire(shim, exec);
        }
}

void ns_exec_cancel(struct ns_shim *shim, int client, uint64_t serial)
{
        for (unsigned int i = 0; i < shim->execs_used; i++) {
                struct ns_exec *exec = &shim->execs[i];
                if (exec->phase == NS_EXEC_RUNNING && exec->client == client && exec->serial == serial)
                        ns_exec_kill(shim, exec);
        }
}

int ns_exec_signal(struct ns_shim *shim, int client, uint64_t serial, int number, struct ns_failure *failure)
{
        for (unsigned int i = 0; i < shim->execs_used; i++) {
                struct ns_exec *exec = &shim->execs[i];
                if (exec->phase != NS_EXEC_RUNNING || exec->client != client || exec->serial != serial)
                        continue;
                ns_exec_progress(shim, exec);
                if (!exec->born || !exec->ready)
                        break;
                return kill(exec->pid, number) < 0 ? ns_fail(failure, NS_STEP_SIGNAL, errno) : 0;
        }
        return ns_fail(failure, NS_STEP_SIGNAL, ESRCH);
}

void ns_execs_client_gone(struct ns_shim *shim, int client)
{
        for (unsigned int i = 0; i < shim->execs_used; i++) {
                struct ns_exec *exec = &shim->execs[i];
                if (exec->phase != NS_EXEC_RUNNING || exec->client != client)
                        continue;
                exec->client = -1;
                if (!exec->detached)
                        ns_exec_kill(shim, exec);
        }
}

/* A command ends with its container, also where they do not share a process namespace of their own. */
void ns_execs_entry_gone(struct ns_shim *shim, const struct ns_entry *entry)
{
        for (unsigned int i = 0; i < shim->execs_used; i++) {
                struct ns_exec *exec = &shim->execs[i];
                if (exec->phase == NS_EXEC_FREE || exec->entry != entry)
                        continue;
                exec->entry = NULL;
                if (exec->phase == NS_EXEC_ENDED) {
                        ns_exec_free(shim, exec);
                        continue;
                }
                ns_exec_progress(shim, exec);
                if (!exec->born)
                        ns_fail(&exec->message.failure, NS_STEP_REQUEST, ESRCH);
                ns_exec_kill(shim, exec);
        }
}

void ns_execs_kill(struct ns_shim *shim)
{
        for (unsigned int i = 0; i < shim->execs_used; i++)
                if (shim->execs[i].phase == NS_EXEC_RUNNING)
                        ns_exec_kill(shim, &shim->execs[i]);
}

bool ns_execs_alive(const struct ns_shim *shim)
{
        for (unsigned int i = 0; i < shim->execs_used; i++)
                if (shim->execs[i].phase == NS_EXEC_RUNNING)
                        return true;
        return false;
}
