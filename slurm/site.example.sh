# shellcheck shell=bash disable=SC2034 # the variables are read by submit and lib.sh
# What this cluster is like: the only file a site edits.   cp slurm/site.example.sh slurm/site.sh
#
# It is read by slurm/submit on the login node and again by every job. Empty values leave the choice to Slurm. SAMED_SITE=FILE in the
# environment takes another file, for example one per partition.

SITE_PARTITION=            # sinfo -s
SITE_REPORT_PARTITION=     # for reports, which need no GPU; empty: as the others, with the same GPUs
SITE_ACCOUNT=              # sacctmgr show associations user=$USER
SITE_QOS=

SITE_NODES=1               # nodes of a job; submit --nodes changes it for once
SITE_RANKS_PER_NODE=2      # with GPUs: one for each; on CPUs: one for each memory domain (lscpu | grep NUMA)
SITE_CPUS_PER_RANK=        # cores of a node / ranks of a node
SITE_GPUS_PER_NODE=0       # or a100:4, where a type must be named; ranks take them by their number on the node; none are bound to tasks
SITE_MEMORY_PER_NODE=      # such as 64G; see "Sizes" in slurm/README.md
SITE_TIME=08:00:00         # limit; a job that reaches it stops in good order and is queued again
SITE_STOP_SECONDS=120      # before the limit: 25 s for segmenting, a step and a third, and a checkpoint for training; as much again as Slurm
                           # may be late
SITE_MAX_RESTARTS=20       # after as many the job ends with 75 instead of being queued again
SITE_OPTIONS=()            # further options of sbatch, such as (--exclusive --constraint=avx512 --mail-type=FAIL,END --mail-user=you@site.org)

SITE_SAMED=samed           # the program: on the path after site_setup, or with its folder; inside the container if there is one
SITE_CONTAINER=()          # such as (apptainer exec --nv --bind /data /software/samed-cuda.sif)
SITE_SCRATCH=              # a folder on every node's own disk, such as ${TMPDIR:-/tmp}; inputs are staged there

SITE_LAUNCHER=srun         # or mpirun, where srun and MPI have no PMIx in common
SITE_MPI=pmix              # srun --mpi=list
SITE_SRUN_OPTIONS=()       # further options of srun, such as (--gpu-bind=none) where ranks do not see all GPUs of their node

# Runs in each job and on the login node before samed does: modules, paths.
site_setup() {
    : # module load gcc openmpi samed
}
