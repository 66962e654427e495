/* forward_request.c: see forward_request.h. */
#include "forward_request.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>

enum { CONFIGURE_FDS = 2, ADD_FDS = 1 };

/* Ones, then zeroes. */
static bool mask_valid(uint32_t mask)
{
        uint32_t hosts = ~ntohl(mask);
        return mask != 0 && (hosts & (hosts + 1)) == 0;
}

static bool port_valid(const struct ns_forward_port *port)
{
        if (port->protocol != NS_FORWARD_TCP && port->protocol != NS_FORWARD_UDP)
                return false;
        return port->host_port != 0 && port->pod_port != 0 && port->pod_address != 0 && port->reserved == 0;
}

int ns_forward_check(const struct ns_forward_request *request, size_t size, unsigned int fd_count)
{
        unsigned int expected = 0;
        bool valid = true;
        if (size != sizeof(*request))
                return EINVAL;
        switch ((enum ns_forward_kind)request->kind) {
        case NS_FORWARD_CONFIGURE:
                expected = CONFIGURE_FDS;
                valid = (request->flags & ~(uint32_t)NS_FORWARD_TRANSPARENT) == 0 && mask_valid(request->mask) &&
                        (request->network & ~request->mask) == 0 && request->connect_ms != 0 &&
                        request->unanswered_ms != 0 && request->answered_ms != 0;
                break;
        case NS_FORWARD_ADD:
                expected = ADD_FDS;
                valid = port_valid(&request->port);
                break;
        case NS_FORWARD_REMOVE:
                valid = port_valid(&request->port);
                break;
        case NS_FORWARD_LIST:
        case NS_FORWARD_STOP:
                break;
        default:
                valid = false;
                break;
        }
        return valid && fd_count == expected ? 0 : EINVAL;
}
