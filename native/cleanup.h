/* cleanup.h: what a scope owns is given back when the scope ends, whatever way it ends.
 *
 * errno survives every clean-up, a descriptor is never closed twice and close is never retried (after EINTR the
 * descriptor is gone on Linux). ns_take_fd hands a descriptor to somebody else.
 */
#pragma once

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

static inline void ns_close_fd(int *fd)
{
        if (*fd < 0)
                return;
        int saved = errno;
        close(*fd);
        errno = saved;
        *fd = -1;
}

static inline int ns_take_fd(int *fd)
{
        int taken = *fd;
        *fd = -1;
        return taken;
}

#define CLEANUP_FD __attribute__((cleanup(ns_close_fd)))
