# shellcheck shell=bash
# What becomes of a job when its command has ended: done, go on (requeue, or the next job of its chain), or a person must
# look first. Sourced by job.sh, whose variables it reads.

FINAL_CODES=' 2 3 4 5 6 7 8 9 10 ' # it would happen again: a person must look first; nemo_prorl/errors.py
checkpoint_before=''               # the newest when the attempt began
GO_ON=75                           # EX_TEMPFAIL: everything is saved, and the same command goes on

status_of_run() { # status_of_run KEY: of status.json, which has a key a line
    sed -n "/^ \"$1\": /{s/^[^:]*: //;s/,\$//;s/^\"\(.*\)\"\$/\1/;p;q}" "$run_dir/status.json" 2>/dev/null
}

newest_attempt() { # number of the newest folder of <run.dir>/attempts; 0: none
    local newest
    newest=$(find "$run_dir/attempts" -maxdepth 1 -name '[0-9]*' -printf '%f\n' 2>/dev/null | sort -n | tail -n 1)
    echo $((10#${newest:-0}))
}

finish() { # finish CODE WHY...: the job is over, and so is the chain that it belongs to
    local code=$1
    shift
    say "$*"
    [[ -n ${PRORL_CHAIN:-} ]] && echo "$code $*" >"$(chain_file)"
    exit "$code"
}

chain_file() { echo "${PRORL_LOGS:-$PWD/logs}/chain-$PRORL_CHAIN"; }

go_on() { # go_on SECONDS CODE WHY...: the same command once more, in that many seconds
    local seconds=$1 code=$2
    shift 2
    if [[ -n ${PRORL_CHAIN:-} ]]; then
        say "$*; the next job of the chain goes on"
        exit "$code"
    fi
    say "$*; requeue number $((ATTEMPT + 1))"
    trap 'ended_by_slurm=1' TERM # that is how a requeue ends this shell; there is one more thing to say to Slurm
    if ! scontrol requeue "$JOB"; then
        say "this cluster doesn't requeue jobs: submit the same line again, or a chain at once (slurm/submit.sh --chain N)"
        exit $((code == 0 ? GO_ON : code))
    fi
    ((seconds > 0)) && scontrol update "JobId=$JOB" "StartTime=now+$seconds"
    for ((second = 0; second < 120; second++)); do
        if [[ -n $ended_by_slurm ]]; then break; fi
        sleep 1 &
        wait $!
    done
    exit "$code"
}

newest_checkpoint() { # its step, or none; of an evaluation, which has none: how many of its parts are there
    if [[ ${command_name:-} == evaluate ]]; then
        find "${run_dir:-.}/samples" -name '*.parquet' 2>/dev/null | wc -l
        return
    fi
    cat "${run_dir:-.}/checkpoints/latest_checkpointed_iteration.txt" 2>/dev/null || echo none
}

stopped() { # stopped WHY...: go on at once; but a job that is stopped again and again before it has done anything fails
    if [[ $(newest_checkpoint) == "$checkpoint_before" ]]; then
        failed "$GO_ON" "$*, without having come to a new checkpoint"
    fi
    go_on 0 0 "$*"
}

count_failure() { # one more since the newest checkpoint: leaves both in `count` and `now`
    local ledger before=none
    ledger=${PRORL_CHAIN:+$(chain_file).failures}
    ledger=${ledger:-$(dirname "$(log_folder)")/failures}
    count=0 now=none
    [[ -n $run_dir ]] && now=$(newest_checkpoint)
    [[ -f $ledger ]] && read -r count before <"$ledger"
    [[ $now == "$before" ]] || count=0
    count=$((count + 1))
    echo "$count $now" >"$ledger"
}

failed() { # failed CODE WHY...: go on, unless it has failed too often since the last checkpoint
    local code=$1 limit=${PRORL_MAX_FAILURES:-3} count now
    shift
    count_failure
    if ((count >= limit)); then
        finish "$code" "$*; that makes $count since checkpoint $now, and PRORL_MAX_FAILURES=$limit: see docs/cluster.md"
    fi
    local pause=$((${PRORL_BACKOFF_SECONDS:-30} * 2 ** (count - 1)))
    go_on $((pause > 600 ? 600 : pause)) "$code" "$*; failure $count of at most $limit since checkpoint $now"
}

verdict() { # verdict SRUN_CODE ATTEMPT_BEFORE: what becomes of the job
    local code=$1 state=none reason=none step=none
    if has_begun_since "$2"; then
        state=$(status_of_run state) reason=$(status_of_run reason) step=$(status_of_run step)
    fi
    say "srun returned $code; the run says: ${state:-nothing}, step ${step:-none}"
    case $state in
    finished) finish 0 "done" ;;
    stopped)
        [[ -n $ended_by_slurm ]] && exit "$GO_ON" # Slurm requeues what it has preempted
        if [[ -z $stop_asked && ! $reason =~ SLURM_JOB_END_TIME|run.max_hours|SIGTERM|SIGUSR1 ]]; then
            finish 0 "a person has stopped it ($reason): submit the same line again to go on"
        fi
        stopped "stopped and saved after step $step"
        ;;
    failed) code=$(status_of_run exit_code) ;;
    *)
        reason=$(cat "$(log_folder)"/rank_*.log 2>/dev/null | grep '^prorl: .*Error' | tail -n 1)
        reason=${reason:-"it did not say how it ended: killed, or it never came to its start"}
        ;;
    esac
    [[ -n $ended_by_slurm ]] && exit 143
    [[ $FINAL_CODES == *" $code "* ]] && finish "$code" "failed (exit code $code): $reason"
    failed $((code == 0 ? 1 : code)) "failed (exit code $code): $reason"
}

verdict_by_code() { # verdict_by_code SRUN_CODE: of a command that keeps no status.json
    local code=$1
    ((code == 0)) && finish 0 "done"
    [[ -n $ended_by_slurm ]] && exit 143
    ((code == GO_ON)) && go_on 0 0 "stopped and saved"
    [[ $FINAL_CODES == *" $code "* ]] && finish "$code" "failed (exit code $code)"
    failed "$code" "failed (exit code $code)"
}
