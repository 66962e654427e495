/* unpack_input.h: the archive's bytes, read forward and once. Nothing is copied but the rest of a block that lies on
 * the edge of two reads. */
#pragma once

#include "unpack_fail.h"

#include <stdbool.h>
#include <sys/types.h>

/* The room fits a processor's cache: with eight times as much, what was read has left it before it is written. */
enum { NS_BLOCK = 512, NS_INPUT_ROOM = 1 << 17 };

/* buffer[start .. end) has been read and not been used. `fill` is as read(2): it blocks, and 0 is the end. */
struct ns_input {
        ssize_t (*fill)(void *context, void *buffer, size_t room);
        void *context;
        uint8_t *buffer; /* [NS_INPUT_ROOM] */
        size_t start;
        size_t end;
        struct ns_unpack_failure *failure;
};

/* 1: there is more; 0: this is the end; -1. */
int ns_input_more(struct ns_input *input);

/* The next block, good until the next call. NULL: the archive is cut off, or cannot be read. */
const uint8_t *ns_input_block(struct ns_input *input);

/* What is there of the next `most` bytes (one or more), good until the next call. Returns how many; 0: failed. */
size_t ns_input_some(struct ns_input *input, uint64_t most, const uint8_t **bytes);

int ns_input_copy(struct ns_input *input, uint8_t *out, size_t count);
int ns_input_skip(struct ns_input *input, uint64_t count);

/* To the end, whatever it is. */
int ns_input_drain(struct ns_input *input);
