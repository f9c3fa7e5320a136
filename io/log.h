/* Messages for a person, by level. Nothing below jobs/ prints: text goes to a sink that jobs/ sets (stderr by default).
 * Safe to call from any thread; one call is one line. */
#ifndef IO_LOG_H
#define IO_LOG_H

typedef enum io_log_level { IO_LOG_ERROR, IO_LOG_WARN, IO_LOG_INFO, IO_LOG_DEBUG } io_log_level;

/* line has no trailing newline. */
typedef void (*io_log_sink)(io_log_level level, const char *line, void *context);

/* sink NULL restores the default, which writes to stderr. */
void io_log_set_sink(io_log_sink sink, void *context);
void io_log_set_level(io_log_level most_verbose); /* default IO_LOG_INFO */
io_log_level io_log_get_level(void);
void io_log(io_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
