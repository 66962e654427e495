/* logtext.h: CRI log records become what the container wrote. Both the C header and the cffi cdef: plain declarations.
 */
#ifndef NSRUN_LOGTEXT_H
#define NSRUN_LOGTEXT_H

#include <stddef.h>
#include <stdint.h>

/* What is wanted of the records, and how far ns_logtext came.
 *
 * since, until: points in time as the records tell them; records before `since` are passed over, the first after
 *   `until` ends the work, unless it goes on with a line. Empty: no such limit.
 * label: begins every line. stamps: so does the time of its record, and a blank.
 * streams: bit 0 stdout, bit 1 stderr.
 * middle: the last record was part of a line; kept from call to call.
 * consumed, written: bytes of this call. */
struct ns_logtext {
        const char *since;
        const char *until;
        const char *label;
        size_t since_length;
        size_t until_length;
        size_t label_length;
        uint32_t streams;
        uint32_t stamps;
        uint32_t middle;
        size_t consumed;
        size_t written;
};

/* records[0 .. length): whole lines; what is no record is passed over. Stops at the first record whose text does not
 * fit into out[0 .. room): it takes no more than the record's line and the label together. */
void ns_logtext(struct ns_logtext *text, const char *records, size_t length, char *out, size_t room);

#endif
