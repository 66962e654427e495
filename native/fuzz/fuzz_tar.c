/* fuzz_tar.c: whatever an archive is, its reader stays within its memory, comes to an end, and gives out only entries
 * that are what unpack_tar.h promises.
 *
 * Input: a byte that says in what pieces the archive comes, and the archive. Mutations keep the checksums of headers
 * right: else nothing would get beyond them.
 */
#include "unpack_layer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHECKSUM_AT = 148, CHECKSUM_ROOM = 8, MAGIC_AT = 257 };

struct source {
        const uint8_t *bytes;
        size_t left;
        size_t piece;
};

/* Exactly as large as the reader was told, so that the sanitizer sees the first byte beyond. */
struct memory {
        uint8_t *input;
        char *records;
        char *path;
        char *target;
        char *long_path;
        char *long_target;
        char *directory;
        struct ns_region *regions;
};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned int seed);

static ssize_t fill(void *context, void *buffer, size_t room)
{
        struct source *source = context;
        size_t count = source->left < room ? source->left : room;
        if (source->piece < count)
                count = source->piece;
        memcpy(buffer, source->bytes, count);
        source->bytes += count;
        source->left -= count;
        return (ssize_t)count;
}

static void check(bool holds)
{
        if (!holds)
                abort();
}

static void check_xattrs(const struct ns_entry *entry)
{
        struct ns_unpack_failure failure;
        struct ns_pax_record record;
        size_t at = 0;
        int more = 0;
        while (entry->xattrs != NULL &&
               (more = ns_pax_next(entry->xattrs->content, entry->xattrs->length, &at, &record, &failure)) > 0) {
                struct ns_slice name = ns_pax_xattr(record.key);
                check(name.data == NULL || memchr(name.data, '\0', name.length) == NULL);
        }
        check(more == 0);
}

static void check_entry(const struct ns_tar *tar, const struct ns_entry *entry, char *directory)
{
        struct ns_unpack_failure failure;
        struct ns_place place = {.directory = directory};
        uint64_t end = 0;
        uint64_t total = 0;
        check(entry->kind >= NS_ENTRY_FILE && entry->kind <= NS_ENTRY_FIFO);
        check(strlen(entry->path) == entry->path_length && entry->path_length <= tar->limits->path);
        check(strlen(entry->target) == entry->target_length && entry->target_length <= tar->limits->path);
        check(entry->mode <= 07777 && entry->mtime.nanoseconds < 1000000000);
        check(entry->size <= INT64_MAX && entry->stored <= INT64_MAX && entry->stored == tar->left);
        check(entry->kind == NS_ENTRY_FILE || entry->stored == 0);
        check(entry->is_sparse ? entry->region_count <= tar->limits->regions : entry->size == entry->stored);
        for (size_t i = 0; i < entry->region_count; i++) {
                check(entry->regions[i].offset >= end);
                end = entry->regions[i].offset + entry->regions[i].length;
                total += entry->regions[i].length;
        }
        check(end <= entry->size && (!entry->is_sparse || total == entry->stored));
        check_xattrs(entry);
        if (ns_place_read(&place, entry->path, tar->limits, &failure) == 0 && place.parts > 0)
                check(strchr(place.name, '/') == NULL && strlen(place.name) <= tar->limits->name &&
                      strcmp(place.name, "..") != 0 && strcmp(place.name, ".") != 0);
}

static void read_all(struct ns_tar *tar, char *directory)
{
        struct ns_entry entry;
        int more = 0;
        while ((more = ns_tar_next(tar, &entry)) > 0) {
                const uint8_t *bytes = NULL;
                uint64_t got = 0;
                check_entry(tar, &entry, directory);
                /* Every other entry's data is left for the reader to skip. */
                while (tar->headers % 2 == 0 && tar->left > 0) {
                        size_t count = ns_tar_data(tar, 1 << 16, &bytes);
                        if (count == 0)
                                return;
                        got += count;
                        check(got <= entry.stored);
                }
        }
        check(more == 0 || tar->failure->cause != NS_UNPACK_DONE);
}

static void free_all(struct memory *memory)
{
        free(memory->input);
        free(memory->records);
        free(memory->path);
        free(memory->target);
        free(memory->long_path);
        free(memory->long_target);
        free(memory->directory);
        free(memory->regions);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (size < 1)
                return 0;
        struct ns_unpack_settings limits = {
            .path = NS_UNPACK_PATH_MAX,
            .name = NS_UNPACK_NAME_MAX,
            .depth = 16,
            .header = NS_UNPACK_HEADER_MAX,
            .regions = 64,
            .entries = 1000,
        };
        struct memory memory = {
            .input = malloc(NS_INPUT_ROOM),
            .records = malloc(NS_UNPACK_HEADER_MAX),
            .path = malloc(NS_UNPACK_PATH_MAX + 1),
            .target = malloc(NS_UNPACK_PATH_MAX + 1),
            .long_path = malloc(NS_UNPACK_PATH_MAX + 1),
            .long_target = malloc(NS_UNPACK_PATH_MAX + 1),
            .directory = malloc(NS_UNPACK_PATH_MAX + 1),
            .regions = malloc(limits.regions * sizeof(struct ns_region)),
        };
        struct source source = {.bytes = data + 1, .left = size - 1, .piece = data[0] * 64U + 1};
        struct ns_unpack_failure failure = {.cause = NS_UNPACK_DONE};
        struct ns_input input = {.fill = fill, .context = &source, .buffer = memory.input, .failure = &failure};
        struct ns_tar tar = {
            .input = &input,
            .limits = &limits,
            .failure = &failure,
            .records = memory.records,
            .path = memory.path,
            .target = memory.target,
            .regions = memory.regions,
            .long_path.text = memory.long_path,
            .long_target.text = memory.long_target,
        };
        read_all(&tar, memory.directory);
        free_all(&memory);
        return 0;
}

/* Old headers have no magic, and are found by what mutations do not reach; new ones are summed again. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t room, unsigned int seed)
{
        (void)seed;
        size = LLVMFuzzerMutate(data, size, room);
        for (size_t at = 1; at + NS_BLOCK <= size; at += NS_BLOCK) {
                uint8_t *block = data + at;
                unsigned int sum = 0;
                char text[CHECKSUM_ROOM + 1];
                if (memcmp(block + MAGIC_AT, "ustar", 5) != 0)
                        continue;
                memset(block + CHECKSUM_AT, ' ', CHECKSUM_ROOM);
                for (size_t i = 0; i < NS_BLOCK; i++)
                        sum += block[i];
                snprintf(text, sizeof(text), "%06o", sum & 0777777U);
                memcpy(block + CHECKSUM_AT, text, CHECKSUM_ROOM - 1);
        }
        return size;
}
