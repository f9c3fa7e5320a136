/* The style sheet and the script that report.html carries: pipeline/report/report.css and report.js, built into the program. */
#ifndef PIPELINE_REPORT_ASSETS_H
#define PIPELINE_REPORT_ASSETS_H

extern const unsigned char pipe_report_css[], pipe_report_js[]; /* zero-terminated */

#endif
