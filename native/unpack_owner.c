/* unpack_owner.c: owners that this process cannot give: in a user namespace there are only the ids of its map
 * (user_namespaces(7)). */
#include "unpack_layer.h"

#include <sys/xattr.h>

enum { TEXT_ROOM = 64 };

static const uint64_t LAST_ID = 0xfffffffe; /* (uid_t)-1 means "leave it" to chown(2) */
static const char attribute[] = "user.containers.override_stat";

int ns_owner_fit(struct ns_entry *entry, const struct ns_unpack_settings *limits, struct ns_unpack_failure *failure)
{
        entry->has_lost_owner = false;
        if (entry->uid > LAST_ID || entry->gid > LAST_ID)
                return ns_fail(failure, NS_UNPACK_OWNER);
        bool is_there = entry->uid < limits->uids && entry->gid < limits->gids;
        if (is_there)
                return 0;
        if (limits->squash == 0)
                return ns_fail_number(failure, NS_UNPACK_UNMAPPED, entry->uid < limits->uids ? entry->gid : entry->uid);
        entry->lost_uid = entry->uid;
        entry->lost_gid = entry->gid;
        entry->has_lost_owner = true;
        entry->uid = entry->gid = 0;
        return 0;
}

static char *append(char *at, uint64_t number, unsigned int base)
{
        char digits[24];
        size_t count = 0;
        do
                digits[count++] = (char)('0' + number % base);
        while ((number /= base) > 0);
        while (count > 0)
                *at++ = digits[--count];
        return at;
}

/* "uid:gid:mode", the mode in octal with a 0 in front. */
int ns_owner_record(int fd, const struct ns_entry *entry, struct ns_unpack_failure *failure)
{
        char text[TEXT_ROOM];
        char *at = append(text, entry->lost_uid, 10);
        *at++ = ':';
        at = append(at, entry->lost_gid, 10);
        *at++ = ':';
        *at++ = '0';
        at = append(at, entry->mode & 07777, 8);
        if (fsetxattr(fd, attribute, text, (size_t)(at - text), 0) == 0 || errno == EOPNOTSUPP)
                return 0;
        return ns_fail_errno(failure);
}
