/* unpack_sparse.c: the maps of sparse files: GNU's old format and PAX formats 0.0, 0.1 and 1.0 (GNU tar manual, D.2).
 *
 * A map lists the regions that hold data, in order; the archive stores them one after the other.
 */
#include "unpack_tar.h"

#include <string.h>

enum {
        OLD_AT = 386,
        OLD_SLOTS = 4,
        OLD_MORE_AT = 482,
        OLD_SIZE_AT = 483,
        MORE_SLOTS = 21,
        MORE_MORE_AT = 504,
        FIELD = 12,
        SLOT = 2 * FIELD,
        DIGITS = 19,
};

/* The numbers of a map in text, two by two. */
struct map {
        struct ns_tar *tar;
        size_t numbers;
};

static int add_region(struct ns_tar *tar, size_t index, const struct ns_region *region)
{
        if (index >= tar->limits->regions)
                return ns_fail(tar->failure, NS_UNPACK_SPARSE_LONG);
        tar->regions[index] = *region;
        return 0;
}

static int add_number(struct map *map, struct ns_slice text)
{
        uint64_t value = 0;
        if (ns_map_number(text, &value, map->tar->failure) < 0)
                return -1;
        size_t index = map->numbers / 2;
        if (index >= map->tar->limits->regions)
                return ns_fail(map->tar->failure, NS_UNPACK_SPARSE_LONG);
        if (map->numbers++ % 2 == 0)
                map->tar->regions[index].offset = value;
        else
                map->tar->regions[index].length = value;
        return 0;
}

static int end_numbers(const struct map *map, struct ns_entry *entry)
{
        if (map->numbers % 2 != 0)
                return ns_fail(map->tar->failure, NS_UNPACK_SPARSE_DAMAGED);
        entry->region_count = map->numbers / 2;
        return 0;
}

/* ---- GNU's old format ----------------------------------------------------------------------------------------------
 */

/* A slot of padding ends the list, in this block. */
static int read_slots(struct ns_tar *tar, const uint8_t *slot, size_t count, struct ns_entry *entry)
{
        for (; count > 0; count--, slot += SLOT) {
                struct ns_region region;
                bool is_empty = true;
                for (size_t at = 0; at < SLOT; at++)
                        is_empty = is_empty && (slot[at] == '\0' || slot[at] == ' ');
                if (is_empty)
                        return 0;
                if (ns_number(slot, FIELD, &region.offset, tar->failure) < 0 ||
                    ns_number(slot + FIELD, FIELD, &region.length, tar->failure) < 0 ||
                    add_region(tar, entry->region_count, &region) < 0)
                        return -1;
                entry->region_count++;
        }
        return 0;
}

/* Blocks without a slot would go on for ever: each counts as if it had one. */
static int old_map(struct ns_tar *tar, const uint8_t *header, struct ns_entry *entry)
{
        if (ns_number(header + OLD_SIZE_AT, FIELD, &entry->size, tar->failure) < 0 ||
            read_slots(tar, header + OLD_AT, OLD_SLOTS, entry) < 0)
                return -1;
        uint8_t more = header[OLD_MORE_AT];
        for (size_t blocks = 0; more != 0; blocks++) {
                const uint8_t *block = ns_input_block(tar->input);
                if (block == NULL)
                        return -1;
                if (blocks >= tar->limits->regions)
                        return ns_fail(tar->failure, NS_UNPACK_SPARSE_LONG);
                if (read_slots(tar, block, MORE_SLOTS, entry) < 0)
                        return -1;
                more = block[MORE_MORE_AT];
        }
        return 0;
}

/* ---- PAX -----------------------------------------------------------------------------------------------------------
 */

/* 0.0: two keys, repeated once for each region. */
static int items_map(struct ns_tar *tar, struct ns_entry *entry)
{
        struct map map = {.tar = tar};
        struct ns_pax_record record;
        size_t at = 0;
        while (ns_pax_next(tar->pax.content, tar->pax.length, &at, &record, tar->failure) > 0) {
                bool is_item =
                    ns_slice_is(record.key, "GNU.sparse.offset") || ns_slice_is(record.key, "GNU.sparse.numbytes");
                if (is_item && add_number(&map, record.value) < 0)
                        return -1;
        }
        return end_numbers(&map, entry);
}

/* 0.1: "0,512,4096,10". */
static int list_map(struct ns_tar *tar, struct ns_entry *entry)
{
        struct map map = {.tar = tar};
        struct ns_slice rest = tar->pax.sparse_map;
        while (rest.length > 0) {
                const char *comma = memchr(rest.data, ',', rest.length);
                size_t length = comma == NULL ? rest.length : (size_t)(comma - rest.data);
                if (add_number(&map, (struct ns_slice){rest.data, length}) < 0)
                        return -1;
                if (comma != NULL && length + 1 == rest.length)
                        return ns_fail(tar->failure, NS_UNPACK_SPARSE_DAMAGED);
                length += comma != NULL;
                rest = (struct ns_slice){rest.data + length, rest.length - length};
        }
        return end_numbers(&map, entry);
}

/* A block of what 1.0 puts before the data. */
static const uint8_t *map_block(struct ns_tar *tar)
{
        if (tar->left < NS_BLOCK) {
                ns_fail(tar->failure, NS_UNPACK_SPARSE_CUT);
                return NULL;
        }
        tar->left -= NS_BLOCK;
        return ns_input_block(tar->input);
}

/* Where 1.0's text is being read: a number may go on in the next block. */
struct lines {
        struct ns_tar *tar;
        const uint8_t *block;
        size_t at;
        char digits[DIGITS + 1];
};

/* The next line without its end, good until the next call. */
static int next_line(struct lines *lines, struct ns_slice *line)
{
        for (size_t length = 0; length <= DIGITS; length++) {
                if (lines->at == NS_BLOCK) {
                        lines->block = map_block(lines->tar);
                        lines->at = 0;
                        if (lines->block == NULL)
                                return -1;
                }
                lines->digits[length] = (char)lines->block[lines->at++];
                if (lines->digits[length] == '\n') {
                        *line = (struct ns_slice){lines->digits, length};
                        return 0;
                }
        }
        return ns_fail(lines->tar->failure, NS_UNPACK_SPARSE_DAMAGED);
}

/* 1.0: lines of decimal numbers, the count of regions first, in whole blocks. */
static int text_map(struct ns_tar *tar, struct ns_entry *entry)
{
        struct lines lines = {.tar = tar, .at = NS_BLOCK};
        struct map map = {.tar = tar};
        struct ns_slice line;
        uint64_t count = 0;
        if (next_line(&lines, &line) < 0 || ns_map_number(line, &count, tar->failure) < 0)
                return -1;
        if (count > tar->limits->regions)
                return ns_fail(tar->failure, NS_UNPACK_SPARSE_LONG);
        for (; map.numbers < 2 * count;)
                if (next_line(&lines, &line) < 0 || add_number(&map, line) < 0)
                        return -1;
        return end_numbers(&map, entry);
}

static int pax_map(struct ns_tar *tar, struct ns_entry *entry)
{
        const struct ns_pax *pax = &tar->pax;
        if (pax->sparse_major.data == NULL) {
                int done = pax->sparse_items > 0 ? items_map(tar, entry) : list_map(tar, entry);
                return done < 0 ? -1 : ns_decimal(pax->sparse_size, &entry->size, tar->failure);
        }
        uint64_t major = 0;
        uint64_t minor = 0;
        if (ns_map_number(pax->sparse_major, &major, tar->failure) < 0)
                return -1;
        if (pax->sparse_minor.data != NULL && ns_map_number(pax->sparse_minor, &minor, tar->failure) < 0)
                return -1;
        if (major != 1 || minor != 0)
                return ns_fail(tar->failure, NS_UNPACK_SPARSE_FORMAT);
        return text_map(tar, entry) < 0 ? -1 : ns_decimal(pax->sparse_real_size, &entry->size, tar->failure);
}

/* Regions are in order, apart, within the file, and their sum is what the archive stores. */
static int check_map(struct ns_tar *tar, const struct ns_entry *entry)
{
        uint64_t end = 0;
        uint64_t total = 0;
        for (size_t i = 0; i < entry->region_count; i++) {
                const struct ns_region *region = &entry->regions[i];
                if (region->offset < end)
                        return ns_fail(tar->failure, NS_UNPACK_SPARSE_ORDER);
                if (__builtin_add_overflow(region->offset, region->length, &end) || end > INT64_MAX)
                        return ns_fail(tar->failure, NS_UNPACK_SPARSE_FIT);
                total += region->length; /* never beyond `end` */
        }
        return end > entry->size || total != tar->left ? ns_fail(tar->failure, NS_UNPACK_SPARSE_FIT) : 0;
}

int ns_tar_sparse(struct ns_tar *tar, const uint8_t *header, struct ns_entry *entry)
{
        enum { AT_KIND = 156 };
        bool is_old = header[AT_KIND] == 'S';
        bool is_pax =
            tar->pax.sparse_major.data != NULL || tar->pax.sparse_map.data != NULL || tar->pax.sparse_items > 0;
        if (!is_old && !is_pax)
                return 0;
        entry->is_sparse = true;
        entry->regions = tar->regions;
        if ((is_old ? old_map(tar, header, entry) : pax_map(tar, entry)) < 0)
                return -1;
        return check_map(tar, entry);
}
