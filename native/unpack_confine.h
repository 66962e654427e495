/* unpack_confine.h: before a byte of the archive is read, nothing can be reached any more but the layer's directory. */
#pragma once

#include "unpack_fail.h"

#include <stdbool.h>

/* The detached mount `tree` becomes the root of this process, and all there is: everything else is unmounted in its
 * mount namespace, which is its own. Returns the directory, open for reading. */
int ns_confine_root(int tree, struct ns_unpack_failure *failure);

/* Limits, capabilities, no_new_privs and the filter of system calls. `trusted`: attributes of trusted.* will be set,
 * which takes CAP_SYS_ADMIN. Returns 0. */
int ns_confine_process(bool trusted, struct ns_unpack_failure *failure);

/* The same for the thread that fills files, as far as it is the thread's own. Returns 0. */
int ns_confine_writer(struct ns_unpack_failure *failure);

/* ---- unpack_filter.c: those system calls that unpacking needs; any other ends the process. 0, or -1 and errno. */
int ns_filter_calls(void);
int ns_filter_writer_calls(void);
