/* unpack_confine.c: see unpack_confine.h. */
#include "unpack_confine.h"
#include "capabilities.h"
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

int ns_confine_process(bool trusted, struct ns_unpack_failure *failure)
{
        umask(0);
        if (lower_all() < 0)
                return fail_step(failure, NS_UNPACK_STEP_LIMITS);
        if (ns_drop_capabilities(needed(trusted)) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ||
            prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return fail_step(failure, NS_UNPACK_STEP_CAPABILITIES);
        return ns_filter_calls() < 0 ? fail_step(failure, NS_UNPACK_STEP_FILTER) : 0;
}

/* Owners, modes and times of files that are open. */
int ns_confine_writer(struct ns_unpack_failure *failure)
{
        uint64_t kept = UINT64_C(1) << CAP_CHOWN | UINT64_C(1) << CAP_FOWNER | UINT64_C(1) << CAP_FSETID;
        if (ns_drop_capabilities(kept) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return fail_step(failure, NS_UNPACK_STEP_CAPABILITIES);
        return ns_filter_writer_calls() < 0 ? fail_step(failure, NS_UNPACK_STEP_FILTER) : 0;
}
