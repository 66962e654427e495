/* plan.h: reading a launch plan that ns_plan_check has approved. */
#pragma once

#include "nsrun_abi.h"

static inline const struct ns_op *ns_plan_ops(const struct ns_plan *plan)
{
        return (const struct ns_op *)(plan + 1);
}

/* A text or the first item of a list; "" when there is none. */
static inline const char *ns_plan_text(const struct ns_plan *plan, struct ns_text text)
{
        return text.length == 0 ? "" : (const char *)plan + text.offset;
}

/* The item after this one of a list, or NULL after the last. */
const char *ns_plan_next(const struct ns_plan *plan, struct ns_text list, const char *item);

/* "%<n>" at `at`: the number, and how many characters it takes; -1 when it is none. */
int ns_plan_reference(const char *at, unsigned int *number);
