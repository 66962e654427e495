/* shim_exec.h: between shim_exec.c and shim_exec_process.c. */
#pragma once

#include "shim.h"

/* Learns what its process has said since, and tells whom it concerns. */
void ns_exec_progress(struct ns_shim *shim, struct ns_exec *exec);

/* SIGKILL for all that it started, again in a while if it is still there then. */
void ns_exec_kill(struct ns_shim *shim, struct ns_exec *exec);

/* Tells who asked how it ended; once, for nobody asks after that. */
void ns_exec_answer(struct ns_shim *shim, struct ns_exec *exec);

/* Removes an ended command's cgroup, and forgets it. When something is left in there that was to be killed: again in a
 * while; when it may live: when another command begins. */
void ns_exec_tidy(struct ns_shim *shim, struct ns_exec *exec);

void ns_exec_free(struct ns_shim *shim, struct ns_exec *exec);
