/* unpack_fail.h: what went wrong with an archive. Functions that can fail return -1 and have filled one. */
#pragma once

#include "unpack.h"

#include <errno.h>
#include <stddef.h>

struct ns_unpack_failure {
        enum ns_unpack_cause cause;
        int error;
        uint64_t number;
        const char *text;
        size_t text_length;
};

static inline int ns_fail(struct ns_unpack_failure *failure, enum ns_unpack_cause cause)
{
        *failure = (struct ns_unpack_failure){.cause = cause};
        return -1;
}

static inline int ns_fail_number(struct ns_unpack_failure *failure, enum ns_unpack_cause cause, uint64_t number)
{
        *failure = (struct ns_unpack_failure){.cause = cause, .number = number};
        return -1;
}

static inline int ns_fail_text(struct ns_unpack_failure *failure, enum ns_unpack_cause cause, const char *text,
                               size_t length)
{
        *failure = (struct ns_unpack_failure){.cause = cause, .text = text, .text_length = length};
        return -1;
}

static inline int ns_fail_errno(struct ns_unpack_failure *failure)
{
        *failure = (struct ns_unpack_failure){.cause = NS_UNPACK_ERRNO, .error = errno};
        return -1;
}
