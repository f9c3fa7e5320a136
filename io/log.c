/* Levels and the sink. See log.h. */
#include "io/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static io_log_sink current_sink;
static void *current_context;
static io_log_level current_level = IO_LOG_INFO;

static void write_stderr(io_log_level level, const char *line)
{
    static const char *const prefixes[] = {"error: ", "warning: ", "", ""};
    fprintf(stderr, "samed: %s%s\n", prefixes[level], line);
}

void io_log_set_sink(io_log_sink sink, void *context)
{
    pthread_mutex_lock(&lock);
    current_sink = sink;
    current_context = context;
    pthread_mutex_unlock(&lock);
}

void io_log_set_level(io_log_level most_verbose)
{
    pthread_mutex_lock(&lock);
    current_level = most_verbose;
    pthread_mutex_unlock(&lock);
}

io_log_level io_log_get_level(void)
{
    io_log_level level;
    pthread_mutex_lock(&lock);
    level = current_level;
    pthread_mutex_unlock(&lock);
    return level;
}

void io_log(io_log_level level, const char *format, ...)
{
    char line[4096];
    va_list arguments;

    if (level > io_log_get_level()) return;
    va_start(arguments, format);
    vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    pthread_mutex_lock(&lock);
    if (current_sink)
        current_sink(level, line, current_context);
    else
        write_stderr(level, line);
    pthread_mutex_unlock(&lock);
}
