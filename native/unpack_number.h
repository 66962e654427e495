/* unpack_number.h: numbers as archives write them. Each returns 0, or -1 and the failure. */
#pragma once

#include "unpack_fail.h"

/* A piece of text that somebody else keeps. `data` NULL: there is none. */
struct ns_slice {
        const char *data;
        size_t length;
};

struct ns_moment {
        int64_t seconds;
        uint32_t nanoseconds;
};

/* A header's field of 8 or 12 bytes: octal, or base-256 when its first bit is set. */
int ns_number(const uint8_t *field, size_t width, uint64_t *out, struct ns_unpack_failure *failure);

/* The same, which may be negative: a time. */
int ns_signed_number(const uint8_t *field, size_t width, int64_t *out, struct ns_unpack_failure *failure);

/* A PAX record's: decimal. */
int ns_decimal(struct ns_slice text, uint64_t *out, struct ns_unpack_failure *failure);

/* "-1.5", exactly; digits beyond nanoseconds are dropped. */
int ns_pax_time(struct ns_slice text, struct ns_moment *out, struct ns_unpack_failure *failure);

/* A number of a sparse file's map: up to 19 digits. */
int ns_map_number(struct ns_slice text, uint64_t *out, struct ns_unpack_failure *failure);

/* Times far beyond what any file system keeps are refused. */
int ns_check_time(int64_t seconds, uint32_t nanoseconds, struct ns_unpack_failure *failure);
