#!/usr/bin/env bash
# Builds what a bare GPU host lacks, from local files alone: an environment with Megatron Core and Transformer Engine
# beside the torch that is there. For hosts without a network; NVIDIA's containers have it all already.
#
#   scripts/build_gpu_host.sh FILES [VENV]       FILES: a folder of wheels and source archives; VENV: .venv-gpu
#   scripts/build_gpu_host.sh --list             what FILES has to hold
#   scripts/build_gpu_host.sh --dry-run FILES    say what would be done
#
# On a host with a network, fill FILES once:
#   pip download -d FILES -c constraints.txt . megatron-core nvidia-mathdx pybind11 ninja cmake setuptools wheel hatchling
#   pip download -d FILES --no-deps 'transformer-engine>=2.9,<2.12' 'transformer-engine-cu13>=2.9,<2.12'
#   pip download -d FILES --no-deps --no-build-isolation --no-binary :all: 'transformer-engine-torch>=2.9,<2.12'
set -euo pipefail

readonly PATTERNS=(
    'megatron_core-0.16.*'             # a wheel, or its source archive
    'transformer_engine-2.*'           # the name that pulls the other two together
    'transformer_engine_cu*-2.*.whl'   # the kernels, compiled by NVIDIA
    'transformer_engine_torch-2.*'     # torch's side of it: compiled here, against the torch that is there
)

say() { printf '%s\n' "$*" >&2; }
fail() {
    say "build_gpu_host.sh: $1"
    exit "${2:-2}"
}
run() {
    say "+ $*"
    [ "$dry_run" = true ] || "$@"
}

check_files() {
    local folder=$1 pattern missing=()
    [ -d "$folder" ] || fail "$folder is no folder; give the one that holds wheels and source archives (--list)"
    for pattern in "${PATTERNS[@]}"; do
        compgen -G "$folder/$pattern" >/dev/null || missing+=("$pattern")
    done
    [ "${#missing[@]}" -eq 0 ] ||
        fail "$folder lacks ${missing[*]}; the head of this script says how to fill it where there is a network"
}

check_host() {
    command -v "$python" >/dev/null || fail "$python isn't there; PYTHON=... names another (3.11 or 3.12)"
    "$python" -c 'import torch; raise SystemExit(torch.version.cuda is None)' 2>/dev/null ||
        fail "$python has no torch that was built for CUDA; install one first, or name its interpreter by PYTHON=..."
    if ! command -v nvcc >/dev/null && ! compgen -G "$1/transformer_engine_torch-2.*.whl" >/dev/null; then
        fail "nvcc isn't on PATH, and $1 holds transformer_engine_torch as source alone; load the CUDA toolkit \
(export PATH=/usr/local/cuda/bin:\$PATH), or put a wheel there"
    fi
}

install() {
    local files=$1 venv=$2
    # The host's torch is seen through, and nothing replaces it: every installation is without its dependencies.
    [ -x "$venv/bin/python" ] || run "$python" -m venv --system-site-packages "$venv"
    local pip=("$venv/bin/python" -m pip --disable-pip-version-check install --no-index --find-links "$files")
    run "${pip[@]}" setuptools wheel hatchling pybind11 ninja cmake
    export NVTE_FRAMEWORK=pytorch MAX_JOBS="${MAX_JOBS:-8}" NVTE_BUILD_THREADS_PER_JOB="${NVTE_BUILD_THREADS_PER_JOB:-1}"
    run "${pip[@]}" --no-deps --no-build-isolation 'megatron-core>=0.16,<0.17'
    run "${pip[@]}" --no-deps --no-build-isolation \
        'transformer-engine>=2.9,<2.12' "transformer-engine-cu$(cuda_major)>=2.9,<2.12" 'transformer-engine-torch>=2.9,<2.12'
    # The host's torch is kept: the one that our constraints name is of another build.
    constraint=$(mktemp)
    trap 'rm -f "$constraint"' EXIT
    "$python" -c 'import torch; print("torch==" + torch.__version__)' >"$constraint"
    run "${pip[@]}" --no-build-isolation --constraint "$constraint" --editable "$root"
}

cuda_major() { "$python" -c 'import torch; print(torch.version.cuda.split(".")[0])'; }

verify() {
    run "$1/bin/python" -c '
import torch, transformer_engine, transformer_engine.pytorch
from megatron.core.fp8_utils import HAVE_TE
from megatron.core.optimizer import USING_PYTORCH_OPTIMIZER
assert HAVE_TE and not USING_PYTORCH_OPTIMIZER, "Megatron does not see Transformer Engine"
print("torch", torch.__version__, "Transformer Engine", transformer_engine.__version__, torch.cuda.get_device_name())'
}

main() {
    dry_run=false
    case "${1:-}" in
        --list)
            printf '%s\n' "${PATTERNS[@]}"
            exit 0
            ;;
        --dry-run)
            dry_run=true
            shift
            ;;
    esac
    if [ $# -lt 1 ] || [ $# -gt 2 ]; then
        fail "usage: build_gpu_host.sh [--dry-run] FILES [VENV], or --list"
    fi
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
    python=${PYTHON:-python3}
    local files venv=${2:-.venv-gpu}
    check_files "$1"
    files=$(cd "$1" && pwd)
    check_host "$files"
    install "$files" "$venv"
    verify "$venv"
    say "ready: $venv/bin/prorl, $venv/bin/python -m pytest -m gpu, $venv/bin/python -m benchmarks gpu"
}

main "$@"
