/* fuzz_request.c: whatever ns_request_check approves names files that stay in their directories.
 *
 * Input: one byte for the number of descriptors, then the request, in an allocation of exactly its size.
 */
#include "request.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_stay(const char *name)
{
        if (name[0] == '\0' || strchr(name, '/') != NULL || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct ns_failure failure;
        if (size < 1)
                return 0;
        struct ns_request *copy = malloc(size - 1);
        memcpy(copy, data + 1, size - 1);
        if (ns_request_check(copy, size - 1, data[0], &failure) < 0) {
                if (failure.step != NS_STEP_REQUEST)
                        abort();
        } else if (copy->kind == NS_REQ_LAUNCH) {
                must_stay(copy->id);
                if ((copy->flags & (NS_LAUNCH_NO_LOG | NS_LAUNCH_SANDBOX)) == 0)
                        must_stay(copy->log);
                if (copy->log_bytes > 0 && copy->log_files < 2)
                        abort();
        } else if (copy->kind == NS_REQ_EXEC) {
                must_stay(copy->id);
                if (copy->output_limit > NS_OUTPUT_MAX || data[0] < ((copy->flags & NS_EXEC_STDIO) != 0 ? 4 : 1))
                        abort();
        }
        free(copy);
        return 0;
}
