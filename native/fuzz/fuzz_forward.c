/* fuzz_forward.c: whatever ns_forward_check approves is a request of a known kind with what that kind needs.
 *
 * Input: one byte for the number of descriptors, then the request, in an allocation of exactly its size.
 */
#include "forward_request.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(int holds)
{
        if (!holds)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (size < 1)
                return 0;
        struct ns_forward_request *copy = malloc(size - 1);
        memcpy(copy, data + 1, size - 1);
        if (ns_forward_check(copy, size - 1, data[0]) == 0) {
                must(size - 1 == sizeof(*copy) && copy->kind >= NS_FORWARD_CONFIGURE && copy->kind <= NS_FORWARD_STOP);
                must(data[0] == (copy->kind == NS_FORWARD_CONFIGURE ? 2 : copy->kind == NS_FORWARD_ADD ? 1 : 0));
                if (copy->kind == NS_FORWARD_ADD || copy->kind == NS_FORWARD_REMOVE)
                        must(copy->port.host_port != 0 && copy->port.pod_port != 0 && copy->port.pod_address != 0);
                if (copy->kind == NS_FORWARD_CONFIGURE)
                        must((copy->network & ~copy->mask) == 0 && copy->connect_ms != 0);
        }
        free(copy);
        return 0;
}
