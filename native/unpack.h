/* unpack.h: what nsrun-unpack and whoever starts it say to each other. Read by cffi, too.
 *
 * nsrun-unpack has three descriptors: 0 is a pipe with a struct ns_unpack_settings and then the uncompressed archive to
 * its end, 1 a pipe for one struct ns_unpack_report with the bytes it announces, 3 a detached mount of the directory
 * that is to be filled.
 */
#pragma once

#include <stdint.h>

enum ns_unpack_bounds {
        NS_UNPACK_MAGIC = 0x4e535531, /* "NSU1" */
        NS_UNPACK_PATH_MAX = 4095,
        NS_UNPACK_NAME_MAX = 255,
        NS_UNPACK_HEADER_MAX = 1048576,
        NS_UNPACK_REGIONS_MAX = 65536,
        NS_UNPACK_OPAQUE_MAX = 64,
        NS_UNPACK_TEXT_MAX = 4096,
};

/* How much a layer may ask for, as nsrun.images.limits explains it; none beyond the bounds above. */
struct ns_unpack_settings {
        uint32_t magic;
        uint32_t path;
        uint32_t name;
        uint32_t depth;
        uint32_t header;
        uint32_t regions;
        uint64_t entries;
        uint64_t size;
        char opaque[64]; /* [NS_UNPACK_OPAQUE_MAX] the attribute of an opaque directory, NUL-terminated */
        uint64_t uids;   /* ids that there are, from 0 on */
        uint64_t gids;
        uint32_t squash; /* owners that are not there become 0, and are recorded; else they are refused */
        uint32_t reserved;
};

/* Why it ended. Python has the sentences. */
enum ns_unpack_cause {
        NS_UNPACK_DONE = 0,
        NS_UNPACK_ERRNO = 1,    /* `error`, of the entry or, without one, of reading the archive */
        NS_UNPACK_CONFINE = 2,  /* `error`: it could not lock itself in; `number`: enum ns_unpack_step */
        NS_UNPACK_SETTINGS = 3, /* they are malformed */

        /* of the archive */
        NS_UNPACK_CUT = 10,
        NS_UNPACK_ENTRIES = 11, /* `number`: the limit */
        NS_UNPACK_ZEROS = 12,
        NS_UNPACK_CHECKSUM = 13,
        NS_UNPACK_HEADER = 14, /* `number`: the limit */
        NS_UNPACK_MIDDLE = 15,
        NS_UNPACK_KIND = 16, /* `number`: the type flag */
        NS_UNPACK_NUL = 17,
        NS_UNPACK_PATH = 18, /* `number`: the limit */
        NS_UNPACK_NUMBER = 19,
        NS_UNPACK_RANGE = 20,
        NS_UNPACK_TIME = 21,
        NS_UNPACK_TIME_RANGE = 22,
        NS_UNPACK_PAX_RECORD = 23,
        NS_UNPACK_PAX_NUMBER = 24,
        NS_UNPACK_GLOBAL = 25, /* `text`: the key */
        NS_UNPACK_SPARSE_ORDER = 26,
        NS_UNPACK_SPARSE_LONG = 27,
        NS_UNPACK_SPARSE_DAMAGED = 28,
        NS_UNPACK_SPARSE_FIT = 29,
        NS_UNPACK_SPARSE_FORMAT = 30,
        NS_UNPACK_SPARSE_CUT = 31,

        /* of an entry */
        NS_UNPACK_DOT_DOT = 40,
        NS_UNPACK_DEPTH = 41, /* `number`: the limit */
        NS_UNPACK_NAME = 42,  /* `number`: the limit */
        NS_UNPACK_WHITEOUT_DIRECTORY = 43,
        NS_UNPACK_OWNER = 44,
        NS_UNPACK_ROOT = 45,
        NS_UNPACK_WHITEOUT_NAME = 46,
        NS_UNPACK_SIZE = 47, /* `number`: the limit */
        NS_UNPACK_EMPTY_LINK = 48,
        NS_UNPACK_LINK_ROOT = 49,
        NS_UNPACK_LINK_SELF = 50,
        NS_UNPACK_LINK_DIRECTORY = 51,
        NS_UNPACK_LINK_MISSING = 52, /* `text`: the target */
        NS_UNPACK_PARENT_FILE = 53,
        NS_UNPACK_PARENT_LINK = 54,
        NS_UNPACK_UNMAPPED = 55, /* `number`: an id of its owner that is not there */
        NS_UNPACK_CAUSES = 56,
};

/* Where confinement failed. */
enum ns_unpack_step {
        NS_UNPACK_STEP_PRIVATE = 1,
        NS_UNPACK_STEP_MOUNT = 2,
        NS_UNPACK_STEP_PIVOT = 3,
        NS_UNPACK_STEP_LIMITS = 4,
        NS_UNPACK_STEP_CAPABILITIES = 5,
        NS_UNPACK_STEP_FILTER = 6,
        NS_UNPACK_STEP_MEMORY = 7,
};

/* Followed by `path_length` bytes, the entry's path, and `text_length` bytes. Each is at most NS_UNPACK_TEXT_MAX. */
struct ns_unpack_report {
        uint32_t cause;
        int32_t error;
        uint64_t number;
        uint64_t entries; /* that were made */
        uint64_t size;    /* of all files, in bytes */
        uint32_t has_path;
        uint32_t path_length;
        uint32_t text_length;
        uint32_t reserved;
};

/* Starts nsrun-unpack in namespaces of its own (mount, net, ipc, uts, pid, cgroup), with nothing open but what it
 * needs: the ends of its pipes, and the detached mount tree_fd. *pidfd is the caller's. Returns its pid, or -errno. */
int ns_spawn_unpack(const char *program, int input_fd, int report_fd, int tree_fd, int *pidfd);
