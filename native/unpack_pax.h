/* unpack_pax.h: the records of a PAX extended header (POSIX.1-2017 pax, "Interchange Format"). */
#pragma once

#include "unpack_number.h"

#include <stdbool.h>

/* What is known of the records; all of it lies in the header's content, which has to stay. */
struct ns_pax {
        const char *content;
        size_t length;
        struct ns_slice path;
        struct ns_slice linkpath;
        struct ns_slice size;
        struct ns_slice uid;
        struct ns_slice gid;
        struct ns_slice mtime;
        struct ns_slice sparse_name;
        struct ns_slice sparse_major;
        struct ns_slice sparse_minor;
        struct ns_slice sparse_map;
        struct ns_slice sparse_size;
        struct ns_slice sparse_real_size;
        size_t sparse_items; /* GNU.sparse.offset and GNU.sparse.numbytes, in turn: format 0.0 */
        bool has_xattrs;
};

struct ns_pax_record {
        struct ns_slice key;
        struct ns_slice value;
};

/* The record at *at, which is moved behind it. 1; 0: there is none; -1. */
int ns_pax_next(const char *content, size_t length, size_t *at, struct ns_pax_record *record,
                struct ns_unpack_failure *failure);

/* All of them. */
int ns_pax_read(const char *content, size_t length, struct ns_pax *pax, struct ns_unpack_failure *failure);

/* A global header speaks for every entry after it. Git's comment is harmless; what changes what an entry is, is
 * refused. */
int ns_pax_check_global(const char *content, size_t length, struct ns_unpack_failure *failure);

bool ns_slice_is(struct ns_slice slice, const char *text);
bool ns_slice_starts(struct ns_slice slice, const char *text);

/* The record's attribute name if it is one, else .data is NULL. */
struct ns_slice ns_pax_xattr(struct ns_slice key);
