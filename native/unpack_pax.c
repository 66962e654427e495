/* unpack_pax.c: see unpack_pax.h. */
#include "unpack_pax.h"

#include <string.h>

enum { LENGTH_ROOM = 8 };

static const char xattr_prefix[] = "SCHILY.xattr.";
static const char *const sparse_items[] = {"GNU.sparse.offset", "GNU.sparse.numbytes"};

static const struct known {
        const char *key;
        size_t offset;
} known[] = {
    {"path", offsetof(struct ns_pax, path)},
    {"linkpath", offsetof(struct ns_pax, linkpath)},
    {"size", offsetof(struct ns_pax, size)},
    {"uid", offsetof(struct ns_pax, uid)},
    {"gid", offsetof(struct ns_pax, gid)},
    {"mtime", offsetof(struct ns_pax, mtime)},
    {"GNU.sparse.name", offsetof(struct ns_pax, sparse_name)},
    {"GNU.sparse.major", offsetof(struct ns_pax, sparse_major)},
    {"GNU.sparse.minor", offsetof(struct ns_pax, sparse_minor)},
    {"GNU.sparse.map", offsetof(struct ns_pax, sparse_map)},
    {"GNU.sparse.size", offsetof(struct ns_pax, sparse_size)},
    {"GNU.sparse.realsize", offsetof(struct ns_pax, sparse_real_size)},
};

bool ns_slice_is(struct ns_slice slice, const char *text)
{
        size_t length = strlen(text);
        return slice.length == length && memcmp(slice.data, text, length) == 0;
}

bool ns_slice_starts(struct ns_slice slice, const char *text)
{
        size_t length = strlen(text);
        return slice.length >= length && memcmp(slice.data, text, length) == 0;
}

struct ns_slice ns_pax_xattr(struct ns_slice key)
{
        size_t length = sizeof(xattr_prefix) - 1;
        if (!ns_slice_starts(key, xattr_prefix))
                return (struct ns_slice){NULL, 0};
        return (struct ns_slice){key.data + length, key.length - length};
}

/* "27 path=...\n": the length counts itself, the blank and the newline. */
int ns_pax_next(const char *content, size_t length, size_t *at, struct ns_pax_record *record,
                struct ns_unpack_failure *failure)
{
        const char *text = content + *at;
        size_t left = length - *at;
        size_t size = 0;
        size_t used = 0;
        if (left == 0)
                return 0;
        for (; used < LENGTH_ROOM && used < left && text[used] >= '0' && text[used] <= '9'; used++)
                size = size * 10 + (size_t)(text[used] - '0');
        if (used == 0 || used == LENGTH_ROOM || used == left || text[used] != ' ')
                return ns_fail(failure, NS_UNPACK_PAX_RECORD);
        if (size > left || size <= used + 1 || text[size - 1] != '\n')
                return ns_fail(failure, NS_UNPACK_PAX_RECORD);
        const char *key = text + used + 1;
        const char *end = text + size - 1;
        const char *equals = memchr(key, '=', (size_t)(end - key));
        if (equals == NULL || equals == key)
                return ns_fail(failure, NS_UNPACK_PAX_RECORD);
        record->key = (struct ns_slice){key, (size_t)(equals - key)};
        record->value = (struct ns_slice){equals + 1, (size_t)(end - equals - 1)};
        *at += size;
        return 1;
}

static int keep(struct ns_pax *pax, const struct ns_pax_record *record, struct ns_unpack_failure *failure)
{
        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
                if (ns_slice_is(record->key, known[i].key)) {
                        *(struct ns_slice *)((char *)pax + known[i].offset) = record->value;
                        return 0;
                }
        }
        if (ns_pax_xattr(record->key).data != NULL)
                pax->has_xattrs = true;
        for (size_t i = 0; i < 2; i++) {
                if (!ns_slice_is(record->key, sparse_items[i]))
                        continue;
                if (pax->sparse_items++ % 2 != i)
                        return ns_fail(failure, NS_UNPACK_SPARSE_ORDER);
        }
        return 0;
}

int ns_pax_read(const char *content, size_t length, struct ns_pax *pax, struct ns_unpack_failure *failure)
{
        struct ns_pax_record record;
        size_t at = 0;
        int more = 0;
        *pax = (struct ns_pax){.content = content, .length = length};
        while ((more = ns_pax_next(content, length, &at, &record, failure)) > 0)
                if (keep(pax, &record, failure) < 0)
                        return -1;
        return more;
}

int ns_pax_check_global(const char *content, size_t length, struct ns_unpack_failure *failure)
{
        static const char *const refused[] = {"path", "linkpath",   "size",        "uid",
                                              "gid",  "hdrcharset", "GNU.sparse.", xattr_prefix};
        struct ns_pax_record record;
        size_t at = 0;
        int more = 0;
        while ((more = ns_pax_next(content, length, &at, &record, failure)) > 0)
                for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
                        if (ns_slice_starts(record.key, refused[i]))
                                return ns_fail_text(failure, NS_UNPACK_GLOBAL, record.key.data, record.key.length);
        return more;
}
