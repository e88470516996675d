#!/bin/bash
# Whether the hosts of a job have what a run needs, and see and reach each other, in half a minute:
#
#   sbatch slurm/preflight.sh FOLDER              FOLDER: where runs will lie; default: where you submit
#   sbatch --nodes=1 slurm/preflight.sh FOLDER    other sizes: any option of sbatch
#   bash slurm/preflight.sh --dry-run             shows the line that would start the tasks
#
# train.sbatch and sft.sbatch do the same before each start; docs/cluster.md says what to do about what it finds.
#
#SBATCH --job-name=prorl-preflight
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --exclusive
#SBATCH --mem=0
#SBATCH --time=00:10:00
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.out

# sbatch runs a copy of this file; Slurm knows where it came from. PRORL_HOME, a checkout, has the first word.
here=${PRORL_HOME:+$PRORL_HOME/slurm}
here=${here:-$(dirname "$0")}
[[ -f $here/job.sh ]] || here=$(dirname "$(scontrol show job -o "$SLURM_JOB_ID" | sed -n '1s/.* Command=\([^ ]*\).*/\1/p')")
# shellcheck source=slurm/job.sh
source "$here/job.sh" || exit 2
start_preflight "$@"
