# shellcheck shell=bash
# What the batch scripts of this folder share: how a command is started on every task, and what becomes of the job when
# it has ended. Sourced by them; docs/cluster.md explains it.
#
#   check on one task -> preflight on all -> the run on all -> verdict: done, go on (requeue), or a person must look
#
# The settings of a job are environment variables; sbatch hands on those of the shell that submits.
#
#   CONTAINER_IMAGE          run inside this image (pyxis); unset: on the nodes themselves
#   CONTAINER_MOUNTS         more folders for it: /a:/a,/b:/c:ro
#   PRORL_PYTHON             the interpreter; default: .venv/bin/python of the checkout, or python3; `python` in an image
#   PRORL_SITE               a file with what your site needs; read by environment.sh
#   PRORL_LOGS               where logs go; default: logs/ where you submit
#   PRORL_PREFLIGHT          0: no preflight before the run
#   PRORL_PREFLIGHT_SECONDS, PRORL_FREE_GIB    its limits; default: 30 seconds, 50 GiB free in run.dir
#   PRORL_MAX_FAILURES       so many failures in a row without a new checkpoint, then no more requeues; default: 3
#   PRORL_BACKOFF_SECONDS    wait before a requeue after a failure, doubled each time, at most ten minutes; default: 30
#   PRORL_GRACE_SECONDS      what is left of a run that has said that it has ended is ended after this; default: 10
#   PRORL_STEP_WAIT_SECONDS  when a task has ended, the others are ended after this; default: 150. The main rank ends
#                            last: it gives Weights & Biases two minutes for what is left (telemetry/sinks.py)
#   SRUN_MPI                 what --mpi of srun is to be (pmix for TensorRT-LLM started by MPI); default: not given
set -uo pipefail

PRORL_SLURM=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PRORL_HOME=$(dirname "$PRORL_SLURM")
# shellcheck source=slurm/environment.sh
source "$PRORL_SLURM/environment.sh"
# shellcheck source=slurm/verdict.sh
source "$PRORL_SLURM/verdict.sh"
export PYTHONPATH=$PRORL_HOME${PYTHONPATH:+:$PYTHONPATH} # the code is that of these scripts

ATTEMPT=${SLURM_RESTART_COUNT:-0}
JOB=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID}
JOB=${JOB:-${SLURM_JOB_ID:-}} # one of an array may have the array's own number, which means all of them
stop_asked=${stop_asked:-} ended_by_slurm='' run_dir='' device='' dry_run='' attended_attempt=''
SRUN=()

say() { echo "[job ${SLURM_JOB_ID:-none} attempt $ATTEMPT $(date '+%F %T')] $*"; }

# ------------------------------------------------------------------------------------------- the line that starts tasks

meeting_place() { # export where the ranks meet, and until when
    local head
    head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    if [[ -z ${MASTER_ADDR:-} ]]; then
        MASTER_ADDR=$(scontrol show node -o "$head" | sed -n 's/.* NodeAddr=\([^ ]*\).*/\1/p')
    fi
    export MASTER_ADDR=${MASTER_ADDR:-$head}
    export MASTER_PORT=${MASTER_PORT:-$((20000 + SLURM_JOB_ID % 500 * 20))} # ranks take some of the 16 above it, too
    if [[ -z ${SLURM_JOB_END_TIME:-} ]]; then
        local ends
        ends=$(squeue --noheader --job "$JOB" --format %e 2>/dev/null) && [[ -n $ends ]] &&
            ends=$(date --date "$ends" +%s 2>/dev/null) && export SLURM_JOB_END_TIME=$ends
    fi
}

python_of_job() {
    if [[ -n ${PRORL_PYTHON:-} ]]; then
        echo "$PRORL_PYTHON"
    elif [[ -n ${CONTAINER_IMAGE:-} ]]; then
        echo python
    elif [[ -x $PRORL_HOME/.venv/bin/python ]]; then
        echo "$PRORL_HOME/.venv/bin/python"
    else
        echo python3
    fi
}

prepare_srun() { # SRUN: srun with what every step of the job needs
    SRUN=(srun --kill-on-bad-exit=0 "--wait=${PRORL_STEP_WAIT_SECONDS:-150}")
    [[ -n ${SLURM_CPUS_PER_TASK:-} ]] && SRUN+=("--cpus-per-task=$SLURM_CPUS_PER_TASK") # srun no longer inherits it
    [[ -n ${SRUN_MPI:-} ]] && SRUN+=("--mpi=$SRUN_MPI")
    [[ -n ${CONTAINER_IMAGE:-} ]] || return 0
    if [[ -z $dry_run ]] && ! srun --help 2>&1 | grep -q -- --container-image; then
        say "CONTAINER_IMAGE=$CONTAINER_IMAGE, but this cluster's srun has no --container-image (pyxis isn't installed):" \
            "unset it to run on the nodes themselves, or ask your administrators for pyxis"
        exit 2
    fi
    local mounts=$PWD:$PWD
    [[ $PRORL_HOME/ == "$PWD"/* ]] || mounts+=,$PRORL_HOME:$PRORL_HOME
    SRUN+=("--container-image=$CONTAINER_IMAGE" "--container-mounts=$mounts${CONTAINER_MOUNTS:+,$CONTAINER_MOUNTS}"
        "--container-workdir=$PWD" --no-container-mount-home "--container-env=$PRORL_CONTAINER_ENV")
}

on_one_task() { "${SRUN[@]}" --nodes=1 --ntasks=1 --ntasks-per-node=1 "$@"; }

quoted() { # the words of a command, as a shell would have to be given them
    printf '%q ' "$@"
    echo
}

log_folder() { # of this attempt: one file a task
    local base=${PRORL_LOGS:-$PWD/logs}/${SLURM_JOB_NAME:-prorl}-${SLURM_JOB_ID:-JOB}
    echo "$base/attempt_$ATTEMPT"
}

# -------------------------------------------------------------------------------------------------------------- signals

on_usr1() { # Slurm, before the time is up (--signal=B:USR1@300)
    stop_asked=1
    say "the time is nearly up (USR1): asking the run to save and stop"
    ask_to_stop
}

ask_to_stop() { # a file, for a signal would reach children of the ranks, too, and kills a rank that is just starting
    [[ -n $run_dir ]] && mkdir -p "$run_dir" && echo "Slurm job $SLURM_JOB_ID: its time is nearly up" >"$run_dir/STOP"
}

on_term() {
    ended_by_slurm=1
    say "Slurm ends this job (TERM): preempted, requeued, cancelled, or out of time. The tasks were told, too"
    if [[ -z ${PRORL_CHAIN:-} ]] && scontrol show job -o "$JOB" | grep -q ' Reason=TimeLimit '; then
        local count=0 now
        # Without a new checkpoint it would come to the same, time limit after time limit.
        if [[ -z $checkpoint_before || $(newest_checkpoint) == "$checkpoint_before" ]]; then count_failure; fi
        if ((count >= ${PRORL_MAX_FAILURES:-3})); then
            say "out of time $count times without a new checkpoint, PRORL_MAX_FAILURES=${PRORL_MAX_FAILURES:-3}: not requeued"
            return
        fi
        say "out of time before the run had stopped: requeue number $((ATTEMPT + 1))"
        scontrol requeue "$JOB" # at once: in KillWait seconds this shell is killed
    fi
}

forget_own_stop() { # one that an attempt was killed too soon to obey; that of `prorl stop` is obeyed
    # A rank that passes its reason on to the others puts "STOP file: " before what it has read there.
    if grep -qsE '^(STOP file: )*(Slurm job |the Slurm job ends |run\.max_hours=|SIG(TERM|USR1)$)' "$run_dir/STOP"; then
        rm -f "$run_dir/STOP"
    fi
}

# --------------------------------------------------------------------------------------------------------------- the job

begin() { # begin NAME "$@": what comes first in every job; leaves the command's arguments in ARGUMENTS
    command_name=$1
    shift
    [[ ${1:-} == --dry-run ]] && dry_run=1 && shift
    ARGUMENTS=("$@")
    PROGRAM=("$(python_of_job)" -m nemo_prorl)
    prepare_srun
    if [[ -n $dry_run ]]; then return; fi
    if [[ -z ${SLURM_JOB_ID:-} ]]; then
        echo "this is a batch script: sbatch $0 ...; with --dry-run it shows what it would start" >&2
        exit 2
    fi
    mkdir -p "$(log_folder)"
    if [[ -n ${PRORL_CHAIN:-} && -s $(chain_file) ]]; then
        read -r code why <"$(chain_file)"
        say "the chain is over: $why"
        exit "$code"
    fi
    meeting_place
    say "$command_name on $SLURM_JOB_NODELIST, ${SLURM_NTASKS:-1} tasks; logs in $(log_folder)"
}

check() { # the settings, on one task: better one message in seconds than one from each rank in minutes
    local plan code
    plan=$(dirname "$(log_folder)")/plan.txt
    if [[ ! -s $plan ]]; then # a requeued job has been through it
        on_one_task "${PROGRAM[@]}" "$command_name" --dry-run --world-size "${SLURM_NTASKS:-1}" "${ARGUMENTS[@]}" \
            >"$plan.partial" &
        attend $!
        code=$?
        if ((code != 0)); then
            cat "$plan.partial"
            [[ -n $ended_by_slurm ]] && exit 143
            [[ $FINAL_CODES == *" $code "* ]] && finish "$code" "the settings can't be used (exit code $code): see above"
            failed "$code" "one task could not check the settings (exit code $code)"
        fi
        mv "$plan.partial" "$plan"
        cat "$plan"
    fi
    run_dir=$(sed -n 's/^folder  *//p' "$plan" | head -n 1)
    if [[ -z $run_dir ]] || ! mkdir -p "$run_dir"; then
        finish 2 "run.dir=$run_dir can't be made here: in a container, mount it under the path that it has outside"
    fi
    device=$(sed -n 's/^device  *\([a-z]*\),.*/\1/p' "$plan" | head -n 1)
}

preflight() { # preflight FOLDER [DEVICE]: on every task: GPUs, network, shared file system, versions
    "${SRUN[@]}" "${PROGRAM[@]}" doctor cluster --folder "$1" --device "${2:-auto}" \
        --seconds "${PRORL_PREFLIGHT_SECONDS:-30}" --free-gib "${PRORL_FREE_GIB:-50}" &
    attend $!
}

pass_preflight() {
    [[ ${PRORL_PREFLIGHT:-1} == 0 ]] && return
    preflight "$run_dir" "$device"
    local code=$?
    [[ -n $ended_by_slurm ]] && exit 143
    ((code == 0)) || failed "$code" "the preflight failed: see above"
}

attend() { # attend PID: its exit code, while traps are obeyed; what has said that it has ended gets no longer than that
    local pid=$1 ended_since=
    while kill -0 "$pid" 2>/dev/null; do
        sleep 1 &
        wait $!
        if [[ -z $attended_attempt ]] || ! has_said_its_end; then continue; fi
        ended_since=${ended_since:-$SECONDS}
        if ((SECONDS - ended_since >= ${PRORL_GRACE_SECONDS:-10})); then
            say "the run has ended, but tasks are left: ending them"
            kill -TERM "$pid" # srun ends its own step, and nothing else
            ended_since=$SECONDS
        fi
    done
    wait "$pid"
}

has_begun_since() { # has_begun_since ATTEMPT: whether status.json is of a later one
    local attempt
    attempt=$(status_of_run attempt)
    ((${attempt:-0} > $1))
}

has_said_its_end() {
    has_begun_since "$attended_attempt" && [[ $(status_of_run state) =~ ^(finished|stopped|failed)$ ]]
}

run_and_judge() { # train, sft, evaluate: the run's folder says how it stands
    begin "$@"
    local logs
    logs=$(log_folder)
    local big=("${SRUN[@]}" "--output=$logs/rank_%t.log" "${PROGRAM[@]}" "$command_name" "${ARGUMENTS[@]}")
    if [[ -n $dry_run ]]; then
        quoted "${big[@]}"
        return
    fi
    check
    pass_preflight
    forget_own_stop
    attended_attempt=$(newest_attempt) checkpoint_before=$(newest_checkpoint)
    [[ -n $stop_asked ]] && stopped "asked to stop before the run began"
    "${big[@]}" &
    attend $!
    verdict $? "$attended_attempt"
}

start_preflight() { # of its own, before anything is submitted
    begin preflight "$@"
    if [[ -n $dry_run ]]; then
        quoted "${SRUN[@]}" "${PROGRAM[@]}" doctor cluster --folder "${ARGUMENTS[0]:-$PWD}"
        return
    fi
    preflight "${ARGUMENTS[0]:-$PWD}"
}

start_and_judge() { # convert: the exit code says how it ended
    begin "$@"
    local big=("${SRUN[@]}" "--output=$(log_folder)/rank_%t.log" "${PROGRAM[@]}" "$command_name" "${ARGUMENTS[@]}")
    if [[ -n $dry_run ]]; then
        quoted "${big[@]}"
        return
    fi
    "${big[@]}" &
    attend $!
    verdict_by_code $?
}

trap on_usr1 USR1
trap on_term TERM
