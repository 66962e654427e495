/* stream: bytes through a network, as many as go.
 *
 *   stream sink PORT                  takes what comes, and tells each sender how many bytes that were
 *   stream send ADDRESS PORT SECONDS  sends for so long, and prints how many MiB a second arrived
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static char block[1 << 18];

static double now(void)
{
        struct timespec at;
        clock_gettime(CLOCK_MONOTONIC, &at);
        return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

static struct sockaddr_in place(const char *address, const char *port)
{
        struct sockaddr_in found = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
        inet_pton(AF_INET, address, &found.sin_addr);
        return found;
}

static int sink(const char *port)
{
        struct sockaddr_in address = place("0.0.0.0", port);
        int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
        setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
        if (bind(listener, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(listener, 16) < 0)
                return perror("stream"), 1;
        for (;;) {
                int from = accept(listener, NULL, NULL);
                if (from < 0 || fork() > 0) {
                        close(from);
                        continue;
                }
                uint64_t total = 0;
                for (ssize_t got; (got = read(from, block, sizeof(block))) > 0;)
                        total += (uint64_t)got;
                _exit(write(from, &total, sizeof(total)) == sizeof(total) ? 0 : 1);
        }
}

static int out_to(const char *address, const char *port)
{
        struct sockaddr_in there = place(address, port);
        for (double end = now() + 20; now() < end; usleep(20000)) {
                int fd = socket(AF_INET, SOCK_STREAM, 0);
                if (connect(fd, (struct sockaddr *)&there, sizeof(there)) == 0)
                        return fd;
                close(fd);
        }
        return -1;
}

static int send_for(int to, double seconds)
{
        uint64_t arrived = 0;
        double began = now();
        while (now() < began + seconds)
                if (write(to, block, sizeof(block)) < 0)
                        return perror("stream"), 1;
        shutdown(to, SHUT_WR);
        if (recv(to, &arrived, sizeof(arrived), MSG_WAITALL) != sizeof(arrived))
                return fprintf(stderr, "stream: the other side is gone\n"), 1;
        printf("%.1f\n", (double)arrived / (now() - began) / (1 << 20));
        return 0;
}

int main(int argc, char **argv)
{
        signal(SIGPIPE, SIG_IGN);
        signal(SIGCHLD, SIG_IGN);
        if (argc == 3 && strcmp(argv[1], "sink") == 0)
                return sink(argv[2]);
        if (argc != 5 || strcmp(argv[1], "send") != 0)
                return 2;
        int to = out_to(argv[2], argv[3]);
        return to < 0 ? perror("stream"), 1 : send_for(to, atof(argv[4]));
}
