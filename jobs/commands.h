/* The commands of samed. Each takes its own argv (argv[0] is "samed <command>") and returns an exit code of exits.h. */
#ifndef JOBS_COMMANDS_H
#define JOBS_COMMANDS_H

int job_segment_main(int argc, char **argv);
int job_evaluate_main(int argc, char **argv);
int job_status_main(int argc, char **argv);
int job_info_main(int argc, char **argv);
int job_convert_main(int argc, char **argv);
int job_phantom_main(int argc, char **argv);
int job_prepare_main(int argc, char **argv);
int job_train_main(int argc, char **argv);
int job_bench_main(int argc, char **argv);

#endif
