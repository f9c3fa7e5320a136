/* "1 case", "2 cases": texts that count say so. */
#ifndef IO_PLURAL_H
#define IO_PLURAL_H

/* What a noun that takes an s has behind n of them: "" or "s". */
static inline const char *io_plural(long long n)
{
    return n == 1 ? "" : "s";
}

#endif
