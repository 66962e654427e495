/* unpack_tar.h: reads an archive entry by entry: ustar, GNU and PAX (POSIX.1-2017 pax; GNU tar manual, D). It checks
 * every number, length and record before it is used, and touches no file. */
#pragma once

#include "unpack_input.h"
#include "unpack_pax.h"

enum ns_entry_kind {
        NS_ENTRY_FILE = 1,
        NS_ENTRY_HARD_LINK,
        NS_ENTRY_SYMLINK,
        NS_ENTRY_CHARACTER,
        NS_ENTRY_BLOCK,
        NS_ENTRY_DIRECTORY,
        NS_ENTRY_FIFO,
};

/* Where data of a sparse file goes. They come in order and apart, and all of them are what is stored. */
struct ns_region {
        uint64_t offset;
        uint64_t length;
};

/* Paths are as archived, NUL-terminated: nothing about them is checked but their length and that there is no NUL in
 * them. `size`: of the file as it will appear; `stored`: bytes in the archive. */
struct ns_entry {
        enum ns_entry_kind kind;
        const char *path;
        size_t path_length;
        const char *target;
        size_t target_length;
        uint32_t mode;
        uint64_t uid;
        uint64_t gid;
        uint64_t lost_uid; /* with has_lost_owner: who owns it in the archive */
        uint64_t lost_gid;
        bool has_lost_owner;
        uint64_t size;
        uint64_t stored;
        struct ns_moment mtime;
        uint64_t major;
        uint64_t minor;
        bool is_sparse;
        const struct ns_region *regions;
        size_t region_count;
        const struct ns_pax *xattrs; /* the records that have them, or NULL */
};

/* A name that GNU's headers give ahead of the entry. `length` beyond NS_UNPACK_PATH_MAX: it was longer. */
struct ns_long_name {
        bool is_set;
        size_t length;
        char *text; /* [NS_UNPACK_PATH_MAX + 1] */
};

struct ns_tar {
        struct ns_input *input;
        const struct ns_unpack_settings *limits;
        struct ns_unpack_failure *failure;
        uint64_t headers;
        uint64_t left; /* bytes of the entry's data that were not read; `padding` follows them */
        uint64_t padding;
        char *records;             /* [NS_UNPACK_HEADER_MAX]: the content of the last extended header */
        char *path;                /* [NS_UNPACK_PATH_MAX + 1] */
        char *target;              /* [NS_UNPACK_PATH_MAX + 1] */
        struct ns_region *regions; /* [NS_UNPACK_REGIONS_MAX] */
        struct ns_long_name long_path;
        struct ns_long_name long_target;
        struct ns_pax pax;
        bool has_pax;
};

/* The next entry; the data of the last is skipped if nobody read it. 1; 0: that was the last; -1. */
int ns_tar_next(struct ns_tar *tar, struct ns_entry *entry);

/* Stored bytes of the entry, from where they were left, good until the next call. Returns how many; 0: failed, or, with
 * `left` 0, there are no more. */
size_t ns_tar_data(struct ns_tar *tar, uint64_t most, const uint8_t **bytes);

/* ---- unpack_sparse.c */

/* Reads the map of a file that may be sparse, fills in what the entry says of it, and its size. */
int ns_tar_sparse(struct ns_tar *tar, const uint8_t *header, struct ns_entry *entry);
