/* fuzz_logtext.c: whatever is in a log, ns_logtext reads and writes within its bounds, comes to an end, and writes no
 * more than it promises.
 *
 * Input: a byte of choices, the lengths of the label and of the two times, the room, and the records.
 */
#include "logtext.h"

#include <stdlib.h>
#include <string.h>

enum { HEAD = 5, SHORT = 32, STREAMS = 3, STAMPS = 4 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *copy_of(const uint8_t *bytes, size_t length)
{
        char *copy = malloc(length + 1);
        memcpy(copy, bytes, length);
        return copy;
}

static size_t bound(size_t wanted, size_t left)
{
        return wanted < left ? wanted : left;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (size < HEAD)
                return 0;
        struct ns_logtext text = {.streams = data[0] & STREAMS, .stamps = data[0] & STAMPS};
        const uint8_t *rest = data + HEAD;
        size_t left = size - HEAD;
        text.label_length = bound(data[1] % SHORT, left);
        text.since_length = bound(data[2] % SHORT, left);
        text.until_length = bound(data[3] % SHORT, left);
        char *label = copy_of(rest, text.label_length);
        char *since = copy_of(rest, text.since_length);
        char *until = copy_of(rest, text.until_length);
        char *records = malloc(left);
        size_t room = data[4] * 4U;
        char *out = malloc(room);
        memcpy(records, rest, left);
        text.label = label;
        text.since = since;
        text.until = until;
        for (size_t at = 0; at < left; at += text.consumed) {
                ns_logtext(&text, records + at, left - at, out, room);
                if (text.consumed > left - at || text.written > room)
                        abort();
                if (text.consumed == 0)
                        break;
        }
        free(label);
        free(since);
        free(until);
        free(records);
        free(out);
        return 0;
}
