/* expand.c: see expand.h. */
#include "expand.h"
#include "plan.h"

#include <errno.h>
#include <string.h>

size_t ns_fd_path(int fd, char out[32])
{
        static const char prefix[] = "/proc/self/fd/";
        char digits[12];
        size_t count = 0;
        unsigned int rest = (unsigned int)fd;
        do {
                digits[count++] = (char)('0' + rest % 10);
                rest /= 10;
        } while (rest != 0);

        size_t length = sizeof(prefix) - 1;
        memcpy(out, prefix, length);
        while (count > 0)
                out[length++] = digits[--count];
        out[length] = '\0';
        return length;
}

int ns_expand(const char *options, const int *fds, unsigned int fd_count, char out[NS_MOUNT_DATA_MAX])
{
        size_t used = 0;
        while (*options != '\0') {
                char path[32] = {*options};
                size_t length = 1;
                int taken = 1;
                if (*options == '%') {
                        unsigned int number = 0;
                        taken = ns_plan_reference(options, &number);
                        if (taken < 0 || number >= fd_count || fds[number] < 0) {
                                errno = EBADF;
                                return -1;
                        }
                        length = ns_fd_path(fds[number], path);
                }
                if (used + length >= NS_MOUNT_DATA_MAX) {
                        errno = ENAMETOOLONG;
                        return -1;
                }
                memcpy(out + used, path, length);
                used += length;
                options += taken;
        }
        out[used] = '\0';
        return 0;
}
