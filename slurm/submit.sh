#!/usr/bin/env bash
# Submits batch scripts of this folder: in the size of a preset, several in a chain, one for each seed.
#
#   slurm/submit.sh [--preset 1gpu|1x8|4x8] [--chain N] [--seeds 0-3] [--dry-run] [SBATCH OPTIONS] NAME ARGUMENTS...
#
#   slurm/submit.sh --preset 4x8 train recipe=prorl model.path=FOLDER run.dir=FOLDER ...
#   slurm/submit.sh --chain 10 --account=mine --time=4:00:00 train ...   for clusters that don't requeue
#   slurm/submit.sh --seeds 0-3 --preset 1x8 train ... run.dir=runs/mine   four runs, in runs/mine/seed_0 and so on
#
# NAME is train, sft, evaluate or convert: the batch script. SBATCH OPTIONS are of the form --name=value.
# --chain N    N jobs of one name, of which one runs at a time (singleton). The chain ends when the run has finished,
#              when a person has stopped it, or when it fails in a way that would come again; jobs left then end at once.
#              Chains of one name wait for each other: give each a --job-name of its own.
# --seeds A-B  run.seed and run.dir are set for each. With --chain, a chain for each.
# --dry-run    print the lines of sbatch, and submit nothing.
set -euo pipefail

HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

die() {
    echo "submit.sh: $*" >&2
    exit 2
}

usage() {
    sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
    exit "$1"
}

preset='' chain='' seeds='' dry_run='' options=()
while (($#)); do
    case $1 in
    --preset | --chain | --seeds)
        (($# > 1)) || die "$1 needs a value"
        printf -v "${1#--}" %s "$2"
        shift
        ;;
    --dry-run) dry_run=1 ;;
    -h | --help) usage 0 ;;
    --*=* | --exclusive | --requeue | --no-requeue | --hold | --test-only) options+=("$1") ;;
    -*) die "$1: options of sbatch are written as --name=value" ;;
    *) break ;;
    esac
    shift
done
(($#)) || usage 2
name=$1
shift
script=$HERE/$name.sbatch
[[ -f $script ]] || die "no $name.sbatch here: there is $(cd "$HERE" && echo *.sbatch)"
if [[ -n $preset ]]; then
    [[ -f $HERE/presets/$preset ]] || die "no preset $preset: there is $(cd "$HERE/presets" && echo *)"
    mapfile -t of_preset < <(grep '^--' "$HERE/presets/$preset")
    options=("${of_preset[@]}" "${options[@]}") # the later one wins, so what was typed does
fi
[[ -z $chain || $chain =~ ^[1-9][0-9]*$ ]] || die "--chain $chain: how many jobs?"
if [[ -n $seeds ]]; then
    [[ $seeds =~ ^[0-9]+(-[0-9]+)?$ ]] || die "--seeds $seeds: a number, or first-last"
    first=$((10#${seeds%-*})) last=$((10#${seeds#*-}))
    ((first <= last)) || die "--seeds $seeds: the first is above the last"
fi

for_seed() { # for_seed SEED ARGUMENTS...: in `arguments`, with run.seed and a run.dir of its own
    local seed=$1 argument found=''
    shift
    arguments=()
    for argument; do
        case $argument in
        run.seed=*) die "--seeds sets run.seed: leave $argument out" ;;
        run.dir=*[\'\"]) argument="${argument%?}/seed_$seed${argument: -1}" found=1 ;;
        run.dir=*) argument=$argument/seed_$seed found=1 ;;
        esac
        arguments+=("$argument")
    done
    [[ -n $found ]] || die "--seeds needs run.dir=FOLDER, in which each seed gets a folder"
    arguments+=("run.seed=$seed")
}

submit() { # submit SBATCH-OPTIONS...: with `arguments`
    local line=(sbatch --parsable "${options[@]}" "$@" "$script" "${arguments[@]}")
    if [[ -n $dry_run ]]; then
        printf '%q ' ${PRORL_CHAIN:+"PRORL_CHAIN=$PRORL_CHAIN"} "${line[@]}"
        echo
    else
        "${line[@]}"
    fi
}

submit_chain() { # submit_chain NAME: the number of jobs is $chain
    export PRORL_CHAIN
    PRORL_CHAIN=$1-$(date +%Y%m%d-%H%M%S)-$$
    for ((link = 0; link < chain; link++)); do
        submit "--job-name=$1" --dependency=singleton
    done
}

job_name=prorl-$name
for option in "${options[@]}"; do
    if [[ $option == --job-name=* ]]; then job_name=${option#--job-name=}; fi
done
arguments=("$@")
if [[ -n $seeds && -n $chain ]]; then
    for ((seed = first; seed <= last; seed++)); do
        for_seed "$seed" "$@"
        submit_chain "$job_name-seed_$seed"
    done
elif [[ -n $seeds ]]; then
    # shellcheck disable=SC2016 # each job of the array fills it in, when its settings are read
    for_seed '${oc.env:SLURM_ARRAY_TASK_ID}' "$@"
    submit "--array=$seeds"
elif [[ -n $chain ]]; then
    submit_chain "$job_name"
else
    submit
fi
