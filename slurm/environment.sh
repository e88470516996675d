# shellcheck shell=bash
# What every task of a job finds in its environment. What is set already stays: `NCCL_DEBUG=INFO sbatch ...` wins.
#
# Only what holds on any cluster stands here. What a site needs (NCCL_SOCKET_IFNAME, NCCL_IB_HCA, NCCL_IB_TIMEOUT, UCX_*,
# proxies, HF_HOME) is set where you submit, in ~/.bashrc, or in a file that PRORL_SITE names: it is read before this.

if [[ -n ${PRORL_SITE:-} ]]; then
    # shellcheck disable=SC1090
    source "$PRORL_SITE"
fi

# --- Python
export PYTHONUNBUFFERED=${PYTHONUNBUFFERED:-1}                                # a killed rank's last words are in its log
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}                                  # torch's own number is run.torch_threads
export TOKENIZERS_PARALLELISM=${TOKENIZERS_PARALLELISM:-false}                # it forks badly
export TRITON_CACHE_DIR=${TRITON_CACHE_DIR:-/tmp/triton-$(id -u)}             # on the node: compiled kernels, not over NFS

# --- CUDA and NCCL
export CUDA_DEVICE_MAX_CONNECTIONS=${CUDA_DEVICE_MAX_CONNECTIONS:-1}          # Megatron overlaps with it; unset for its FSDP
export TORCH_NCCL_AVOID_RECORD_STREAMS=${TORCH_NCCL_AVOID_RECORD_STREAMS:-1}  # less memory held by pending collectives
export NCCL_NVLS_ENABLE=${NCCL_NVLS_ENABLE:-0}                                # NVLink SHARP takes memory for every group
export NCCL_DEBUG=${NCCL_DEBUG:-WARN}

# --- Where the ranks meet: filled in by job.sh, unless set
#   MASTER_ADDR    the address of the job's first node
#   MASTER_PORT    20000 to 29980, by the number of the job; ranks listen on one of the 16 above it, too
#   SLURM_JOB_END_TIME    older versions of Slurm don't set it

# Of these an image's own values must not win (pyxis lets them, unless it is told). WANDB_API_KEY, HF_TOKEN and whatever
# else is exported where you submit goes into the container as well.
export PRORL_CONTAINER_ENV=${PRORL_CONTAINER_ENV:-MASTER_ADDR,MASTER_PORT,PYTHONPATH,PYTHONUNBUFFERED,OMP_NUM_THREADS,\
TOKENIZERS_PARALLELISM,TRITON_CACHE_DIR,CUDA_DEVICE_MAX_CONNECTIONS,TORCH_NCCL_AVOID_RECORD_STREAMS,NCCL_NVLS_ENABLE,\
NCCL_DEBUG,SLURM_JOB_END_TIME}
