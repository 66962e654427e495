/* sanitizer.c: settings for the sanitized shim, which has neither an environment to take them from nor a terminal to
 * write to: reports go to files in its working directory. Leaks are not looked for: the process is not dumpable. */

const char *__asan_default_options(void);
const char *__ubsan_default_options(void);

const char *__asan_default_options(void)
{
        return "detect_leaks=0:log_path=sanitizer:handle_abort=1:detect_stack_use_after_return=1";
}

const char *__ubsan_default_options(void)
{
        return "print_stacktrace=1";
}
