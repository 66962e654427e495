/* unpack_number.c: see unpack_number.h. */
#include "unpack_number.h"

#include <stdbool.h>

enum { DIGITS_MAX = 19, NANOSECOND_DIGITS = 9 };

static const int64_t LATEST = INT64_C(1) << 40;

static bool is_padding(uint8_t byte)
{
        return byte == '\0' || byte == ' ';
}

/* Octal digits with padding of NULs and blanks around them; what follows a NUL within is nothing. At most 12 digits,
 * so nothing overflows. */
static int octal(const uint8_t *field, size_t width, int64_t *out, struct ns_unpack_failure *failure)
{
        uint64_t value = 0;
        while (width > 0 && is_padding(*field))
                field++, width--;
        while (width > 0 && is_padding(field[width - 1]))
                width--;
        for (; width > 0 && *field != '\0'; field++, width--) {
                if (*field < '0' || *field > '7')
                        return ns_fail(failure, NS_UNPACK_NUMBER);
                value = value << 3 | (uint64_t)(*field - '0');
        }
        *out = (int64_t)value;
        return 0;
}

/* Two's complement in 8 bytes or more, the first bit aside. What does not fit in 64 bits is not in range. */
static int base256(const uint8_t *field, size_t width, int64_t *out, struct ns_unpack_failure *failure)
{
        bool negative = (field[0] & 0x40) != 0;
        uint8_t filler = negative ? 0xff : 0;
        uint64_t value = 0;
        for (size_t at = 0; at < width; at++) {
                uint8_t byte = at == 0 ? (field[0] & 0x7f) | (filler & 0x80) : field[at];
                if (at + sizeof(value) < width && byte != filler)
                        return ns_fail(failure, NS_UNPACK_RANGE);
                value = value << 8 | byte;
        }
        if ((value >> 63 != 0) != negative || (int64_t)value == INT64_MIN)
                return ns_fail(failure, NS_UNPACK_RANGE);
        *out = (int64_t)value;
        return 0;
}

int ns_signed_number(const uint8_t *field, size_t width, int64_t *out, struct ns_unpack_failure *failure)
{
        return (field[0] & 0x80) != 0 ? base256(field, width, out, failure) : octal(field, width, out, failure);
}

int ns_number(const uint8_t *field, size_t width, uint64_t *out, struct ns_unpack_failure *failure)
{
        int64_t value = 0;
        if (ns_signed_number(field, width, &value, failure) < 0)
                return -1;
        if (value < 0)
                return ns_fail(failure, NS_UNPACK_RANGE);
        *out = (uint64_t)value;
        return 0;
}

/* One to 19 digits: below 10^19, which 64 bits without a sign hold. */
static bool digits(struct ns_slice text, uint64_t *out)
{
        uint64_t value = 0;
        if (text.length == 0 || text.length > DIGITS_MAX)
                return false;
        for (size_t at = 0; at < text.length; at++) {
                if (text.data[at] < '0' || text.data[at] > '9')
                        return false;
                value = value * 10 + (uint64_t)(text.data[at] - '0');
        }
        *out = value;
        return true;
}

int ns_decimal(struct ns_slice text, uint64_t *out, struct ns_unpack_failure *failure)
{
        if (!digits(text, out) || *out > INT64_MAX)
                return ns_fail(failure, NS_UNPACK_PAX_NUMBER);
        return 0;
}

int ns_map_number(struct ns_slice text, uint64_t *out, struct ns_unpack_failure *failure)
{
        return digits(text, out) ? 0 : ns_fail(failure, NS_UNPACK_SPARSE_DAMAGED);
}

static int fraction(struct ns_slice text, uint32_t *out, struct ns_unpack_failure *failure)
{
        uint32_t value = 0;
        for (size_t at = 0; at < text.length || at < NANOSECOND_DIGITS; at++) {
                char digit = at < text.length ? text.data[at] : '0';
                if (digit < '0' || digit > '9')
                        return ns_fail(failure, NS_UNPACK_TIME);
                if (at < NANOSECOND_DIGITS)
                        value = value * 10 + (uint32_t)(digit - '0');
        }
        *out = value;
        return 0;
}

int ns_check_time(int64_t seconds, uint32_t nanoseconds, struct ns_unpack_failure *failure)
{
        if (seconds < -LATEST || seconds > LATEST || (seconds == LATEST && nanoseconds > 0))
                return ns_fail(failure, NS_UNPACK_TIME_RANGE);
        return 0;
}

int ns_pax_time(struct ns_slice text, struct ns_moment *out, struct ns_unpack_failure *failure)
{
        bool negative = text.length > 0 && text.data[0] == '-';
        struct ns_slice whole = {text.data + negative, text.length - negative};
        struct ns_slice rest = {NULL, 0};
        for (size_t at = 0; at < whole.length; at++) {
                if (whole.data[at] == '.') {
                        rest = (struct ns_slice){whole.data + at + 1, whole.length - at - 1};
                        whole.length = at;
                }
        }
        uint64_t seconds = 0;
        uint32_t nanoseconds = 0;
        if (fraction(rest, &nanoseconds, failure) < 0 || ns_decimal(whole, &seconds, failure) < 0)
                return -1;
        int64_t value = negative ? -(int64_t)seconds : (int64_t)seconds;
        if (negative && nanoseconds > 0) {
                value--;
                nanoseconds = 1000000000 - nanoseconds;
        }
        *out = (struct ns_moment){value, nanoseconds};
        return ns_check_time(value, nanoseconds, failure);
}
