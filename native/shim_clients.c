/* shim_clients.c: the socket. Whoever may connect is trusted with the pod; what it sends is checked all the same. */
#include "cleanup.h"
#include "kernel.h"
#include "request.h"
#include "shim.h"

#include <string.h>
#include <sys/socket.h>

enum { MAX_FDS = 253, MAX_GIVEN = 3, SEND_BUFFER = 1 << 20 };

static bool welcome(int fd)
{
        struct ucred peer;
        socklen_t size = sizeof(peer);
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
                return false;
        return peer.uid == 0 || peer.uid == geteuid();
}

void ns_clients_accept(struct ns_shim *shim)
{
        const int room = SEND_BUFFER; /* enough for a message about each entry, however slowly the client reads */
        unsigned int index = 0;
        CLEANUP_FD int fd = accept4(shim->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0 || !welcome(fd))
                return;
        while (index < NS_MAX_CLIENTS && shim->clients[index].fd >= 0)
                index++;
        if (index == NS_MAX_CLIENTS || ns_watch(shim, fd, NS_FROM_CLIENT, index, 0) < 0)
                return;
        if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof(room)) < 0)
                setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
        shim->clients[index] = (struct ns_client){.fd = ns_take_fd(&fd)};
}

static void drop(struct ns_shim *shim, unsigned int index)
{
        ns_unwatch(shim->epoll_fd, &shim->clients[index].fd);
        shim->clients[index].subscribed = false;
        for (unsigned int i = 0; i < shim->used; i++)
                if (shim->entries[i].client == (int)index)
                        shim->entries[i].client = -1;
        ns_execs_client_gone(shim, (int)index);
        ns_attached_client_gone(shim, (int)index);
        if (shim->stop_client == (int)index)
                shim->stop_client = -1;
}

static void deliver(struct ns_shim *shim, int index, const struct msghdr *head)
{
        if (index < 0 || shim->clients[index].fd < 0)
                return;
        if (sendmsg(shim->clients[index].fd, head, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
                drop(shim, (unsigned int)index);
}

void ns_client_send_with(struct ns_shim *shim, int index, const struct ns_message *message, const void *data,
                         size_t size)
{
        struct iovec parts[2] = {
            {.iov_base = (void *)(uintptr_t)message, .iov_len = sizeof(*message)},
            {.iov_base = (void *)(uintptr_t)data, .iov_len = size},
        };
        const struct msghdr head = {.msg_iov = parts, .msg_iovlen = size > 0 ? 2 : 1};
        deliver(shim, index, &head);
}

void ns_client_send_fds(struct ns_shim *shim, int index, const struct ns_message *message, const int *fds,
                        unsigned int count)
{
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int) * MAX_GIVEN)];
        } control = {0};
        struct iovec part = {.iov_base = (void *)(uintptr_t)message, .iov_len = sizeof(*message)};
        struct msghdr head = {.msg_iov = &part, .msg_iovlen = 1};
        if (count > 0) {
                head.msg_control = control.bytes;
                head.msg_controllen = CMSG_SPACE(sizeof(int) * count);
                struct cmsghdr *rights = CMSG_FIRSTHDR(&head);
                rights->cmsg_level = SOL_SOCKET;
                rights->cmsg_type = SCM_RIGHTS;
                rights->cmsg_len = CMSG_LEN(sizeof(int) * count);
                memcpy(CMSG_DATA(rights), fds, sizeof(int) * count);
        }
        deliver(shim, index, &head);
}

void ns_client_send(struct ns_shim *shim, int index, const struct ns_message *message)
{
        ns_client_send_with(shim, index, message, NULL, 0);
}

void ns_clients_publish(struct ns_shim *shim, const struct ns_message *message)
{
        for (int index = 0; index < NS_MAX_CLIENTS; index++)
                if (shim->clients[index].subscribed)
                        ns_client_send(shim, index, message);
}

/* Copies the descriptors of a message out; returns how many. */
static unsigned int collect(struct msghdr *head, int fds[MAX_FDS])
{
        unsigned int count = 0;
        for (struct cmsghdr *part = CMSG_FIRSTHDR(head); part != NULL; part = CMSG_NXTHDR(head, part)) {
                if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
                        continue;
                size_t size = part->cmsg_len - CMSG_LEN(0);
                memcpy(fds, CMSG_DATA(part), size);
                count = (unsigned int)(size / sizeof(int));
        }
        return count;
}

void ns_client_read(struct ns_shim *shim, unsigned int index)
{
        struct ns_request request;
        union {
                struct cmsghdr align;
                char bytes[CMSG_SPACE(sizeof(int) * MAX_FDS)];
        } control;
        struct iovec part = {.iov_base = &request, .iov_len = sizeof(request)};
        struct msghdr head = {
            .msg_iov = &part,
            .msg_iovlen = 1,
            .msg_control = control.bytes,
            .msg_controllen = sizeof(control.bytes),
        };
        int fds[MAX_FDS];
        struct ns_failure failure;

        if (shim->clients[index].fd < 0)
                return;
        ssize_t size = recvmsg(shim->clients[index].fd, &head, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (size < 0 && (errno == EAGAIN || errno == EINTR))
                return;
        if (size <= 0) {
                drop(shim, index);
                return;
        }
        unsigned int count = collect(&head, fds);
        if ((size_t)size < sizeof(request))
                memset((char *)&request + size, 0, sizeof(request) - (size_t)size);
        if ((head.msg_flags & MSG_CTRUNC) != 0) /* no room in our descriptor table */
                failure = (struct ns_failure){.step = NS_STEP_REQUEST, .error = EMFILE, .index = NS_NO_INDEX};
        else if ((head.msg_flags & MSG_TRUNC) != 0)
                failure = (struct ns_failure){.step = NS_STEP_REQUEST, .error = EMSGSIZE, .index = NS_NO_INDEX};
        else
                ns_request_check(&request, (size_t)size, count, &failure);
        if (failure.step != 0)
                ns_answer(shim, (int)index, request.serial, &failure);
        else
                ns_request_handle(shim, (int)index, &request, fds, count);
        for (unsigned int i = 0; i < count; i++)
                ns_close_fd(&fds[i]);
}
