/* unpack_layer.h: makes a layer's files in the form that overlayfs stacks: whiteouts are devices 0:0, opaque
 * directories have an attribute.
 *
 * What a layer may not bring, and why:
 *
 * - Privilege. Of device nodes, the harmless ones that every /dev has are made as they are; any other becomes a
 *   whiteout, so that nothing is there: a disk's node in an image must not be a way to the disk. Of extended
 *   attributes, user.* and security.capability are kept; trusted.*, security labels and ACLs are the host's to give.
 * - Words to overlayfs. user.overlay.* is dropped with trusted.*: a redirect would merge other directories in.
 */
#pragma once

#include "unpack_dirs.h"
#include "unpack_tar.h"
#include "unpack_writer.h"

/* Where an entry goes: two strings in one buffer, "usr/bin\0env". */
struct ns_place {
        char *directory; /* [NS_UNPACK_PATH_MAX + 1] */
        size_t directory_length;
        char *name;
        size_t parts; /* 0: the layer's own directory */
};

struct ns_layer {
        struct ns_dirs dirs;
        struct ns_tar *tar;
        struct ns_writer *writer;
        const struct ns_unpack_settings *limits;
        struct ns_unpack_failure *failure;
        struct ns_place place;
        struct ns_place target;
        uint64_t size; /* of all files so far, in bytes */
};

/* Makes what the entry says; a later entry of the same name replaces an earlier one, directories merge. */
int ns_layer_add(struct ns_layer *layer, struct ns_entry *entry);

/* ---- unpack_place.c */

int ns_place_read(struct ns_place *place, const char *path, const struct ns_unpack_settings *limits,
                  struct ns_unpack_failure *failure);

/* What a name does: image-spec layer.md, "Whiteouts". Other names that begin with ".wh..wh." are book-keeping of AUFS;
 * Docker's layers have them now and then. */
enum ns_name_kind {
        NS_NAME_PLAIN,
        NS_NAME_HIDE,   /* the name behind the prefix, of the layers below */
        NS_NAME_OPAQUE, /* all that the layers below have in its directory */
        NS_NAME_IGNORE,
        NS_NAME_BAD, /* a whiteout of nothing, of "." or of ".." */
};

enum ns_name_kind ns_name_kind(const char *name);

enum { NS_WHITEOUT_PREFIX = 4 }; /* strlen(".wh.") */

/* ---- unpack_owner.c */

/* Whether its owner is there, or is root from now on. */
int ns_owner_fit(struct ns_entry *entry, const struct ns_unpack_settings *limits, struct ns_unpack_failure *failure);

/* Writes down who owns an entry whose owner is not there, as containers/storage does it. */
int ns_owner_record(int fd, const struct ns_entry *entry, struct ns_unpack_failure *failure);

/* ---- unpack_dress.c */

/* Owner, mode and attributes. `is_plain`: it was made for this entry in a plain directory. */
int ns_dress(int fd, const struct ns_entry *entry, bool is_plain, struct ns_unpack_failure *failure);

/* Comes last: whatever else is done to a file changes it. */
int ns_set_time(int fd, const struct ns_entry *entry, struct ns_unpack_failure *failure);

/* All of it for what cannot be opened: links and nodes. */
int ns_dress_by_name(int parent, const char *name, const struct ns_entry *entry, bool is_plain,
                     struct ns_unpack_failure *failure);

/* Whether making it gives it its mode for good: an owner that is set later takes only special bits away, and only a
 * directory inherits one of the directory that it is in. `is_plain`: as for ns_dress. */
bool ns_born_with_mode(const struct ns_entry *entry, bool is_plain);

/* ---- unpack_remove.c */

/* 0, or -1 and errno. */
int ns_remove_tree(int parent, const char *name);
