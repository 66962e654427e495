/* capabilities.c: see capabilities.h. */
#include "capabilities.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

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

int ns_drop_capabilities(uint64_t kept)
{
        struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct data[2] = {{0}};
        if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 || drop_bounding(kept) < 0 ||
            syscall(SYS_capget, &head, data) < 0)
                return -1;
        for (int i = 0; i < 2; i++) {
                data[i].permitted &= (uint32_t)(kept >> 32 * i);
                data[i].effective = data[i].permitted;
                data[i].inheritable = 0;
        }
        return (int)syscall(SYS_capset, &head, data);
}
