/* request.h: is a request well formed? Shared by the shim and the fuzzer. */
#pragma once

#include "nsrun_abi.h"

#include <stddef.h>

/* 0, or -1 with *failure filled: NS_STEP_REQUEST. Approved: the size, a known kind with known flags, NUL-terminated id
 * and log name that cannot lead out of their directories, and as many descriptors as the kind takes. */
int ns_request_check(const void *data, size_t size, unsigned int fd_count, struct ns_failure *failure);
