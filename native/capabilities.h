/* capabilities.h: what a process of ours gives up for good. */
#pragma once

#include <stdint.h>

/* Of its capabilities the process keeps those in `kept` (a bit each) that it has; none is inherited, ambient, or, where
 * it may say so, within the bounds of a later exec. 0, or -1 and errno. */
int ns_drop_capabilities(uint64_t kept);
