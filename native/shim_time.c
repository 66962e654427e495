/* shim_time.c: points in time as log records and files' names tell them, in UTC. No C library is asked: theirs want the
 * time zone's file.
 */
#include "shim.h"

static char *put_digits(char *out, unsigned int value, int width)
{
        for (int at = width - 1; at >= 0; at--) {
                out[at] = (char)('0' + value % 10);
                value /= 10;
        }
        return out + width;
}

struct date {
        unsigned int year, month, day;
};

/* Days since 1970-01-01 to a date of the Gregorian calendar, counted in eras of 400 years that begin on a 1st of March.
 */
static struct date date_of(int64_t days)
{
        int64_t shifted = days + 719468;
        int64_t era = shifted / 146097;
        unsigned int day_of_era = (unsigned int)(shifted - era * 146097);
        unsigned int year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
        unsigned int day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        unsigned int month_from_march = (5 * day_of_year + 2) / 153;
        unsigned int month = month_from_march < 10 ? month_from_march + 3 : month_from_march - 9;
        return (struct date){
            .year = year_of_era + (unsigned int)era * 400 + (month <= 2),
            .month = month,
            .day = day_of_year - (153 * month_from_march + 2) / 5 + 1,
        };
}

char *ns_put_time(char *out, int64_t nanoseconds)
{
        int64_t seconds = nanoseconds / 1000000000;
        unsigned int of_day = (unsigned int)(seconds % 86400);
        struct date date = date_of(seconds / 86400);
        out = put_digits(out, date.year, 4);
        *out++ = '-';
        out = put_digits(out, date.month, 2);
        *out++ = '-';
        out = put_digits(out, date.day, 2);
        *out++ = 'T';
        out = put_digits(out, of_day / 3600, 2);
        *out++ = ':';
        out = put_digits(out, of_day / 60 % 60, 2);
        *out++ = ':';
        out = put_digits(out, of_day % 60, 2);
        *out++ = '.';
        out = put_digits(out, (unsigned int)(nanoseconds % 1000000000), 9);
        *out++ = 'Z';
        return out;
}

char *ns_put_stamp(char *out, int64_t seconds)
{
        unsigned int of_day = (unsigned int)(seconds % 86400);
        struct date date = date_of(seconds / 86400);
        out = put_digits(out, date.year, 4);
        out = put_digits(out, date.month, 2);
        out = put_digits(out, date.day, 2);
        *out++ = '-';
        out = put_digits(out, of_day / 3600, 2);
        out = put_digits(out, of_day / 60 % 60, 2);
        return put_digits(out, of_day % 60, 2);
}
