/* forward_source.c: whose address a pod sees. A client's own, with IP_TRANSPARENT (ip(7)); the routing of the pods'
 * namespace brings what is sent to it back here. No address is taken that answers could not come back to. */
#include "cleanup.h"
#include "forward.h"

#include <arpa/inet.h>
#include <sys/socket.h>

enum { THIS_NETWORK = 0, LOOPBACK = 127, MULTICAST = 224 };

bool ns_source_possible(void)
{
        const int on = 1;
        CLEANUP_FD int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        return fd >= 0 && setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &on, sizeof(on)) == 0;
}

/* Not those that mean something else inside: a pod would trust 127.0.0.1 more than it should, and take one of the
 * pods' range for a pod. */
static bool usable(const struct ns_forward *forward, const struct sockaddr_in *client)
{
        uint32_t first = ntohl(client->sin_addr.s_addr) >> 24;
        if (first == THIS_NETWORK || first == LOOPBACK || first >= MULTICAST)
                return false;
        return (client->sin_addr.s_addr & forward->mask) != forward->network;
}

int ns_source_socket(const struct ns_forward *forward, int type, const struct sockaddr_in *client, bool any_port)
{
        const int on = 1;
        CLEANUP_FD int fd = socket(AF_INET, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (fd < 0)
                return -1;
        if (!forward->transparent || !usable(forward, client))
                return ns_take_fd(&fd); /* connect gives it the address of the way to the pod, which is the bridge's */
        struct sockaddr_in address = *client;
        if (setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &on, sizeof(on)) < 0 ||
            setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
                return -1;
        if (!any_port && bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
                return ns_take_fd(&fd);
        address.sin_port = 0;
        if (type == SOCK_STREAM && setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on)) < 0)
                return -1;
        return bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -1 : ns_take_fd(&fd);
}

struct sockaddr_in ns_pod_address(const struct ns_forward_port *port)
{
        return (struct sockaddr_in){
            .sin_family = AF_INET, .sin_addr.s_addr = port->pod_address, .sin_port = htons(port->pod_port)};
}
