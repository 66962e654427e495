/* forward_udp.c: datagrams. A flow is what one client sends through one port of the host: a socket of its own towards
 * the pod. It is forgotten as the kernel's connection tracking would (nf_conntrack-sysctl.rst, nf_conntrack_udp_timeout
 * and _stream), and when there is no room, those that no pod ever answered go first. */
#include "cleanup.h"
#include "forward.h"
#include "kernel.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

union pktinfo {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(struct in_pktinfo))];
};

/* One call's worth of datagrams. */
struct batch {
        struct mmsghdr heads[NS_FORWARD_BATCH];
        struct iovec parts[NS_FORWARD_BATCH];
        struct sockaddr_in peers[NS_FORWARD_BATCH];
        union pktinfo infos[NS_FORWARD_BATCH];
};

/* musl sends them one by one, by a copy; the kernel's layout and its own are the same where both are little-endian. */
static int receive(struct ns_forward *forward, int fd, struct batch *batch)
{
        memset(batch->heads, 0, sizeof(batch->heads));
        for (unsigned int i = 0; i < NS_FORWARD_BATCH; i++) {
                batch->parts[i] = (struct iovec){.iov_base = forward->mail.bytes[i], .iov_len = NS_FORWARD_DATAGRAM};
                struct msghdr *head = &batch->heads[i].msg_hdr;
                head->msg_name = &batch->peers[i];
                head->msg_namelen = sizeof(batch->peers[i]);
                head->msg_iov = &batch->parts[i];
                head->msg_iovlen = 1;
                head->msg_control = batch->infos[i].bytes;
                head->msg_controllen = sizeof(batch->infos[i].bytes);
        }
        return (int)syscall(SYS_recvmmsg, fd, batch->heads, NS_FORWARD_BATCH, MSG_DONTWAIT, NULL);
}

static struct ns_flow **bucket_of(struct ns_forward *forward, const struct sockaddr_in *client)
{
        uint64_t mixed = ((uint64_t)client->sin_addr.s_addr << 16 | client->sin_port) ^ forward->key;
        for (int round = 0; round < 2; round++) {
                mixed = (mixed ^ mixed >> 33) * UINT64_C(0xff51afd7ed558ccd);
                mixed ^= forward->key;
        }
        return &forward->buckets[(mixed ^ mixed >> 33) % NS_FORWARD_BUCKETS];
}

static void forget(struct ns_forward *forward, struct ns_flow *flow)
{
        struct ns_flow **link = bucket_of(forward, &flow->client);
        while (*link != flow)
                link = &(*link)->next;
        *link = flow->next;
        ns_close_fd(&flow->fd);
        ns_chain_remove(&flow->order);
        ns_chain_append(&forward->free_flows, &flow->order);
        forward->flow_count--;
}

static void touch(struct ns_forward *forward, struct ns_flow *flow)
{
        flow->used = forward->now;
        ns_chain_remove(&flow->order);
        ns_chain_append(flow->answered ? &forward->answered : &forward->unanswered, &flow->order);
}

/* Room for one more; NULL: every flow there is, is in use. */
static struct ns_flow *take_place(struct ns_forward *forward)
{
        if (forward->flow_count == forward->flows_max) {
                if (forward->unanswered.after == &forward->unanswered)
                        return NULL;
                forget(forward, NS_CHAINED(forward->unanswered.after, struct ns_flow, order));
        }
        struct ns_chain *first = forward->free_flows.after;
        if (first == &forward->free_flows)
                return &forward->flows[forward->flows_used++];
        ns_chain_remove(first);
        return NS_CHAINED(first, struct ns_flow, order);
}

static int connect_pod(const struct ns_forward *forward, const struct ns_forward_port *port,
                       const struct sockaddr_in *client, bool any_port)
{
        const struct sockaddr_in pod = ns_pod_address(port);
        CLEANUP_FD int fd = ns_source_socket(forward, SOCK_DGRAM, client, any_port);
        if (fd < 0 || connect(fd, (const struct sockaddr *)&pod, sizeof(pod)) < 0)
                return -1;
        return ns_take_fd(&fd);
}

static struct ns_flow *begin(struct ns_forward *forward, struct ns_host_port *host_port,
                             const struct sockaddr_in *client, struct in_addr local, bool any_port)
{
        CLEANUP_FD int fd = connect_pod(forward, &host_port->port, client, any_port);
        struct ns_flow *flow = fd < 0 ? NULL : take_place(forward);
        if (flow == NULL)
                return NULL;
        uint32_t index = (uint32_t)(flow - forward->flows);
        struct ns_flow **bucket = bucket_of(forward, client);
        *flow = (struct ns_flow){.next = *bucket, .fd = -1, .host_port = host_port, .client = *client, .local = local};
        if (ns_forward_watch(forward, fd, EPOLLIN, NS_FORWARD_FROM_FLOW, index) < 0) {
                ns_chain_append(&forward->free_flows, &flow->order);
                return NULL;
        }
        flow->fd = ns_take_fd(&fd);
        *bucket = flow;
        forward->flow_count++;
        return flow;
}

/* The flow of a datagram, a new one if need be. Two flows of one client that lead to one port of a pod, by different
 * ports or addresses of the host, have to differ there: the younger one gets another port. */
static struct ns_flow *flow_of(struct ns_forward *forward, struct ns_host_port *host_port,
                               const struct sockaddr_in *client, struct in_addr local)
{
        bool any_port = false;
        for (struct ns_flow *flow = *bucket_of(forward, client); flow != NULL; flow = flow->next) {
                if (flow->client.sin_addr.s_addr != client->sin_addr.s_addr ||
                    flow->client.sin_port != client->sin_port)
                        continue;
                if (flow->host_port == host_port && flow->local.s_addr == local.s_addr)
                        return flow;
                any_port |= flow->host_port->port.pod_address == host_port->port.pod_address &&
                            flow->host_port->port.pod_port == host_port->port.pod_port;
        }
        return begin(forward, host_port, client, local, any_port);
}

/* Where a datagram was sent to; INADDR_ANY when the kernel does not say. */
static struct in_addr local_of(struct msghdr *head)
{
        struct in_pktinfo info = {0};
        struct cmsghdr *part = CMSG_FIRSTHDR(head);
        if (part != NULL && part->cmsg_level == IPPROTO_IP && part->cmsg_type == IP_PKTINFO)
                memcpy(&info, CMSG_DATA(part), sizeof(info));
        return info.ipi_spec_dst;
}

void ns_flows_receive(struct ns_forward *forward, struct ns_host_port *host_port)
{
        struct batch batch;
        int count = receive(forward, host_port->fd, &batch);
        for (int i = 0; i < count; i++) {
                struct in_addr local = local_of(&batch.heads[i].msg_hdr);
                if (batch.peers[i].sin_port == 0)
                        continue;
                struct ns_flow *flow = flow_of(forward, host_port, &batch.peers[i], local);
                if (flow == NULL)
                        continue;
                touch(forward, flow);
                /* Another datagram's error may be told first. */
                if (send(flow->fd, forward->mail.bytes[i], batch.heads[i].msg_len, MSG_NOSIGNAL) < 0 &&
                    errno == ECONNREFUSED)
                        send(flow->fd, forward->mail.bytes[i], batch.heads[i].msg_len, MSG_NOSIGNAL);
        }
}

/* The host's address that the client sent to is the one it is answered from. */
void ns_flow_answer(struct ns_forward *forward, struct ns_flow *flow)
{
        struct batch batch;
        if (flow->fd < 0)
                return;
        int count = receive(forward, flow->fd, &batch);
        if (count <= 0)
                return;
        flow->answered = true;
        touch(forward, flow);
        const struct in_pktinfo info = {.ipi_spec_dst = flow->local};
        for (int i = 0; i < count; i++) {
                struct msghdr *head = &batch.heads[i].msg_hdr;
                batch.peers[i] = flow->client;
                batch.parts[i].iov_len = batch.heads[i].msg_len;
                head->msg_namelen = sizeof(flow->client);
                head->msg_flags = 0;
                head->msg_controllen = sizeof(batch.infos[i].bytes);
                memset(&batch.infos[i], 0, sizeof(batch.infos[i]));
                struct cmsghdr *part = CMSG_FIRSTHDR(head);
                part->cmsg_level = IPPROTO_IP;
                part->cmsg_type = IP_PKTINFO;
                part->cmsg_len = CMSG_LEN(sizeof(info));
                memcpy(CMSG_DATA(part), &info, sizeof(info));
        }
        syscall(SYS_sendmmsg, flow->host_port->fd, batch.heads, (unsigned int)count, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static int64_t due(const struct ns_chain *head, int64_t limit)
{
        return head->after == head ? INT64_MAX : NS_CHAINED(head->after, const struct ns_flow, order)->used + limit;
}

int64_t ns_flows_due(const struct ns_forward *forward)
{
        int64_t first = due(&forward->unanswered, forward->unanswered_limit);
        int64_t second = due(&forward->answered, forward->answered_limit);
        return first < second ? first : second;
}

void ns_flows_expire(struct ns_forward *forward)
{
        while (due(&forward->unanswered, forward->unanswered_limit) <= forward->now)
                forget(forward, NS_CHAINED(forward->unanswered.after, struct ns_flow, order));
        while (due(&forward->answered, forward->answered_limit) <= forward->now)
                forget(forward, NS_CHAINED(forward->answered.after, struct ns_flow, order));
}

void ns_flows_of(struct ns_forward *forward, const struct ns_host_port *host_port)
{
        for (uint32_t i = 0; i < forward->flows_used; i++)
                if (forward->flows[i].fd >= 0 && forward->flows[i].host_port == host_port)
                        forget(forward, &forward->flows[i]);
}
