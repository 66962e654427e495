/* rootfs.h: paths inside a rootfs, resolved as its container would resolve them, by the kernel, never leaving it. */
#pragma once

#include <stdint.h>
#include <sys/types.h>

/* How what is missing gets made. */
struct ns_make {
        mode_t mode;
        uid_t uid;
        gid_t gid;
};

/* Opens `path` below root_fd: links and ".." end at the root, links of /proc are refused (ELOOP). */
int ns_open_in_root(int root_fd, const char *path, uint64_t flags);

/* The directory `path` (an O_PATH descriptor), made with its parents where missing. */
int ns_make_directory(int root_fd, const char *path, const struct ns_make *make);

/* The directory that holds `path`, made where missing; *name is the last component, inside `path`. */
int ns_make_parent(int root_fd, const char *path, const char **name);

/* Whatever is at `path`, or a new empty file there (an O_PATH descriptor). */
int ns_make_file(int root_fd, const char *path);

/* The directory `path`, made where missing, with no symbolic link anywhere on the way (ELOOP). */
int ns_make_plain_directory(int root_fd, const char *path);
