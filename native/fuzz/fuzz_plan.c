/* fuzz_plan.c: whatever ns_plan_check approves can be read to its last byte, as the child reads it, without leaving the
 * plan.
 *
 * Input: one byte for the number of descriptors, then the plan. The plan is copied to an allocation of exactly its
 * size, so that the sanitizer sees the first byte beyond.
 */
#include "plan.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t read_list(const struct ns_plan *plan, struct ns_text list)
{
        size_t seen = 0;
        const char *item = list.length == 0 ? NULL : ns_plan_text(plan, list);
        for (; item != NULL; item = ns_plan_next(plan, list, item))
                seen += strlen(item) + 1;
        return seen;
}

static void read_op(const struct ns_plan *plan, const struct ns_op *op)
{
        const char *options = op->kind == NS_OP_OVERLAY ? ns_plan_text(plan, op->text[1]) : "";
        unsigned int slot = 0;
        for (int i = 0; i < 3; i++) {
                volatile size_t length = strlen(ns_plan_text(plan, op->text[i]));
                (void)length;
        }
        if (op->kind == NS_OP_EXEC && (read_list(plan, op->text[0]) == 0 || read_list(plan, op->text[1]) == 0))
                abort();
        if (op->kind == NS_OP_FS && read_list(plan, op->text[1]) != op->text[1].length)
                abort();
        for (const char *at = strchr(options, '%'); at != NULL; at = strchr(at + 1, '%'))
                if (ns_plan_reference(at, &slot) < 0 || slot >= NS_PLAN_SLOTS)
                        abort();
        if ((op->kind == NS_OP_OPEN || op->kind == NS_OP_SANDBOX_TREE) && op->c >= NS_PLAN_SLOTS)
                abort();
        if (op->fd >= 0 && (uint32_t)op->fd >= plan->fd_count + NS_PLAN_SLOTS)
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        struct ns_failure failure;
        if (size < 1)
                return 0;
        void *copy = malloc(size - 1);
        memcpy(copy, data + 1, size - 1);
        if (ns_plan_check(copy, size - 1, data[0], &failure) == 0) {
                const struct ns_plan *plan = copy;
                for (uint32_t i = 0; i < plan->op_count; i++)
                        read_op(plan, &ns_plan_ops(plan)[i]);
        } else if (failure.step != NS_STEP_PLAN || failure.error == 0) {
                abort();
        }
        free(copy);
        return 0;
}
