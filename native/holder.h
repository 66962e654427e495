/* holder.h: what nsrun-holder says to who starts it, in this order; a stage that fails says its own step, its errno,
 * and is the last.
 */
#pragma once

#include <stdint.h>

enum ns_holder_step {
        NS_HOLDER_UNSHARED = 1, /* the namespaces are there: write the maps of `pid`, then send one byte */
        NS_HOLDER_HOLDS = 2,    /* `pid` holds them from now on */

        NS_HOLDER_ALONE = 10,    /* a session of its own, no descriptors, no capabilities */
        NS_HOLDER_USER = 11,     /* unshare(CLONE_NEWUSER) */
        NS_HOLDER_OTHERS = 12,   /* unshare(CLONE_NEWNS | CLONE_NEWNET) */
        NS_HOLDER_ROOT = 13,     /* setresuid(0): the maps */
        NS_HOLDER_MOUNTS = 14,   /* mount(MS_SLAVE), mount(MS_SHARED) */
        NS_HOLDER_NETWORK = 15,  /* its namespace is pinned, or joined */
        NS_HOLDER_LOOPBACK = 16, /* SIOCSIFFLAGS */
        NS_HOLDER_EXEC = 17,     /* execve of itself */
};

struct ns_holder_word {
        uint32_t step;
        int32_t error;
        int32_t pid;
};
