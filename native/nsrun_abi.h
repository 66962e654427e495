/* nsrun_abi.h: the words that Python, the shim and the child share.
 *
 * This one file is included by every C file and is the cffi cdef (build_ffi.py drops the preprocessor lines it cannot
 * read). So: plain enums, structs of fixed-width integers without padding, prototypes. The reader of a plan or a
 * message trusts nothing in it: every offset, length, index and count is checked before it is used.
 */
#pragma once
#include <stdint.h>

/* ---- failure: what a step that went wrong tells, rendered to a sentence by Python ------------------------------- */

struct ns_failure {
        uint32_t step;  /* enum ns_op_kind, or enum ns_step for what is no operation of a plan */
        int32_t error;  /* errno */
        uint32_t index; /* which operation of the plan; NS_NO_INDEX when none */
};

/* ---- launch plan ------------------------------------------------------------------------------------------------- */

enum ns_limits {
        NS_PLAN_MAGIC = 0x4e535031, /* "NSP1" */
        NS_PLAN_VERSION = 1,
        NS_PLAN_MAX_SIZE = 4194304,
        NS_PLAN_MAX_OPS = 2048,
        NS_PLAN_MAX_FDS = 240, /* SCM_MAX_FD is 253 */
        NS_PLAN_SLOTS = 512,   /* fds that operations open themselves */
        NS_ID_MAX = 128,       /* "<container>.<attempt>", with its NUL */
        NS_NAME_MAX = 256,
        NS_NO_INDEX = 0xffffffff,
        NS_MAX_TOLERATED = 16, /* tolerated failures that one launch reports */
        NS_MAX_CGROUPS = 16,
        NS_PLAN_MAX_STRINGS = 8192, /* items of one list */
};

/* A piece of the plan's data area: `offset` from the start of the plan, `length` without the NUL that must follow it.
 * A list is its items, each ended by a NUL, one after the other ("a\0b\0", length 4). */
struct ns_text {
        uint32_t offset;
        uint32_t length;
};

/* One operation. `fd` and `fd2` are -1, or an index: below fd_count one of the fds that travel with the plan, else
 * fd_count + slot, a slot that an earlier operation filled. `flags`: enum ns_op_flags. What a, b, c and text mean is
 * said at each kind. 72 bytes. */
struct ns_op {
        uint32_t kind;
        uint32_t flags;
        int32_t fd;
        int32_t fd2;
        uint64_t a;
        uint64_t b;
        uint64_t c;
        struct ns_text text[3];
        uint32_t reserved[2]; /* 0 */
};

/* The plan: this head, op_count operations, then data up to `size`. It travels in a sealed memfd. 128 bytes. */
struct ns_plan {
        uint32_t magic;
        uint32_t version;
        uint32_t size;
        uint32_t op_count;
        uint32_t fd_count;
        uint32_t reserved;
        uint64_t new_namespaces;  /* CLONE_NEW*: made by the clone3 of the child */
        uint64_t join_namespaces; /* CLONE_NEW*: joined from the sandbox's pause process, by its pidfd, before the first
                                     op */
        int32_t cgroup_fd;        /* index of the cgroup directory that holds the process together, or -1: v2's, for
                                     CLONE_INTO_CGROUP, else the freezer's. Commands run in it get cgroups below it. */
        uint32_t procs_count;     /* how many of procs_fd are used */
        uint32_t spare[4];        /* 0 */
        int32_t procs_fd[16]; /* indices of open cgroup.procs files: the parent writes the child's pid into each while
                                 the child works, and into that of cgroup_fd where it was not born there; NS_OP_GATE
                                 waits until that is done. For cgroup v1: those on v2 are skipped when the child was
                                 born in its cgroup. [NS_MAX_CGROUPS] */
};

enum ns_op_flags {
        NS_TOLERATE = 1, /* failure is reported as a warning and the next operation runs */
};

/* Every path named "in the root" is resolved by openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS) below the rootfs that
 * NS_OP_ROOT chose, one component at a time where something has to be made. "Host path" is a path that nsrun itself
 * chose or that the manifest named. */
enum ns_op_kind {
        NS_OP_NONE = 0,

        /* ---- inside the new mount namespace, before the root is changed */

        /* Makes every mount of this namespace a slave: nothing propagates to the host. */
        NS_OP_PRIVATE = 1,
        /* Opens host path text[0] O_PATH (a: more open flags) into slot c. With fd, a user namespace: as an idmapped
         * mount of it over itself, in which the owners on disk are those of the namespace (mount_setattr(2)). */
        NS_OP_OPEN = 2,
        /* mount(2) of an overlay with flags a (MS_NODEV, MS_NOSUID ...) and options text[1] on host directory text[0];
         * "%<n>" in the options stands for /proc/self/fd/<the descriptor of slot n>. */
        NS_OP_OVERLAY = 3,
        /* The directory mounted at host path text[0], or fd if that is >= 0, is the rootfs from now on. */
        NS_OP_ROOT = 4,
        /* fsopen text[0], options text[1] (list of "key" or "key=value"), fsmount with attributes a (MOUNT_ATTR_*),
         * move_mount to text[2] in the root. A missing directory is made. With b = 1 no symbolic link may be on the way
         * there: for /proc, /sys and /dev the real directory must be mounted on. */
        NS_OP_FS = 5,
        /* fd is a detached mount (an open_tree clone, its attributes set already); move_mount to text[0] in the root. A
         * missing target is made: a directory, or with a = 1 an empty file. b: as for NS_OP_FS. */
        NS_OP_BIND = 6,
        /* Directory text[0] in the root, with parents: mode a, owner b:c for what is made. */
        NS_OP_MKDIR = 7,
        /* Node text[0] in the root: mode a (with its type), device b (makedev), owner c: uid, and gid << 32. */
        NS_OP_MKNOD = 8,
        /* text[1] in the root becomes a symbolic link to text[0]. */
        NS_OP_SYMLINK = 9,
        /* text[0] in the root: a file is covered by the host's /dev/null (verified: c 1:3), a directory by the empty
         * directory at host path text[1], read-only. What is missing needs no cover. */
        NS_OP_MASK = 10,
        /* text[0] in the root is bound over itself, recursively read-only. What is missing needs nothing. */
        NS_OP_READONLY = 11,
        /* The rootfs mount itself, not what is mounted below it, becomes read-only. */
        NS_OP_ROOT_READONLY = 12,
        /* pivot_root(".", "."), the old root detached, chdir "/". */
        NS_OP_PIVOT = 13,
        /* Mounts a tiny tmpfs on host directory text[0], makes the directories of list text[1] in it ("dev/shm", with
         * parents), makes it read-only and the rootfs: for pause. */
        NS_OP_EMPTY_ROOT = 14,
        /* A detached, recursive clone of text[0], a path in the mount namespace of the sandbox's pause process, into
         * slot c: the child joins that namespace, opens, and comes back. How the containers of a pod share one /dev/shm
         * without a mount on the host. Without a sandbox: NS_STEP_JOIN. */
        NS_OP_SANDBOX_TREE = 15,
        /* What is made in the root from now on belongs to uid a, gid b of the host (setfsuid(2)); capabilities stay. */
        NS_OP_MAKER = 16,
        /* Nothing stays open but 0 to 2: before NS_OP_BIRTH, of what could be taken from who is born. */
        NS_OP_SHUT = 17,

        /* ---- identity and limits */

        /* Waits until the parent has put this process where it belongs (procs_fd). A plan without it waits before the
           exec. */
        NS_OP_GATE = 20,
        /* unshare(a): for the cgroup namespace, after the gate. */
        NS_OP_UNSHARE = 21,
        /* sethostname(text[0]). */
        NS_OP_HOSTNAME = 22,
        /* Writes text[1] to /proc/sys/<text[0]>; before the pivot. Only what belongs to a network or ipc namespace that
           the child made or joined. */
        NS_OP_SYSCTL = 23,
        /* Resource a, soft limit b, hard limit c; what the host withholds (EPERM) is clamped and told as tolerated. */
        NS_OP_RLIMIT = 24,
        /* oom_score_adj = (int64)a; before the pivot. */
        NS_OP_OOM_SCORE = 25,
        /* setsid(2); with a = 1 descriptor 0 is the session's terminal. */
        NS_OP_SETSID = 26,
        /* A new session keyring, named text[0] if that is given. */
        NS_OP_KEYRING = 27,
        /* The umask a of the program; 022 without this. */
        NS_OP_UMASK = 28,
        /* setgroups: text[0] holds uint32_t gids in host byte order. */
        NS_OP_GROUPS = 29,
        /* setresgid(b), setresuid(a), keeping capabilities across. */
        NS_OP_IDS = 30,
        /* Bit n is capability n. Bounding a; effective and permitted b; ambient, and inheritable with it, c: else
         * inheritable is empty. Capabilities that this process does not have: EPERM, or with NS_TOLERATE they are left
         * out and it is told. */
        NS_OP_CAPS = 31,
        NS_OP_NO_NEW_PRIVS = 32,
        /* Out of reach, unless they come after this one: with LANDLOCK_SCOPE_* of a, abstract sockets and processes to
         * signal; always, processes to trace. Linux 6.12, CAP_SYS_ADMIN. */
        NS_OP_SCOPE = 46,
        /* text[0] holds an array of struct sock_filter; a: SECCOMP_FILTER_FLAG_LOG, _SPEC_ALLOW. */
        NS_OP_SECCOMP = 33,
        /* prctl(PR_SET_PDEATHSIG, a); SIGKILL without this, also after NS_OP_IDS, which makes the kernel forget it. */
        NS_OP_PDEATHSIG = 34,
        /* chdir text[0] in the root, made (0755, root) when missing unless a = 1; refused unless getcwd is inside. */
        NS_OP_CWD = 35,
        /* prctl(PR_SET_DUMPABLE, a); 0 without this, until the exec. */
        NS_OP_DUMPABLE = 36,
        /* setns(fd, a): pause joins the pod's pinned network namespace. A process namespace is entered by NS_OP_BIRTH
         * only. */
        NS_OP_JOIN = 37,
        /* The namespaces a of the process whose container the request names (NS_REQ_EXEC), all at once, the user
         * namespace last; its root is the root from now on, and nothing of the host's stays open but 0 to 2. Its
         * process namespace is entered by NS_OP_BIRTH only. */
        NS_OP_ENTER = 38,
        /* From here on this is another process: born into the process namespace that NS_OP_ENTER or NS_OP_JOIN joined,
         * a child of the shim. Until then nobody in the container can see, let alone trace, who joins. */
        NS_OP_BIRTH = 39,
        /* A terminal of the container's own /dev/pts, of user a: it becomes 0, 1 and 2, the controlling terminal (after
         * NS_OP_SETSID) and, with c = 1, /dev/console. Its size is b: rows << 16 | columns, 0: the kernel's. The shim
         * gets both sides. NS_LAUNCH_TERMINAL, NS_EXEC_TERMINAL. */
        NS_OP_TERMINAL = 18,

        /* Goes into the user namespace fd, or without fd into that of the sandbox's pause process, becomes its root,
         * and makes the namespaces a, which it then owns; CLONE_NEWNS is one of them. What is mounted up to now is
         * locked in there. Comes last before the pivot; what needs power over the host comes before. */
        NS_OP_USER = 42,
        /* Writes text[1] to /proc/thread-self/attr/<text[0]>, "exec" or "apparmor/exec": what the security module is to
         * make of the process when it executes. Before the pivot. */
        NS_OP_LABEL = 43,
        /* The host's node text[1] (verified: mode a tells its type, device b) is bound at text[0] in the root, nosuid
         * and noexec: for who may not make devices. */
        NS_OP_DEVICE = 44,
        /* fd is a detached mount; move_mount to host directory text[0]. */
        NS_OP_ATTACH = 45,

        /* ---- the end */

        /* Candidates text[0] (list of paths, tried in order while ENOENT, ENOTDIR or EACCES; the first other error, or
         * EACCES over ENOENT, is the one told), argv text[1], envp text[2] (lists). */
        NS_OP_EXEC = 40,
        /* execveat(fd, "", argv text[1], envp text[2], AT_EMPTY_PATH): pause. */
        NS_OP_EXEC_FD = 41,
        NS_OP_LAST = 47,
};

/* Steps that are no operation of a plan. */
enum ns_step {
        NS_STEP_PLAN = 100,    /* the plan is malformed: error EINVAL, index names the operation */
        NS_STEP_REQUEST = 101, /* the request is malformed, or names something unknown (ENOENT) or twice (EEXIST) */
        NS_STEP_PIPES = 102,
        NS_STEP_LOG = 103, /* the log file cannot be opened */
        NS_STEP_CLONE = 104,
        NS_STEP_JOIN = 105,   /* setns into the sandbox's namespaces */
        NS_STEP_PLACE = 106,  /* cgroup.procs; index: which */
        NS_STEP_CHILD = 107,  /* the child's own preparation; ECHILD: it was killed before its exec */
        NS_STEP_RECORD = 108, /* the exit record cannot be written */
        NS_STEP_SIGNAL = 109,
        NS_STEP_ATTACH = 110, /* ENOBUFS: the client was cut off, because it did not read what its container wrote */
};

/* ---- the shim's socket: SOCK_SEQPACKET, one struct a message, fds by SCM_RIGHTS ---------------------------- */

enum ns_request_kind {
        NS_REQ_LAUNCH = 1, /* fds: plan memfd, log directory (or absent with NS_LAUNCH_NO_LOG), then the plan's fds */
        /* `value` to the process of `id`; with `of_serial`, to that of the command that this client asked for by it */
        NS_REQ_SIGNAL = 2,
        NS_REQ_FORGET = 3,    /* an ended `id`: the entry and its exit record are removed */
        NS_REQ_LIST = 4,      /* one NS_MSG_ENTRY for each entry, then NS_MSG_DONE */
        NS_REQ_SUBSCRIBE = 5, /* from now on NS_MSG_EXIT for every end, after one for each end already there */
        NS_REQ_REOPEN = 6,    /* open the log of `id` again (after it was renamed) */
        NS_REQ_SHUTDOWN = 7,  /* SIGKILL everything, reap, write the records, answer, exit */
        /* A command in the container of `id`. fds: its plan, which takes no descriptors; with NS_EXEC_STDIO then the
         * three that become its 0, 1 and 2. Answered at its end: NS_MSG_RESULT, or NS_MSG_FAILED when it could not be
         * started; with NS_EXEC_STDIO and NS_EXEC_TERMINAL by NS_MSG_STARTED before that. It is killed, with all it
         * started, after `timeout_ns` and when its client goes. */
        NS_REQ_EXEC = 8,
        /* kills the command that this client asked for by `of_serial`, with all it started; or ends the attachment */
        NS_REQ_CANCEL = 9,
        /* The streams of the container of `id`: `flags` tells which, enum ns_streams. Answered by NS_MSG_STARTED, with
         * what there is of them; then at the container's end by NS_MSG_RESULT, or by NS_MSG_FAILED when it is cut off.
         */
        NS_REQ_ATTACH = 10,
};

enum ns_launch_flags {
        NS_LAUNCH_SANDBOX = 1, /* this is the pod's pause process; stdio is /dev/null */
        NS_LAUNCH_NO_LOG = 2,
        NS_LAUNCH_STDIN = 4,       /* standard input is a pipe that the shim holds open, else /dev/null */
        NS_LAUNCH_TERMINAL = 8,    /* its plan has NS_OP_TERMINAL; what is written to it is logged as standard output */
        NS_LAUNCH_STDIN_ONCE = 16, /* with NS_LAUNCH_STDIN: the first who attaches to it gets its only end */
};

enum ns_exec_flags {
        NS_EXEC_STDIO = 1,    /* without it: /dev/null, and what it writes comes with the answer */
        NS_EXEC_DETACHED = 2, /* it lives on when its client goes, and then nobody is told how it ends */
        NS_EXEC_TERMINAL = 4, /* its plan has NS_OP_TERMINAL; the client gets the master */
};

/* Whose descriptors come with NS_MSG_STARTED (its `flags`), in this order, and which are asked for by NS_REQ_ATTACH. */
enum ns_streams {
        NS_STREAM_TERMINAL = 1, /* the master of the command's or the container's terminal */
        NS_STREAM_IN = 2,       /* the end of its input; of a terminal the master is that */
        NS_STREAM_OUT = 4,      /* a pipe with what it writes from now on */
        NS_STREAM_ERR = 8,
};

enum ns_shim_limits {
        NS_OUTPUT_MAX = 65536,
        NS_MAX_CLIENTS = 384, /* each command and each attachment may come with one of its own */
        NS_MAX_EXECS = 256,
        NS_MAX_ATTACHED = 64,
        NS_ATTACH_BUFFER =
            1048576, /* bytes that an attached client may lag behind, where the kernel grants a pipe so many */
};

/* Python → shim. 512 bytes. */
struct ns_request {
        uint32_t kind;
        uint32_t flags;
        uint64_t serial; /* comes back in the answer */
        int32_t value;
        uint32_t reserved;
        char id[128];          /* [NS_ID_MAX] letters, digits, '-' and '.', NUL-terminated */
        char log[256];         /* [NS_NAME_MAX] file name in the log directory, without '/' */
        uint64_t timeout_ns;   /* EXEC; 0: none */
        uint64_t of_serial;    /* CANCEL */
        uint32_t output_limit; /* EXEC: bytes of output that are kept, up to NS_OUTPUT_MAX; the rest is dropped */
        uint32_t log_files;    /* LAUNCH: with `log_bytes`, how many log files may be there, 2 or more */
        uint64_t log_bytes;    /* LAUNCH: a log file that has so many is rotated: "<log>.20060102-150405"; 0: never */
        uint32_t spare[18];
};

enum ns_message_kind {
        NS_MSG_DONE = 1,    /* the request was carried out; for LAUNCH: pid and start are set */
        NS_MSG_FAILED = 2,  /* it was not: `failure` */
        NS_MSG_ENTRY = 3,   /* LIST */
        NS_MSG_EXIT = 4,    /* an end; serial 0. `failure`: the record could not be written, or the start failed with
                               nobody waiting */
        NS_MSG_RESULT = 5,  /* EXEC: the command's end; its output follows the struct, in the same datagram */
        NS_MSG_STARTED = 6, /* EXEC: it has executed; ATTACH. fds: enum ns_streams */
};

enum ns_result_flags {
        NS_RESULT_TIMED_OUT = 1,
        NS_RESULT_CUT = 2, /* there was more output */
};

enum ns_entry_state {
        NS_STATE_RUNNING = 1,
        NS_STATE_EXITED = 2,
};

/* Shim → Python. Times are CLOCK_REALTIME nanoseconds. */
struct ns_message {
        uint32_t kind;
        uint32_t state; /* enum ns_entry_state */
        uint64_t serial;
        struct ns_failure failure;
        int32_t pid;
        uint64_t start_ticks; /* field 22 of /proc/<pid>/stat */
        int64_t started_ns;
        int64_t exited_ns;
        int32_t wait_status; /* as waitpid gives it */
        uint32_t dropped;    /* log records that could not be written */
        uint32_t tolerated_count;
        uint32_t flags;                  /* enum ns_result_flags; STARTED: enum ns_streams */
        struct ns_failure tolerated[16]; /* [NS_MAX_TOLERATED] */
        char id[128];                    /* [NS_ID_MAX] */
};

/* The exit record: file exits/<id> in the pod's run directory, text, written by tmp + fsync + rename before NS_MSG_EXIT
 * is sent: "pid <n>\nstarted_ns <n>\nexited_ns <n>\nwait_status <n>\ndropped <n>\n" */

/* ---- nsrun._native: what Python calls. All return 0 or a number >= 0; on failure -errno ----------------------- */

/* Starts a shim, or another helper that outlives its starter: argv "<name> <title>", cwd and only inherited directory
 * the run directory, no environment, new session, stdio /dev/null, reparented to init (or the nearest subreaper).
 * Returns its pid once its socket listens. */
int ns_spawn(const char *program, const char *name, int run_dir_fd, const char *title);

/* A new network namespace, its loopback up, pinned on the existing file `path`; *netns_fd and *netlink_fd (an
 * AF_NETLINK route socket that lives inside it) belong to the caller. */
int ns_netns_create(const char *path, int *netns_fd, int *netlink_fd);

/* The same, owned by a new user namespace that only it holds: ids from 0 on, `count` of them, are those from `first_id`
 * on of this one. */
int ns_netns_create_owned(const char *path, uint32_t first_id, uint32_t count, int *netns_fd, int *netlink_fd);

/* socket(2) made inside the network namespace of netns_fd. */
int ns_socket_in(int netns_fd, int domain, int type, int protocol);

/* Opens `path` as the rootfs made of an overlay (mount options; "%<n>" as in NS_OP_OVERLAY, for layer_fds[n]) or, with
 * options NULL, of the single directory layer_fds[0] shows it: RESOLVE_IN_ROOT, O_RDONLY | O_NONBLOCK. The mount is
 * gone again when this returns. `stage`: an empty host directory. */
int ns_open_in_rootfs(const char *stage, const char *options, const int *layer_fds, int layer_count, const char *path);

/* What is at `path` in the same overlay (RESOLVE_IN_ROOT) as a detached mount, read-only, nosuid, nodev, noexec: it
 * lives as long as its descriptor, or as what it is attached to. users_fd: the user namespace whose owners it shows,
 * -1 for this one. */
int ns_rootfs_tree(const char *stage, const char *options, const int *layer_fds, int layer_count, const char *path,
                   int users_fd);

/* System calls without a wrapper in Python. */
int ns_openat2(int dir_fd, const char *path, uint64_t flags, uint64_t mode, uint64_t resolve);
int ns_open_tree(int dir_fd, const char *path, unsigned int flags);
int ns_mount_setattr(int dir_fd, const char *path, unsigned int flags, uint64_t set, uint64_t clear,
                     uint64_t propagation);
/* MOUNT_ATTR_IDMAP: a detached mount shows the owners of the user namespace. */
int ns_mount_idmap(int mount_fd, int userns_fd);
/* A detached mount, with attributes MOUNT_ATTR_*, of what a program serves by fuse_fd (/dev/fuse). Whoever is in the
 * caller's user namespace may use it, and the kernel checks permissions. */
int ns_fuse_mount(int fuse_fd, const char *source, unsigned int attributes);
int ns_move_mount(int from_fd, const char *from, int to_fd, const char *to, unsigned int flags);
int ns_mount(const char *source, const char *target, const char *type, uint64_t flags, const char *data);
int ns_umount(const char *target, int flags);
int ns_setns(int fd, int flags);
int ns_syncfs(int fd);

/* mallopt(3): one arena for all threads, and memory given back early. For a process that lives long and waits. */
int ns_malloc_frugally(void);

/* Loads `count` eBPF instructions as a BPF_PROG_TYPE_CGROUP_DEVICE and attaches it to the cgroup v2 directory: it
 * decides about every mknod and open of a device below it, in place of one attached before. 0 or -errno. */
int ns_attach_device_program(int cgroup_fd, const uint64_t *instructions, uint32_t count);
int ns_unshare(int flags);

/* setfsuid(2), setfsgid(2): what this thread makes belongs to these from now on. Its capabilities stay. */
int ns_set_fs_ids(uint32_t uid, uint32_t gid);

/* Is this plan well formed? Fills *failure and returns -EINVAL when it is not. The same function guards the shim. */
int ns_plan_check(const void *plan, uint64_t size, uint32_t fd_count, struct ns_failure *failure);
