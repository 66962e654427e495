/* pause.c: holds a pod's namespaces, and when it is PID 1 of a process namespace, reaps what is left to it.
 *
 * No C library: the whole program is a page of code. All signals stay blocked and are waited for, so that none can
 * interrupt it, and so that PID 1 gets even those that would be dropped for want of a handler. SIGTERM and SIGINT end
 * it.
 */
#include <asm/signal.h>
#include <asm/unistd.h>

enum { CHILD = SIGCHLD, WAIT_NO_HANG = 1, EVERY_CHILD = -1, SIGSET_SIZE = 8 };

static long call(long number, long a, long b, long c, long d)
{
#if defined(__x86_64__)
        long answer;
        register long r10 __asm__("r10") = d;
        __asm__ volatile("syscall"
                         : "=a"(answer)
                         : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10)
                         : "rcx", "r11", "memory");
        return answer;
#elif defined(__aarch64__)
        register long x8 __asm__("x8") = number;
        register long x0 __asm__("x0") = a;
        register long x1 __asm__("x1") = b;
        register long x2 __asm__("x2") = c;
        register long x3 __asm__("x3") = d;
        __asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3) : "memory");
        return x0;
#else
#error "pause.c has no system call for this architecture yet"
#endif
}

static void reap(void)
{
        while (call(__NR_wait4, EVERY_CHILD, 0, WAIT_NO_HANG, 0) > 0)
                ;
}

__attribute__((noreturn)) void _start(void)
{
        const unsigned long every = ~0UL;
        const unsigned long awaited = 1UL << (SIGTERM - 1) | 1UL << (SIGINT - 1) | 1UL << (CHILD - 1);

        call(__NR_rt_sigprocmask, SIG_BLOCK, (long)&every, 0, SIGSET_SIZE);
        for (;;) {
                /* A child may have ended before its signal was blocked. */
                reap();
                long number = call(__NR_rt_sigtimedwait, (long)&awaited, 0, 0, SIGSET_SIZE);
                while (number == SIGTERM || number == SIGINT)
                        call(__NR_exit_group, 0, 0, 0, 0);
        }
}
