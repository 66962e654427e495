/* shim_launch.c: a launch from its request to its answer.
 *
 * The answer is sent when the program runs (its end of the control line is closed by the exec) or when the child that
 * could not exec has been reaped. In between the loop goes on: launches run side by side.
 */
#include "cleanup.h"
#include "kernel.h"
#include "plan.h"
#include "shim.h"

#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#ifndef F_GET_SEALS
#define F_GET_SEALS 1034
#define F_SEAL_SHRINK 2
#define F_SEAL_GROW 4
#define F_SEAL_WRITE 8
#endif

void ns_plan_unmap(struct ns_mapping *mapping)
{
        if (mapping->start != NULL)
                munmap(mapping->start, mapping->size);
}

/* The seals make sure that what is checked is what the child will read. */
int ns_plan_map(int fd, unsigned int fd_count, struct ns_mapping *mapping, struct ns_failure *failure)
{
        const int needed = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
        struct stat status;
        int seals = fcntl(fd, F_GET_SEALS);
        if (seals < 0 || fstat(fd, &status) < 0)
                return ns_fail(failure, NS_STEP_PLAN, errno);
        if ((seals & needed) != needed)
                return ns_fail(failure, NS_STEP_PLAN, EPERM);
        if (status.st_size < (off_t)sizeof(struct ns_plan) || status.st_size > NS_PLAN_MAX_SIZE)
                return ns_fail(failure, NS_STEP_PLAN, EINVAL);
        void *start = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (start == MAP_FAILED)
                return ns_fail(failure, NS_STEP_PLAN, errno);
        *mapping = (struct ns_mapping){.start = start, .size = (size_t)status.st_size};
        return ns_plan_check(start, mapping->size, fd_count, failure) < 0 ? -1 : 0;
}

int ns_output_pipe(int *ours, int *theirs)
{
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) < 0)
                return -1;
        *ours = ends[0];
        *theirs = ends[1];
        return fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0 ? -1 : fchmod(ends[1], 0666);
}

static int watch_outputs(struct ns_shim *shim, struct ns_entry *entry)
{
        unsigned int index = (unsigned int)(entry - shim->entries);
        for (unsigned int which = 0; which < 2; which++)
                if (entry->log.streams[which].fd >= 0 &&
                    ns_watch(shim, entry->log.streams[which].fd, NS_FROM_STREAM, index, which) < 0)
                        return -1;
        return 0;
}

static const struct ns_entry *find_sandbox(const struct ns_shim *shim)
{
        for (unsigned int i = 0; i < shim->used; i++)
                if (shim->entries[i].sandbox && shim->entries[i].phase == NS_RUNNING)
                        return &shim->entries[i];
        return NULL;
}

/* 0: unknown. */
static uint64_t start_ticks(pid_t pid)
{
        struct ns_stat stat;
        return ns_stat_read(pid, &stat) ? stat.start_ticks : 0;
}

/* A pipe that nobody writes to yet, and that can be opened again as /dev/stdin. Whoever attaches gets our end, which
 * does not block. */
static int open_input(struct ns_entry *entry, int *theirs)
{
        int ends[2];
        if (pipe2(ends, O_CLOEXEC) < 0)
                return -1;
        *theirs = ends[0];
        entry->stdin_fd = ends[1];
        return fcntl(ends[1], F_SETFL, O_NONBLOCK) < 0 ? -1 : fchmod(ends[0], 0666);
}

/* Pipes, and the log that output leads to; an entry without a log writes to /dev/null. A terminal comes later. */
static int prepare_output(struct ns_entry *entry, const struct ns_request *request, int *dir_fd, int stdio[3],
                          struct ns_failure *failure)
{
        memcpy(entry->log.name, request->log, sizeof(entry->log.name));
        entry->log.limit = request->log_bytes;
        entry->log.files = request->log_files;
        entry->log.dir_fd = ns_take_fd(dir_fd);
        if (ns_log_open(&entry->log) < 0)
                return ns_fail(failure, NS_STEP_LOG, errno);
        if ((request->flags & NS_LAUNCH_TERMINAL) != 0)
                return 0;
        if ((request->flags & NS_LAUNCH_STDIN) != 0 && open_input(entry, &stdio[0]) < 0)
                return ns_fail(failure, NS_STEP_PIPES, errno);
        if (ns_output_pipe(&entry->log.streams[0].fd, &stdio[1]) < 0 ||
            ns_output_pipe(&entry->log.streams[1].fd, &stdio[2]) < 0)
                return ns_fail(failure, NS_STEP_PIPES, errno);
        return 0;
}

/* What of the plan's descriptors has to stay for the commands that will be run in this container. */
static void keep_cgroups(struct ns_entry *entry, const struct ns_plan *plan, int *fds)
{
        entry->procs_count = plan->procs_count;
        for (uint32_t i = 0; i < plan->procs_count; i++)
                entry->procs_fds[i] = ns_take_fd(&fds[plan->procs_fd[i]]);
        if (plan->cgroup_fd >= 0)
                entry->cgroup_fd = ns_take_fd(&fds[plan->cgroup_fd]);
}

static bool has_op(const struct ns_plan *plan, uint32_t kind)
{
        bool found = false;
        for (uint32_t i = 0; i < plan->op_count; i++)
                found = found || ns_plan_ops(plan)[i].kind == kind;
        return found;
}

static bool needs_sandbox(const struct ns_plan *plan)
{
        return has_op(plan, NS_OP_SANDBOX_TREE) || plan->join_namespaces != 0;
}

/* Where the plan puts the process. */
static void place(struct ns_launch *what, int procs_fds[NS_MAX_CGROUPS])
{
        for (uint32_t i = 0; i < what->plan->procs_count; i++)
                procs_fds[i] = what->fds[what->plan->procs_fd[i]];
        what->procs_fds = procs_fds;
        what->procs_count = what->plan->procs_count;
        if (what->plan->cgroup_fd >= 0)
                what->cgroup_fd = what->fds[what->plan->cgroup_fd];
}

/* With the plan checked: output, process, watches. */
static int launch(struct ns_shim *shim, struct ns_entry *entry, const struct ns_request *request, int *dir_fd,
                  struct ns_launch *what, struct ns_failure *failure)
{
        bool logged = (request->flags & (NS_LAUNCH_SANDBOX | NS_LAUNCH_NO_LOG)) == 0;
        const struct ns_entry *sandbox = find_sandbox(shim);
        if (sandbox == NULL && needs_sandbox(what->plan))
                return ns_fail(failure, NS_STEP_JOIN, ESRCH);
        what->births = has_op(what->plan, NS_OP_BIRTH);
        what->pause_pidfd = sandbox == NULL ? -1 : sandbox->process.pidfd;
        if (logged && prepare_output(entry, request, dir_fd, what->stdio, failure) < 0)
                return -1;
        entry->message.started_ns = ns_now(CLOCK_REALTIME);
        if (ns_launch_start(what, &entry->process, failure) < 0)
                return -1;
        entry->phase = NS_STARTING;
        entry->message.pid = entry->process.pid;
        entry->message.start_ticks = start_ticks(entry->process.pid);
        /* Watches fail only when the kernel is out of memory; the process exists, so the launch goes on to its end. */
        if (watch_outputs(shim, entry) < 0 ||
            ns_watch(shim, entry->process.control_fd, NS_FROM_CONTROL, (unsigned int)(entry - shim->entries), 0) < 0)
                sys_pidfd_send_signal(entry->process.pidfd, SIGKILL);
        return 0;
}

int ns_launch_begin(struct ns_shim *shim, int client, const struct ns_request *request, int *fds, unsigned int count,
                    struct ns_failure *failure)
{
        bool has_dir = (request->flags & (NS_LAUNCH_SANDBOX | NS_LAUNCH_NO_LOG)) == 0;
        unsigned int first = has_dir ? 2 : 1;
        int no_dir = -1;
        __attribute__((cleanup(ns_plan_unmap))) struct ns_mapping mapping = {0};
        if (shim->stopping)
                return ns_fail(failure, NS_STEP_REQUEST, ESHUTDOWN);
        if (ns_entry_find(shim, request->id) != NULL)
                return ns_fail(failure, NS_STEP_REQUEST, EEXIST);
        if (ns_plan_map(fds[0], count - first, &mapping, failure) < 0)
                return -1;
        struct ns_entry *entry = ns_entry_new(shim, request->id);
        if (entry == NULL)
                return ns_fail(failure, NS_STEP_REQUEST, ENOSPC);

        entry->client = client;
        entry->sandbox = (request->flags & NS_LAUNCH_SANDBOX) != 0;
        entry->stdin_once = (request->flags & NS_LAUNCH_STDIN_ONCE) != 0;
        entry->message.serial = request->serial;
        struct ns_launch what = {
            .plan = mapping.start,
            .fds = fds + first,
            .target_pidfd = -1,
            .cgroup_fd = -1,
            .stdio = {0, 1, 2},
        };
        int procs_fds[NS_MAX_CGROUPS];
        place(&what, procs_fds);
        int result = launch(shim, entry, request, has_dir ? &fds[1] : &no_dir, &what, failure);
        for (int fd = 0; fd < 3; fd++)
                if (what.stdio[fd] > 2)
                        close(what.stdio[fd]);
        if (result < 0)
                ns_entry_free(shim, entry);
        else if (!entry->sandbox)
                keep_cgroups(entry, what.plan, fds + first);
        return result;
}

/* The program runs. */
static void started(struct ns_shim *shim, struct ns_entry *entry)
{
        struct ns_message answer = entry->message;
        answer.kind = NS_MSG_DONE;
        ns_unwatch(shim->epoll_fd, &entry->process.control_fd);
        entry->phase = NS_RUNNING;
        ns_client_send(shim, entry->client, &answer);
        entry->client = -1;
}

/* The plan goes on in another process, born in the pod's process namespace. Only a child of ours can have been born for
 * us, and it is one until we reap it. */
static void take_born(struct ns_entry *entry, pid_t pid)
{
        siginfo_t ours = {0};
        if (pid == entry->process.pid || waitid(P_PID, (id_t)pid, &ours, WEXITED | WNOHANG | WNOWAIT) < 0)
                return;
        int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        if (pidfd < 0)
                return;
        ns_close_fd(&entry->process.pidfd);
        entry->process.pidfd = pidfd;
        entry->process.pid = pid;
        entry->message.pid = pid;
        entry->message.start_ticks = start_ticks(pid);
}

/* Takes the terminal over: what is written to it goes the way of standard output. */
static void take_terminal(struct ns_shim *shim, struct ns_entry *entry, int fds[2])
{
        struct ns_stream *stream = &entry->log.streams[0];
        if (stream->fd < 0 && fds[0] >= 0 && fds[1] >= 0) {
                stream->fd = ns_take_fd(&fds[0]);
                entry->terminal_fd = ns_take_fd(&fds[1]);
                if (watch_outputs(shim, entry) < 0)
                        sys_pidfd_send_signal(entry->process.pidfd, SIGKILL);
        }
        ns_close_fd(&fds[0]);
        ns_close_fd(&fds[1]);
}

void ns_launch_progress(struct ns_shim *shim, struct ns_entry *entry)
{
        struct ns_message *message = &entry->message;
        struct ns_report report;
        int fds[2];
        pid_t sender = 0;
        ssize_t size = 0;
        if (entry->phase != NS_STARTING || entry->process.control_fd < 0)
                return;
        while ((size = ns_launch_hear(entry->process.control_fd, &report, fds, &sender)) == sizeof(report)) {
                take_terminal(shim, entry, fds);
                if (report.kind == NS_REPORT_TOLERATED && message->tolerated_count < NS_MAX_TOLERATED)
                        message->tolerated[message->tolerated_count++] = report.failure;
                if (report.kind == NS_REPORT_FAILED)
                        message->failure = report.failure;
                if (report.kind == NS_REPORT_BORN)
                        take_born(entry, report.failure.error > 0 ? report.failure.error : sender);
                if (report.kind == NS_REPORT_EXEC)
                        entry->ready = true;
        }
        if (size < 0 && errno == EAGAIN)
                return;
        if (entry->ready && message->failure.step == 0)
                started(shim, entry);
        else /* it failed, or was killed: the reaping of it will tell */
                ns_unwatch(shim->epoll_fd, &entry->process.control_fd);
}

/* Who was born may have executed and ended before its joiner let go of the line: whatever it said has been read by now.
 */
void ns_launch_ended(struct ns_shim *shim, struct ns_entry *entry)
{
        ns_launch_progress(shim, entry);
        if (entry->phase == NS_STARTING && entry->ready && entry->message.failure.step == 0)
                started(shim, entry);
}
