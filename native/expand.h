/* expand.h: "lowerdir=%1:%0" → "lowerdir=/proc/self/fd/8:/proc/self/fd/5": mount options that name descriptors. */
#pragma once

#include <stddef.h>

enum { NS_MOUNT_DATA_MAX = 4096 }; /* mount(2) takes one page */

/* Writes `options` into `out` with each "%<n>" replaced by the path of fds[n]. -1 with errno EBADF for a descriptor
 * that is not there, ENAMETOOLONG when it does not fit. */
int ns_expand(const char *options, const int *fds, unsigned int fd_count, char out[NS_MOUNT_DATA_MAX]);

/* "/proc/self/fd/<fd>"; at most 32 bytes with the NUL. Returns its length. */
size_t ns_fd_path(int fd, char out[32]);
