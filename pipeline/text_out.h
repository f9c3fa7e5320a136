/* A text file that is built piece by piece and appears whole or not at all. The first fault sticks: pieces after it are dropped and
 * pipe_text_commit reports it, so that a writer of many lines needs one check. */
#ifndef PIPELINE_TEXT_OUT_H
#define PIPELINE_TEXT_OUT_H

#include <stddef.h>
#include <stdint.h>

#include "io/status.h"

typedef struct pipe_text pipe_text;

io_status pipe_text_open(const char *folder, const char *name, pipe_text **out);
void pipe_text_add(pipe_text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
void pipe_text_add_bytes(pipe_text *text, const void *bytes, size_t n_bytes);
/* The shortest decimal that reads back equal; "nan", "inf" and "-inf" for what is no number. */
void pipe_text_add_number(pipe_text *text, double number);
/* At most digits significant digits, without trailing zeros. */
void pipe_text_add_rounded(pipe_text *text, double number, int digits);
/* One line, or a cell of a tab-separated table: control characters become blanks. File names may hold any bytes, and a text that was cut
 * short half a character: here, in HTML and in JSON what is no UTF-8 becomes U+FFFD, because readers refuse the whole file otherwise. */
void pipe_text_add_line(pipe_text *text, const char *plain);
/* A field of a comma-separated table, quoted where RFC 4180 asks for it; its bytes are kept, so that it still names a file. */
void pipe_text_add_csv(pipe_text *text, const char *field);
/* With &, <, >, " and ' as entities; also good inside of attributes. */
void pipe_text_add_html(pipe_text *text, const char *plain);
/* With the quotes of a JSON string; '<' is escaped too, so that no text can end a <script> element. */
void pipe_text_add_json(pipe_text *text, const char *plain);
void pipe_text_add_base64(pipe_text *text, const uint8_t *bytes, size_t n_bytes);
/* Everything that was added is there when it returns IO_OK; frees the text either way. */
io_status pipe_text_commit(pipe_text **text);
void pipe_text_free(pipe_text **text);

/* The same number as pipe_text_add_number into a buffer. */
void pipe_number_text(double number, char out[32]);

#endif
