/* unpack_input.c: see unpack_input.h. */
#include "unpack_input.h"

#include <string.h>

/* What the kernel gives next, behind what is still unused. 0 at the end. */
static ssize_t refill(struct ns_input *input)
{
        size_t left = input->end - input->start;
        if (input->start != 0 && left != 0)
                memmove(input->buffer, input->buffer + input->start, left);
        input->start = 0;
        input->end = left;
        ssize_t got = input->fill(input->context, input->buffer + left, NS_INPUT_ROOM - left);
        if (got < 0)
                return ns_fail_errno(input->failure);
        input->end += (size_t)got;
        return got;
}

int ns_input_more(struct ns_input *input)
{
        if (input->start != input->end)
                return 1;
        ssize_t got = refill(input);
        return got > 0 ? 1 : (int)got;
}

const uint8_t *ns_input_block(struct ns_input *input)
{
        while (input->end - input->start < NS_BLOCK) {
                ssize_t got = refill(input);
                if (got == 0)
                        ns_fail(input->failure, NS_UNPACK_CUT);
                if (got <= 0)
                        return NULL;
        }
        const uint8_t *block = input->buffer + input->start;
        input->start += NS_BLOCK;
        return block;
}

size_t ns_input_some(struct ns_input *input, uint64_t most, const uint8_t **bytes)
{
        int more = ns_input_more(input);
        if (more == 0)
                ns_fail(input->failure, NS_UNPACK_CUT);
        if (more <= 0)
                return 0;
        size_t count = input->end - input->start;
        if (count > most)
                count = (size_t)most;
        *bytes = input->buffer + input->start;
        input->start += count;
        return count;
}

int ns_input_copy(struct ns_input *input, uint8_t *out, size_t count)
{
        while (count > 0) {
                const uint8_t *bytes = NULL;
                size_t got = ns_input_some(input, count, &bytes);
                if (got == 0)
                        return -1;
                memcpy(out, bytes, got);
                out += got;
                count -= got;
        }
        return 0;
}

int ns_input_skip(struct ns_input *input, uint64_t count)
{
        while (count > 0) {
                const uint8_t *bytes = NULL;
                size_t got = ns_input_some(input, count, &bytes);
                if (got == 0)
                        return -1;
                count -= got;
        }
        return 0;
}

int ns_input_drain(struct ns_input *input)
{
        int more = 0;
        while ((more = ns_input_more(input)) > 0)
                input->start = input->end;
        return more;
}
