/* vfork.h: a C child of a process with many threads.
 *
 * The child borrows the caller's memory (CLONE_VM) and the calling thread sleeps until it is gone (CLONE_VFORK): no
 * page table is copied, and nothing of Python runs in it. All signals are blocked meanwhile, because a handler that ran
 * in the child would run in the parent's memory. Namespaces, file system context and, unless `flags` has CLONE_FILES,
 * descriptor table are the child's own, so what it joins and changes ends with it.
 */
#pragma once

/* Runs `work(argument)` in such a child and reaps it. Returns what `work` returned (0 or -errno), or -errno when the
 * child could not be made. 64 KiB of stack, half of it free for the child's own. */
int ns_in_child(int flags, int (*work)(void *argument), void *argument);
