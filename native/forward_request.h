/* forward_request.h: whether a request says what its kind has to say. */
#pragma once

#include "forward_abi.h"

#include <stddef.h>

/* 0, or an errno. */
int ns_forward_check(const struct ns_forward_request *request, size_t size, unsigned int fd_count);
