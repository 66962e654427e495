/* unpack_place.c: what an archived path means. */
#include "unpack_layer.h"

#include <string.h>

static const char prefix[] = ".wh.";
static const char opaque[] = ".wh..wh..opq";
static const char aufs_prefix[] = ".wh..wh.";

static bool starts(const char *text, size_t length, const char *start, size_t start_length)
{
        return length >= start_length && memcmp(text, start, start_length) == 0;
}

enum ns_name_kind ns_name_kind(const char *name)
{
        size_t length = strlen(name);
        if (!starts(name, length, prefix, sizeof(prefix) - 1))
                return NS_NAME_PLAIN;
        if (strcmp(name, opaque) == 0)
                return NS_NAME_OPAQUE;
        if (starts(name, length, aufs_prefix, sizeof(aufs_prefix) - 1))
                return NS_NAME_IGNORE;
        const char *hidden = name + sizeof(prefix) - 1;
        bool is_nothing = hidden[0] == '\0' || strcmp(hidden, ".") == 0 || strcmp(hidden, "..") == 0;
        return is_nothing ? NS_NAME_BAD : NS_NAME_HIDE;
}

/* Leading slashes and "." mean nothing in a layer; ".." is refused, also where it would stay inside: no honest archive
 * has it. */
int ns_place_read(struct ns_place *place, const char *path, const struct ns_unpack_settings *limits,
                  struct ns_unpack_failure *failure)
{
        bool has_dot_dot = false;
        bool has_long_name = false;
        bool is_whiteout = false;
        bool is_in_whiteout = false;
        size_t used = 0;
        size_t last = 0;
        place->parts = 0;
        for (const char *at = path; *at != '\0';) {
                size_t length = strcspn(at, "/");
                if (length > 0 && !(length == 1 && at[0] == '.')) {
                        has_dot_dot = has_dot_dot || (length == 2 && at[0] == '.' && at[1] == '.');
                        has_long_name = has_long_name || length > limits->name;
                        is_in_whiteout = is_in_whiteout || is_whiteout;
                        is_whiteout = starts(at, length, prefix, sizeof(prefix) - 1);
                        if (place->parts++ > 0)
                                place->directory[used++] = '/';
                        last = used;
                        memcpy(place->directory + used, at, length);
                        used += length;
                }
                at += length + (at[length] == '/');
        }
        place->directory[used] = '\0';
        if (has_dot_dot)
                return ns_fail(failure, NS_UNPACK_DOT_DOT);
        if (place->parts > limits->depth)
                return ns_fail_number(failure, NS_UNPACK_DEPTH, limits->depth);
        if (has_long_name)
                return ns_fail_number(failure, NS_UNPACK_NAME, limits->name);
        if (is_in_whiteout)
                return ns_fail(failure, NS_UNPACK_WHITEOUT_DIRECTORY);
        place->name = place->directory + last;
        place->directory_length = last > 0 ? last - 1 : 0;
        if (last > 0)
                place->directory[last - 1] = '\0';
        return 0;
}
