/* samed: the commands and their exit codes. */
#include <stdio.h>

#include "jobs/exits.h"

int main(void)
{
    fprintf(stderr, "samed: no command given\n");
    return JOB_EXIT_USAGE;
}
