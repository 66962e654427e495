/* unpack_tar.c: see unpack_tar.h. */
#include "unpack_tar.h"

#include <string.h>

/* The fields of a header: POSIX.1-2017 pax, "ustar Interchange Format". */
enum {
        AT_NAME = 0,
        AT_MODE = 100,
        AT_UID = 108,
        AT_GID = 116,
        AT_SIZE = 124,
        AT_MTIME = 136,
        AT_CHECKSUM = 148,
        AT_KIND = 156,
        AT_TARGET = 157,
        AT_MAGIC = 257,
        AT_MAJOR = 329,
        AT_MINOR = 337,
        AT_PREFIX = 345,
        NAME_ROOM = 100,
        PREFIX_ROOM = 155,
        SHORT = 8,
        LONG = 12,
};

static uint64_t padding_of(uint64_t size)
{
        return (NS_BLOCK - size % NS_BLOCK) % NS_BLOCK;
}

static size_t text_length(const uint8_t *field, size_t room)
{
        const uint8_t *end = memchr(field, '\0', room);
        return end == NULL ? room : (size_t)(end - field);
}

static bool is_zero(const uint8_t *block)
{
        return block[0] == 0 && memcmp(block, block + 1, NS_BLOCK - 1) == 0;
}

/* Old tars summed signed characters; both sums are good. */
static int check_sum(const uint8_t *header, struct ns_unpack_failure *failure)
{
        uint64_t stored = 0;
        uint32_t sum = SHORT * ' ';
        uint32_t high = 0;
        if (ns_number(header + AT_CHECKSUM, SHORT, &stored, failure) < 0)
                return -1;
        for (size_t at = 0; at < NS_BLOCK; at++) {
                sum += header[at];
                high += header[at] >> 7;
        }
        for (size_t at = AT_CHECKSUM; at < AT_KIND; at++) {
                sum -= header[at];
                high -= header[at] >> 7;
        }
        if (stored != sum && (int64_t)stored != (int64_t)sum - 256 * (int64_t)high)
                return ns_fail(failure, NS_UNPACK_CHECKSUM);
        return 0;
}

/* The next header, good until the input is read again. 1; 0 at the end: two blocks of zeros, or nothing at all. */
static int next_header(struct ns_tar *tar, const uint8_t **header)
{
        if (ns_input_skip(tar->input, tar->left) < 0 || ns_input_skip(tar->input, tar->padding) < 0)
                return -1;
        tar->left = tar->padding = 0;
        int more = ns_input_more(tar->input);
        if (more <= 0)
                return more;
        *header = ns_input_block(tar->input);
        if (*header == NULL)
                return -1;
        if (is_zero(*header)) {
                more = ns_input_more(tar->input);
                if (more <= 0)
                        return more;
                *header = ns_input_block(tar->input);
                if (*header == NULL)
                        return -1;
                return is_zero(*header) ? 0 : ns_fail(tar->failure, NS_UNPACK_ZEROS);
        }
        if (++tar->headers > tar->limits->entries)
                return ns_fail_number(tar->failure, NS_UNPACK_ENTRIES, tar->limits->entries);
        return check_sum(*header, tar->failure) < 0 ? -1 : 1;
}

/* ---- headers that belong to the next one ---------------------------------------------------------------------------
 */

/* What is beyond the room is passed over; a text ends at its first NUL. */
static int read_long_name(struct ns_tar *tar, uint64_t size, struct ns_long_name *name)
{
        size_t kept = size < NS_UNPACK_PATH_MAX + 1 ? (size_t)size : NS_UNPACK_PATH_MAX + 1;
        if (ns_input_copy(tar->input, (uint8_t *)name->text, kept) < 0 || ns_input_skip(tar->input, size - kept) < 0)
                return -1;
        name->is_set = true;
        name->length = text_length((const uint8_t *)name->text, kept);
        return 0;
}

static int read_records(struct ns_tar *tar, uint64_t size, bool is_global)
{
        /* A global header lies where the records of the next entry may be already: it is read into the rest. */
        size_t used = is_global && tar->has_pax ? tar->pax.length : 0;
        char *content = tar->records + used;
        if (used + size > NS_UNPACK_HEADER_MAX)
                return ns_fail_number(tar->failure, NS_UNPACK_HEADER, tar->limits->header);
        if (ns_input_copy(tar->input, (uint8_t *)content, (size_t)size) < 0)
                return -1;
        if (is_global)
                return ns_pax_check_global(content, (size_t)size, tar->failure);
        tar->has_pax = true;
        return ns_pax_read(content, (size_t)size, &tar->pax, tar->failure);
}

static int read_meta(struct ns_tar *tar, const uint8_t *header)
{
        uint8_t kind = header[AT_KIND];
        uint64_t size = 0;
        if (ns_number(header + AT_SIZE, LONG, &size, tar->failure) < 0)
                return -1;
        if (size > tar->limits->header)
                return ns_fail_number(tar->failure, NS_UNPACK_HEADER, tar->limits->header);
        int done = kind == 'L'   ? read_long_name(tar, size, &tar->long_path)
                   : kind == 'K' ? read_long_name(tar, size, &tar->long_target)
                                 : read_records(tar, size, kind == 'g');
        return done < 0 ? -1 : ns_input_skip(tar->input, padding_of(size));
}

/* ---- entries -------------------------------------------------------------------------------------------------------
 */

/* 'S' is GNU's sparse file, '7' a contiguous file, which is a file. A v7 file whose name ends in "/" is a directory. */
static int read_kind(struct ns_tar *tar, uint8_t flag, struct ns_entry *entry)
{
        static const enum ns_entry_kind kinds[] = {
            ['0'] = NS_ENTRY_FILE,      ['\0'] = NS_ENTRY_FILE,   ['7'] = NS_ENTRY_FILE,      ['S'] = NS_ENTRY_FILE,
            ['1'] = NS_ENTRY_HARD_LINK, ['2'] = NS_ENTRY_SYMLINK, ['3'] = NS_ENTRY_CHARACTER, ['4'] = NS_ENTRY_BLOCK,
            ['5'] = NS_ENTRY_DIRECTORY, ['6'] = NS_ENTRY_FIFO,
        };
        if (flag >= sizeof(kinds) / sizeof(kinds[0]) || kinds[flag] == 0)
                return ns_fail_number(tar->failure, NS_UNPACK_KIND, flag);
        entry->kind = kinds[flag];
        if (flag == '\0' && entry->path_length > 0 && entry->path[entry->path_length - 1] == '/')
                entry->kind = NS_ENTRY_DIRECTORY;
        return 0;
}

static int keep_text(struct ns_tar *tar, struct ns_slice text, char *out, size_t *length)
{
        if (text.length > 0 && memchr(text.data, '\0', text.length) != NULL)
                return ns_fail(tar->failure, NS_UNPACK_NUL);
        if (text.length > tar->limits->path)
                return ns_fail_number(tar->failure, NS_UNPACK_PATH, tar->limits->path);
        if (text.length > 0)
                memcpy(out, text.data, text.length);
        out[text.length] = '\0';
        *length = text.length;
        return 0;
}

static struct ns_slice short_path(const uint8_t *header, char joined[PREFIX_ROOM + 1 + NAME_ROOM])
{
        size_t length = text_length(header + AT_NAME, NAME_ROOM);
        if (memcmp(header + AT_MAGIC, "ustar\00000", SHORT) != 0 || header[AT_PREFIX] == '\0')
                return (struct ns_slice){(const char *)header + AT_NAME, length};
        size_t prefix = text_length(header + AT_PREFIX, PREFIX_ROOM);
        memcpy(joined, header + AT_PREFIX, prefix);
        joined[prefix] = '/';
        memcpy(joined + prefix + 1, header + AT_NAME, length);
        return (struct ns_slice){joined, prefix + 1 + length};
}

/* PAX records override the header; GNU's long names are nearer than both, as in Go's archive/tar. */
static int read_names(struct ns_tar *tar, const uint8_t *header, struct ns_entry *entry)
{
        char joined[PREFIX_ROOM + 1 + NAME_ROOM];
        struct ns_slice path = short_path(header, joined);
        struct ns_slice target = {(const char *)header + AT_TARGET, text_length(header + AT_TARGET, NAME_ROOM)};
        if (tar->pax.path.length > 0)
                path = tar->pax.path;
        if (tar->pax.sparse_name.length > 0)
                path = tar->pax.sparse_name;
        if (tar->long_path.is_set && tar->long_path.length > 0)
                path = (struct ns_slice){tar->long_path.text, tar->long_path.length};
        if (tar->pax.linkpath.length > 0)
                target = tar->pax.linkpath;
        if (tar->long_target.is_set && tar->long_target.length > 0)
                target = (struct ns_slice){tar->long_target.text, tar->long_target.length};
        entry->path = tar->path;
        entry->target = tar->target;
        if (keep_text(tar, path, tar->path, &entry->path_length) < 0)
                return -1;
        return keep_text(tar, target, tar->target, &entry->target_length);
}

/* An empty record takes itself back. */
static int read_field(struct ns_tar *tar, struct ns_slice record, const uint8_t *field, size_t width, uint64_t *out)
{
        if (record.length > 0)
                return ns_decimal(record, out, tar->failure);
        return ns_number(field, width, out, tar->failure);
}

static int read_mtime(struct ns_tar *tar, const uint8_t *header, struct ns_entry *entry)
{
        entry->mtime.nanoseconds = 0;
        if (tar->pax.mtime.length > 0)
                return ns_pax_time(tar->pax.mtime, &entry->mtime, tar->failure);
        if (ns_signed_number(header + AT_MTIME, LONG, &entry->mtime.seconds, tar->failure) < 0)
                return -1;
        return ns_check_time(entry->mtime.seconds, 0, tar->failure);
}

/* Only files have data, whatever the size in another header says: so does Go's archive/tar, by which layers are made
 * and read, and directories with a size exist. */
static int read_content(struct ns_tar *tar, const uint8_t *header, struct ns_entry *entry)
{
        if (entry->kind != NS_ENTRY_FILE)
                return 0;
        if (read_field(tar, tar->pax.size, header + AT_SIZE, LONG, &entry->size) < 0)
                return -1;
        tar->left = entry->size;
        tar->padding = padding_of(entry->size);
        return ns_tar_sparse(tar, header, entry);
}

static int read_device(struct ns_tar *tar, const uint8_t *header, struct ns_entry *entry)
{
        if (entry->kind != NS_ENTRY_CHARACTER && entry->kind != NS_ENTRY_BLOCK)
                return 0;
        if (ns_number(header + AT_MAJOR, SHORT, &entry->major, tar->failure) < 0)
                return -1;
        return ns_number(header + AT_MINOR, SHORT, &entry->minor, tar->failure);
}

static int check_xattrs(struct ns_tar *tar, struct ns_entry *entry)
{
        struct ns_pax_record record;
        size_t at = 0;
        if (!tar->has_pax || !tar->pax.has_xattrs)
                return 0;
        while (ns_pax_next(tar->pax.content, tar->pax.length, &at, &record, tar->failure) > 0) {
                struct ns_slice name = ns_pax_xattr(record.key);
                if (name.data != NULL && memchr(name.data, '\0', name.length) != NULL)
                        return ns_fail(tar->failure, NS_UNPACK_NUL);
        }
        entry->xattrs = &tar->pax;
        return 0;
}

/* Reading a sparse file's map takes the header away: it goes first into a place of its own. */
static int read_entry(struct ns_tar *tar, const uint8_t *block, struct ns_entry *entry)
{
        uint8_t header[NS_BLOCK];
        uint64_t mode = 0;
        memcpy(header, block, NS_BLOCK);
        *entry = (struct ns_entry){0};
        if (read_names(tar, header, entry) < 0 || read_kind(tar, header[AT_KIND], entry) < 0 ||
            ns_number(header + AT_MODE, SHORT, &mode, tar->failure) < 0 ||
            read_field(tar, tar->pax.uid, header + AT_UID, SHORT, &entry->uid) < 0 ||
            read_field(tar, tar->pax.gid, header + AT_GID, SHORT, &entry->gid) < 0 ||
            read_mtime(tar, header, entry) < 0 || read_device(tar, header, entry) < 0 || check_xattrs(tar, entry) < 0 ||
            read_content(tar, header, entry) < 0)
                return -1;
        entry->mode = mode & 07777;
        entry->stored = tar->left;
        return 1;
}

static void forget_meta(struct ns_tar *tar)
{
        tar->has_pax = false;
        tar->pax = (struct ns_pax){0};
        tar->long_path.is_set = tar->long_target.is_set = false;
}

int ns_tar_next(struct ns_tar *tar, struct ns_entry *entry)
{
        const uint8_t *header = NULL;
        int more = 0;
        forget_meta(tar);
        while ((more = next_header(tar, &header)) > 0) {
                if (memchr("LKxg", header[AT_KIND], 4) == NULL)
                        return read_entry(tar, header, entry);
                if (read_meta(tar, header) < 0)
                        return -1;
        }
        if (more == 0 && (tar->has_pax || tar->long_path.is_set || tar->long_target.is_set))
                return ns_fail(tar->failure, NS_UNPACK_MIDDLE);
        return more;
}

size_t ns_tar_data(struct ns_tar *tar, uint64_t most, const uint8_t **bytes)
{
        if (tar->left < most)
                most = tar->left;
        size_t got = most == 0 ? 0 : ns_input_some(tar->input, most, bytes);
        tar->left -= got;
        return got;
}
