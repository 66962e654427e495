/* unpack_confine.c: see unpack_confine.h. */
#include "unpack_confine.h"
#include "cleanup.h"
#include "kernel.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

/* <sys/mount.h> does not go with <linux/mount.h>. */
enum { PRIVATE = 1 << 18, RECURSIVE = 1 << 14 };

static int fail_step(struct ns_unpack_failure *failure, enum ns_unpack_step step)
{
        *failure = (struct ns_unpack_failure){.cause = NS_UNPACK_CONFINE, .error = errno, .number = step};
        return -1;
}

int ns_confine_root(int tree, struct ns_unpack_failure *failure)
{
        if (sys_mount(NULL, "/", NULL, RECURSIVE | PRIVATE, NULL) < 0)
                return fail_step(failure, NS_UNPACK_STEP_PRIVATE);
        if (sys_move_mount(tree, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
                return fail_step(failure, NS_UNPACK_STEP_MOUNT);
        /* With both arguments ".", the old root ends up mounted over the new one, at the very place we stand:
         * pivot_root(2), NOTES. */
        if (fchdir(tree) < 0 || sys_pivot_root(".", ".") < 0 || sys_umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
                return fail_step(failure, NS_UNPACK_STEP_PIVOT);
        int root = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        return root < 0 ? fail_step(failure, NS_UNPACK_STEP_PIVOT) : root;
}

/* ---- limits and capabilities ---------------------------------------------------------------------------------------
 */

static int lower(int resource, rlim_t wanted)
{
        struct rlimit limit;
        if (getrlimit(resource, &limit) < 0)
                return -1;
        if (limit.rlim_max < wanted)
                wanted = limit.rlim_max;
        limit = (struct rlimit){.rlim_cur = wanted, .rlim_max = wanted};
        return setrlimit(resource, &limit);
}

/* The sanitizers keep their books in terabytes of address space. */
static int lower_all(void)
{
        const rlim_t none = 0;
#ifndef __SANITIZE_ADDRESS__
        if (lower(RLIMIT_AS, 16 << 20) < 0 || lower(RLIMIT_STACK, 256 << 10) < 0)
                return -1;
#endif
        if (lower(RLIMIT_CORE, none) < 0 || lower(RLIMIT_NPROC, none) < 0 || lower(RLIMIT_MEMLOCK, none) < 0)
                return -1;
        return lower(RLIMIT_NOFILE, 320);
}

/* CHOWN, FOWNER, FSETID: owners and modes as archived. DAC_OVERRIDE: into directories whose mode keeps all out. MKNOD,
 * SETFCAP: devices, capabilities of files. */
static uint64_t needed(bool trusted)
{
        uint64_t all = UINT64_C(1) << CAP_CHOWN | UINT64_C(1) << CAP_DAC_OVERRIDE | UINT64_C(1) << CAP_FOWNER |
                       UINT64_C(1) << CAP_FSETID | UINT64_C(1) << CAP_MKNOD | UINT64_C(1) << CAP_SETFCAP;
        return trusted ? all | UINT64_C(1) << CAP_SYS_ADMIN : all;
}

/* The bounding set matters to no process that cannot execute; who lacks CAP_SETPCAP keeps it. */
static int drop_bounding(uint64_t kept)
{
        for (unsigned long cap = 0; cap < 64; cap++) {
                int held = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);
                if (held < 0)
                        return 0;
                if (held > 0 && (kept >> cap & 1) == 0 && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0 && errno != EPERM)
                        return -1;
        }
        return 0;
}

static int drop_capabilities(uint64_t kept)
{
        struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct data[2] = {{0}};
        if (drop_bounding(kept) < 0 || syscall(SYS_capget, &head, data) < 0)
                return -1;
        for (int i = 0; i < 2; i++) {
                data[i].permitted &= (uint32_t)(kept >> 32 * i);
                data[i].effective = data[i].permitted;
                data[i].inheritable = 0;
        }
        return (int)syscall(SYS_capset, &head, data);
}

int ns_confine_process(bool trusted, struct ns_unpack_failure *failure)
{
        umask(0);
        if (lower_all() < 0)
                return fail_step(failure, NS_UNPACK_STEP_LIMITS);
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 || drop_capabilities(needed(trusted)) < 0 ||
            prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return fail_step(failure, NS_UNPACK_STEP_CAPABILITIES);
        return ns_filter_calls() < 0 ? fail_step(failure, NS_UNPACK_STEP_FILTER) : 0;
}
