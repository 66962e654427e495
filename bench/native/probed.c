/* probed.c: what is probed when probes are measured. It writes down when a probe reached it, and costs next to nothing.
 *
 *   probed serve <file>    answers every connection on port 80 like a web server, and appends the time to the file
 *   probed stamp <file>    appends the time to the file, and ends: a command to run in the container
 *
 * Times are CLOCK_MONOTONIC in nanoseconds, 8 bytes each, as the machine has them.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void stamp(int file)
{
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        const uint64_t nanoseconds = (uint64_t)now.tv_sec * 1000000000U + (uint64_t)now.tv_nsec;
        if (write(file, &nanoseconds, sizeof(nanoseconds)) != sizeof(nanoseconds))
                _exit(1);
}

static int listener(void)
{
        const int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(80)};
        if (server < 0 || bind(server, (const struct sockaddr *)&any, sizeof(any)) != 0 || listen(server, 16) != 0)
                _exit(1);
        return server;
}

static void serve(int file)
{
        static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
        static char request[4096];
        const int server = listener();
        for (;;) {
                const int client = accept(server, NULL, NULL);
                if (client < 0)
                        continue;
                stamp(file);
                if (read(client, request, sizeof(request)) > 0)
                        (void)!write(client, answer, sizeof(answer) - 1);
                close(client);
        }
}

int main(int argc, char **argv)
{
        if (argc != 3)
                return 2;
        const int file = open(argv[2], O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
        if (file < 0)
                return 1;
        if (strcmp(argv[1], "serve") == 0)
                serve(file);
        stamp(file);
        return 0;
}
