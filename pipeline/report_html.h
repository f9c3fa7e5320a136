/* Inside of report.html's writers: the parts of the page and the words they share. */
#ifndef PIPELINE_REPORT_HTML_H
#define PIPELINE_REPORT_HTML_H

#include "pipeline/report.h"
#include "pipeline/text_out.h"

/* Decimals that a column's values are shown with. */
int pipe_html_decimals(const pipe_column *column);
/* A value as people read it: 0.873, "–" for none, the sign of infinity. */
void pipe_html_value(pipe_text *text, const pipe_column *column, double value);
/* <td data-v="...">: sorts by the number. */
void pipe_html_cell(pipe_text *text, const pipe_column *column, double value);
/* <span class="swatch"> and the organ's name; row n_organs is all of them. */
void pipe_html_organ(pipe_text *text, const pipe_study *study, size_t row);
/* " (few cases)" behind an interval or a p-value of too few, else "". */
const char *pipe_html_few(size_t n_cases);
const pipe_cell_summary *pipe_html_summary(const pipe_report *report, size_t row, size_t column);

/* One box per organ of a column's values. Fails for lack of memory only. */
io_status pipe_html_boxplot(pipe_text *text, const pipe_report *report, size_t column);
/* Reference against prediction, one panel per organ, and the table of outliers. */
io_status pipe_html_volumes(pipe_text *text, const pipe_report *report);

/* Sections. */
void pipe_html_convention(pipe_text *text, const pipe_report *report, int convention); /* its tables */
void pipe_html_compare(pipe_text *text, const pipe_report *report);                    /* nothing without another report */
void pipe_html_rules(pipe_text *text, const pipe_report *report);
void pipe_html_failed(pipe_text *text, const pipe_report *report);
io_status pipe_html_worst(pipe_text *text, const pipe_report *report); /* fails for lack of memory only */
void pipe_html_data(pipe_text *text, const pipe_report *report);       /* the long table's values, for the script */

#endif
