/* idmap.h: directories as a user namespace sees them. */
#pragma once

/* What `fd` shows, mounted over itself with the owners of the user namespace (mount_setattr(2), MOUNT_ATTR_IDMAP); a
 * descriptor of that, or -1. In a mount namespace of one's own: an overlay takes no layer that is not mounted in its.
 */
int ns_open_idmapped(int fd, int userns_fd);
