/* shim_exits.c: the end of a process, written so that no death of anything can lose it. */
#include "cleanup.h"
#include "kernel.h"
#include "shim.h"

#include <stdio.h>
#include <string.h>

enum { RECORD_MAX = 256, NUMBER_MAX = 24 };

static size_t put_text(char *out, const char *text)
{
        size_t length = strlen(text);
        memcpy(out, text, length);
        return length;
}

static size_t put_field(char *out, const char *name, int64_t value)
{
        char digits[NUMBER_MAX];
        size_t count = 0;
        size_t length = put_text(out, name);
        uint64_t rest = value < 0 ? (uint64_t)-value : (uint64_t)value;
        do
                digits[count++] = (char)('0' + rest % 10);
        while ((rest /= 10) > 0);
        out[length++] = ' ';
        if (value < 0)
                out[length++] = '-';
        while (count > 0)
                out[length++] = digits[--count];
        out[length++] = '\n';
        return length;
}

static size_t format(const struct ns_message *message, char out[RECORD_MAX])
{
        size_t length = put_field(out, "pid", message->pid);
        length += put_field(out + length, "started_ns", message->started_ns);
        length += put_field(out + length, "exited_ns", message->exited_ns);
        length += put_field(out + length, "wait_status", message->wait_status);
        length += put_field(out + length, "dropped", message->dropped);
        return length;
}

/* ".<id>": an id never starts with a dot. */
static void temporary_name(const char *id, char out[NS_ID_MAX + 1])
{
        out[0] = '.';
        memcpy(out + 1, id, strlen(id) + 1);
}

static int write_whole(int dir_fd, const char *name, const char *text, size_t length)
{
        CLEANUP_FD int fd = openat(dir_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -1;
        ssize_t written = write(fd, text, length);
        if (written != (ssize_t)length)
                return errno = written < 0 ? errno : ENOSPC, -1;
        return fsync(fd);
}

int ns_exit_record(const struct ns_shim *shim, const struct ns_message *message)
{
        char text[RECORD_MAX];
        char temporary[NS_ID_MAX + 1];
        temporary_name(message->id, temporary);
        if (write_whole(shim->exits_fd, temporary, text, format(message, text)) < 0 ||
            renameat(shim->exits_fd, temporary, shim->exits_fd, message->id) < 0) {
                int saved = errno;
                unlinkat(shim->exits_fd, temporary, 0);
                errno = saved;
                return -1;
        }
        return 0;
}

int ns_exit_forget(const struct ns_shim *shim, const char *id)
{
        return unlinkat(shim->exits_fd, id, 0) < 0 && errno != ENOENT ? -1 : 0;
}
