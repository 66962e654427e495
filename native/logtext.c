/* logtext.c: CRI log records, "<time> <stdout|stderr> <P|F>[:<tag>…] <content>\n", become what the container wrote, at
 * the speed of memory: `nsrun logs` reads gigabytes.
 */
#include "logtext.h"

#include <stdbool.h>
#include <string.h>

/* One record; its content ends with the newline when it is whole. */
struct record {
        const char *time;
        size_t time_length;
        const char *content;
        size_t content_length;
        uint32_t stream;
        bool partial;
};

enum { STREAM_LENGTH = sizeof("stdout") - 1 };

static bool read_record(const char *line, const char *newline, struct record *record)
{
        const char *blank = memchr(line, ' ', (size_t)(newline - line));
        if (blank == NULL || newline - blank < STREAM_LENGTH + 3) /* two blanks and the tag */
                return false;
        const char *stream = blank + 1;
        const char *tag = stream + STREAM_LENGTH + 1;
        if (memcmp(stream, "stdout ", STREAM_LENGTH + 1) == 0)
                record->stream = 1;
        else if (memcmp(stream, "stderr ", STREAM_LENGTH + 1) == 0)
                record->stream = 2;
        else
                return false;
        if (*tag != 'F' && *tag != 'P')
                return false;
        const char *end = tag + 1;
        if (*end == ':')
                while (end < newline && *end != ' ')
                        end++;
        if (*end != ' ' && end != newline)
                return false;
        record->time = line;
        record->time_length = (size_t)(blank - line);
        record->partial = *tag == 'P';
        record->content = end == newline ? newline : end + 1;
        record->content_length = (size_t)(newline - record->content) + (record->partial ? 0 : 1);
        return true;
}

/* <0, 0, >0, as memcmp. All times are of one form, so that their order is that of their letters. */
static int compare(const char *one, size_t one_length, const char *other, size_t other_length)
{
        int order = memcmp(one, other, one_length < other_length ? one_length : other_length);
        return order != 0 ? order : (one_length > other_length) - (one_length < other_length);
}

static bool is_after(const struct record *record, const char *time, size_t length)
{
        return length > 0 && compare(record->time, record->time_length, time, length) > 0;
}

static bool is_wanted(const struct ns_logtext *text, const struct record *record)
{
        bool early =
            text->since_length > 0 && compare(record->time, record->time_length, text->since, text->since_length) < 0;
        return !early && (text->streams & record->stream) != 0;
}

static char *put(char *out, const char *bytes, size_t length)
{
        if (length > 0)
                memcpy(out, bytes, length);
        return out + length;
}

static size_t size_of(const struct ns_logtext *text, const struct record *record)
{
        size_t size = record->content_length;
        if (!text->middle)
                size += text->label_length + (text->stamps ? record->time_length + 1 : 0);
        return size;
}

static char *put_record(struct ns_logtext *text, const struct record *record, char *out)
{
        if (!text->middle) {
                out = put(out, text->label, text->label_length);
                if (text->stamps) {
                        out = put(out, record->time, record->time_length);
                        *out++ = ' ';
                }
        }
        text->middle = record->partial;
        return put(out, record->content, record->content_length);
}

void ns_logtext(struct ns_logtext *text, const char *records, size_t length, char *out, size_t room)
{
        const char *end = records + length;
        const char *line = records;
        const char *newline = NULL;
        char *next = out;
        struct record record;
        for (; line < end && (newline = memchr(line, '\n', (size_t)(end - line))) != NULL; line = newline + 1) {
                if (!read_record(line, newline, &record))
                        continue;
                if (!text->middle && is_after(&record, text->until, text->until_length))
                        break;
                if (!is_wanted(text, &record))
                        continue;
                if (size_of(text, &record) > room - (size_t)(next - out))
                        break;
                next = put_record(text, &record, next);
        }
        text->consumed = (size_t)(line - records);
        text->written = (size_t)(next - out);
}
