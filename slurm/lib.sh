# shellcheck shell=bash
# What the batch scripts share: the site, launching samed, judging how it ended, queueing again. Sourced, never run.
#
# Who tells whom to stop (measured with Slurm 22.05):
#   time limit near, scancel --batch --signal=USR1   USR1 to this shell only -> passed on to the ranks, they end with 75, queued again
#   preemption with a grace time                     TERM to the ranks only -> they end with 75, queued again
#   scancel, limit reached, grace over, lost node    TERM to ranks and shell -> never queued again from here; Slurm decides
# So TERM at this shell is what tells a cancelled job from one that shall go on.

readonly EXIT_RUN=1 EXIT_USAGE=2 EXIT_STOPPED=75
readonly SETTLE_SECONDS=2 # a TERM for this shell may come this long after the ranks' own
readonly OWN_LOCK_SECONDS=61 OTHER_LOCK_SECONDS=301 # as long must another host's lock be silent: of this same job, of another one

log() {
    printf '%s slurm: %s\n' "$(date +%FT%T)" "$*" >&2
}

# die CODE TEXT...
die() {
    local code=$1
    shift
    log "error: $*"
    exit "$code"
}

# Reads the site's file over the defaults of the example.
read_site() {
    local file=${SAMED_SITE:-$SAMED_SLURM/site.sh}
    # shellcheck source=slurm/site.example.sh
    . "$SAMED_SLURM/site.example.sh"
    [ -r "$file" ] || die $EXIT_USAGE "$file is not there: cp $SAMED_SLURM/site.example.sh $SAMED_SLURM/site.sh, and edit it"
    # shellcheck source=/dev/null
    . "$file" || die $EXIT_USAGE "$file ended with an error"
    case $SITE_LAUNCHER in
    srun | mpirun) ;;
    *) die $EXIT_USAGE "$file: SITE_LAUNCHER is '$SITE_LAUNCHER', expected srun or mpirun" ;;
    esac
    site_setup || die $EXIT_USAGE "$file: site_setup failed"
}

# samed as the site has it, without a launcher.
run_samed() {
    ${SITE_CONTAINER[@]+"${SITE_CONTAINER[@]}"} "$SITE_SAMED" "$@"
}

# The folder of a run, with room for what is not samed's: logs, ids.
check_folder() {
    if ! mkdir -p "$1/slurm" || [ ! -w "$1" ]; then die $EXIT_RUN "$1: cannot be made or written on $(hostname)"; fi
}

# begin_job FOLDER: the output folder of this job's run. Sets job, out, the traps, and what samed is told of the ranks it was given.
begin_job() {
    out=$1
    # For an element of an array SLURM_JOB_ID may be the id of the whole array: queueing that again restarts all elements.
    job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
    job=${job:-$SLURM_JOB_ID}
    restarts=${SLURM_RESTART_COUNT:-0}
    export SAMED_JOB=$job # samed's lock names it: a job that is queued again may take over its own
    step='' is_cancelled='' is_stopping='' was_interrupted=''
    n_ranks=${SLURM_NTASKS:-$((SLURM_JOB_NUM_NODES * ${SLURM_NTASKS_PER_NODE:-1}))}
    # shellcheck disable=SC2034 # used by the scripts
    ranks=(--ranks "$n_ranks")
    # shellcheck disable=SC2034
    threads=(${SLURM_CPUS_PER_TASK:+--threads "$SLURM_CPUS_PER_TASK"})
    trap take_usr1 USR1
    trap take_term TERM
    log "job $job on ${SLURM_JOB_NODELIST:-?}, $n_ranks ranks, restart $restarts"
    check_folder "$out"
}

take_usr1() {
    log 'USR1: asking the ranks to stop in good order'
    is_stopping=yes was_interrupted=yes
    [ -z "$step" ] || kill -USR1 "$step" 2>/dev/null
}

take_term() {
    log 'TERM: cancelled, or the time is over'
    is_cancelled=yes was_interrupted=yes
}

# Becomes the launcher. exec matters: without it $! would be a subshell, which the USR1 that is passed on would kill.
launch() {
    case $SITE_LAUNCHER in
    srun)
        exec srun --mpi="$SITE_MPI" --kill-on-bad-exit=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" \
            ${SITE_SRUN_OPTIONS[@]+"${SITE_SRUN_OPTIONS[@]}"} ${SITE_CONTAINER[@]+"${SITE_CONTAINER[@]}"} "$SITE_SAMED" "$@"
        ;;
    mpirun) exec mpirun -n "$n_ranks" --bind-to none ${SITE_CONTAINER[@]+"${SITE_CONTAINER[@]}"} "$SITE_SAMED" "$@" ;;
    esac
}

# plan_overwrite ARGUMENT...: the same in arguments, with --overwrite turned into the time of the job's first launch: cases of before are
# done again once, not by every launch again, and what an interrupted launch did stays.
plan_overwrite() {
    local argument stamp=$out/slurm/overwrite.$job
    arguments=()
    for argument in "$@"; do
        if [ "$argument" = --overwrite ]; then
            if [ "$restarts" -eq 0 ] || [ ! -e "$stamp" ]; then
                : >"$stamp" || die $EXIT_RUN "$stamp: cannot be written on $(hostname)"
            fi
            arguments+=(--overwrite-before "$stamp")
        else
            arguments+=("$argument")
        fi
    done
}

# What tells one version of a file from the next; empty when it is not there.
stamp() {
    stat -c '%i %z' "$1" 2>/dev/null || true
}

# A signal interrupts wait, which must then be called again for the code.
wait_for_step() {
    while :; do
        was_interrupted=''
        wait "$step"
        code=$?
        [ -n "$was_interrupted" ] || break
    done
    step=''
}

# A signal ends the pause early, and its trap runs at once.
pause() {
    sleep "$1" &
    wait $! || true
}

# A lost node, or a job that was killed, leaves the lock of its run behind. samed on another host takes it over when it is surely silent
# (jobs/lock.h); until then it would refuse, so the wait is here. A lock of a job that still runs is left to samed to refuse.
wait_for_old_lock() {
    local host='' owner='' seconds
    if ! read -r host _ owner 2>/dev/null <"$place/.samed.lock" || [ "$host" = "$(hostname -s)" ]; then return 0; fi
    if [ "$owner" = "$job" ]; then
        seconds=$OWN_LOCK_SECONDS
    elif [[ $owner =~ ^[0-9_]+$ ]] && [ -z "$(squeue --noheader --jobs="$owner" 2>/dev/null)" ]; then
        seconds=$OTHER_LOCK_SECONDS
    else
        return 0
    fi
    seconds=$((seconds + $(stat -c %Y "$place/.samed.lock" 2>/dev/null || echo 0) - $(date +%s)))
    if [ "$seconds" -le 0 ]; then return 0; fi
    log "waiting $seconds s, until $host, where job $owner wrote, is surely silent"
    pause "$seconds"
}

# Success is what rank 0's done file says, never the launcher's code alone: srun can end with 0 though nothing was started.
judge_step() {
    if [ "$(stamp "$place/done")" != "$done_before" ] && [ -s "$place/done" ]; then
        read -r code <"$place/done"
    elif [ "$code" -eq 0 ]; then
        log 'the launcher ended with 0, but rank 0 did not write its done file'
        code=$EXIT_STOPPED
    elif [ -n "$is_stopping" ] && ! has_started; then
        code=$EXIT_STOPPED # the signal came before the ranks could hear it
    fi
}

# Rank 0 makes its lock before anything else, and that changes its folder. 2, 3, 4 and 75 are codes of samed alone; 1 and those of signals
# are also srun's own.
has_started() {
    case $code in 2 | 3 | 4 | "$EXIT_STOPPED") return 0 ;; esac
    [ "$(stamp "$place")" != "$place_before" ]
}

# run_ranks PLACE ARGUMENT...: samed on all ranks of the job, to its end; its code is in code. PLACE is where rank 0 makes its lock first and
# writes its done file last. A step that never started, for example since a node that crashed kept a socket of this step's number, gets
# one more try: the next step has another number.
run_ranks() {
    local try
    place=$1 code=$EXIT_STOPPED
    shift
    wait_for_old_lock
    for try in 1 2; do
        place_before=$(stamp "$place") done_before=$(stamp "$place/done")
        if [ -n "$is_cancelled$is_stopping" ]; then break; fi
        [ "$try" -eq 1 ] || log 'the step never started; launching it once more'
        launch "$@" &
        step=$!
        # USR1 may have come since the look above, when there was no step yet to pass it on to.
        [ -z "$is_stopping" ] || kill -USR1 "$step" 2>/dev/null
        wait_for_step
        log "step $try of this job ended with $code"
        ls -A "$place" >/dev/null 2>&1 || true # opened anew, so that a network file system shows what another node wrote
        if has_started; then break; fi
    done
    judge_step
}

# Why a job that stopped with 75 stays as it is; fails when there is no reason.
is_kept_from_queue() {
    if [ -n "$is_cancelled" ]; then
        log 'not queued again: the job was cancelled or its time is over'
    elif [ -e "$out/slurm/stop" ]; then
        log "not queued again: $out/slurm/stop is there"
    elif [ "$restarts" -ge "$SITE_MAX_RESTARTS" ]; then
        log "not queued again: $restarts restarts are as many as the site allows"
    else
        return 1
    fi
}

# Ends the job with code; one that stopped in good order is queued again.
leave() {
    log "samed ended with $code"
    [ "$code" -eq $EXIT_STOPPED ] || exit "$code"
    pause $SETTLE_SECONDS
    if is_kept_from_queue; then exit "$code"; fi
    log "queueing job $job again"
    scontrol requeue "$job" || die "$code" "Slurm does not queue job $job again; submit it once more, and it goes on where it was"
    trap - TERM
    sleep 600 # Slurm ends this shell; if it ended itself, the job would be over
    exit "$code"
}
