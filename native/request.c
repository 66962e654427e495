/* request.c: see request.h. */
#include "request.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

static bool word_byte(char byte)
{
        return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || (byte >= '0' && byte <= '9') ||
               byte == '-';
}

/* Letters, digits, '-' and '.', not starting with '.': a file name that is no other than itself. */
static bool id_valid(const char id[NS_ID_MAX])
{
        if (memchr(id, '\0', NS_ID_MAX) == NULL || !word_byte(id[0]))
                return false;
        for (const char *at = id; *at != '\0'; at++)
                if (!word_byte(*at) && *at != '.')
                        return false;
        return true;
}

static bool log_valid(const char log[NS_NAME_MAX])
{
        if (memchr(log, '\0', NS_NAME_MAX) == NULL || strchr(log, '/') != NULL)
                return false;
        return log[0] != '\0' && strcmp(log, ".") != 0 && strcmp(log, "..") != 0;
}

static bool launch_valid(const struct ns_request *request, unsigned int fd_count)
{
        const uint32_t silent = NS_LAUNCH_SANDBOX | NS_LAUNCH_NO_LOG;
        const uint32_t input = NS_LAUNCH_STDIN | NS_LAUNCH_TERMINAL;
        if ((request->flags & ~(silent | input | NS_LAUNCH_STDIN_ONCE)) != 0 || !id_valid(request->id))
                return false;
        if ((request->flags & NS_LAUNCH_STDIN_ONCE) != 0 && (request->flags & NS_LAUNCH_STDIN) == 0)
                return false;
        /* A terminal is input and output; who has no output has neither. */
        if ((request->flags & input) == input || ((request->flags & silent) != 0 && (request->flags & input) != 0))
                return false;
        if (request->log_bytes > 0 && request->log_files < 2)
                return false;
        if ((request->flags & silent) != 0)
                return fd_count >= 1;
        return fd_count >= 2 && log_valid(request->log);
}

static bool exec_valid(const struct ns_request *request, unsigned int fd_count)
{
        const uint32_t streams = NS_EXEC_STDIO | NS_EXEC_TERMINAL;
        if ((request->flags & ~(streams | NS_EXEC_DETACHED)) != 0 || (request->flags & streams) == streams ||
            !id_valid(request->id) || request->output_limit > NS_OUTPUT_MAX)
                return false;
        return fd_count == ((request->flags & NS_EXEC_STDIO) != 0 ? 4 : 1);
}

static bool attach_valid(uint32_t flags)
{
        const uint32_t known = NS_STREAM_IN | NS_STREAM_OUT | NS_STREAM_ERR;
        return flags != 0 && (flags & ~known) == 0;
}

static bool fields_valid(const struct ns_request *request, unsigned int fd_count)
{
        switch (request->kind) {
        case NS_REQ_LAUNCH:
                return launch_valid(request, fd_count);
        case NS_REQ_SIGNAL:
                return fd_count == 0 && (request->of_serial != 0 || id_valid(request->id)) && request->value >= 0 &&
                       request->value <= 64;
        case NS_REQ_FORGET:
        case NS_REQ_REOPEN:
                return fd_count == 0 && id_valid(request->id);
        case NS_REQ_EXEC:
                return exec_valid(request, fd_count);
        case NS_REQ_ATTACH:
                return fd_count == 0 && id_valid(request->id) && attach_valid(request->flags);
        case NS_REQ_CANCEL:
        case NS_REQ_LIST:
        case NS_REQ_SUBSCRIBE:
        case NS_REQ_SHUTDOWN:
                return fd_count == 0;
        default:
                return false;
        }
}

int ns_request_check(const void *data, size_t size, unsigned int fd_count, struct ns_failure *failure)
{
        *failure = (struct ns_failure){.step = NS_STEP_REQUEST, .error = EINVAL, .index = NS_NO_INDEX};
        if (size != sizeof(struct ns_request) || !fields_valid(data, fd_count))
                return -1;
        *failure = (struct ns_failure){0};
        return 0;
}
