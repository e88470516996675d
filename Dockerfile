# The image for GPUs, on NVIDIA's release image of TensorRT-LLM, which brings torch, Transformer Engine and Apex:
#
#   docker build --tag nemo-prorl .
#
# and one without GPUs, for trying things out where there is no Python to spoil:
#
#   docker build --target cpu --tag nemo-prorl:cpu . && docker run --rm nemo-prorl:cpu quickstart
#
# Nothing of the release image is replaced: pip runs under constraints that name every version it has. docs/cluster.md
# says how to make an image for Slurm of it.

ARG TRTLLM_IMAGE=nvcr.io/nvidia/tensorrt-llm/release
ARG TRTLLM_VERSION=1.2.1
ARG PYTHON_VERSION=3.12

# ---------------------------------------------------------------------------------------------------------------- cpu
FROM python:${PYTHON_VERSION}-slim-bookworm AS cpu
ARG TORCH_VERSION=2.13.0
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends build-essential git \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 10001 prorl \
    && install --directory --mode 1777 /workspace
WORKDIR /opt/nemo_prorl
COPY constraints.txt pyproject.toml ./
RUN pip install --no-cache-dir --constraint constraints.txt --extra-index-url "${TORCH_INDEX}" "torch==${TORCH_VERSION}"
COPY . .
RUN pip install --no-cache-dir --constraint constraints.txt . \
    && chmod --recursive a+rX . \
    && prorl doctor cluster --free-gib 0
USER 10001
WORKDIR /workspace
ENTRYPOINT ["prorl"]
CMD ["--help"]

# ---------------------------------------------------------------------------------------------------------------- gpu
FROM ${TRTLLM_IMAGE}:${TRTLLM_VERSION} AS gpu
ARG MEGATRON_CORE_VERSION=0.16.1
ARG NEMO_ALIGNER_VERSION=0.7.0
ARG NEMO_TOOLKIT_VERSION=2.7.3
ARG MATH_VERIFY_VERSION=0.9.0
ARG REASONING_GYM_VERSION=0.1.25
# What the base must bring; an older one without Apex: --build-arg BASE_HAS="torch transformer-engine tensorrt-llm"
ARG BASE_HAS="torch transformer-engine apex tensorrt-llm"

SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /opt/nemo_prorl
COPY docker/site_packages.py constraints.txt pyproject.toml /opt/prorl-build/

# First of all what is there, as it is there. PIP_CONSTRAINT holds for whoever installs something later, too.
RUN read -r -a base_has <<<"${BASE_HAS}" \
    && mkdir -p /etc/pip \
    && python /opt/prorl-build/site_packages.py freeze >/etc/pip/prorl-site.txt \
    && python /opt/prorl-build/site_packages.py check --frozen /etc/pip/prorl-site.txt "${base_has[@]}" \
    && python /opt/prorl-build/site_packages.py freeze --ours /opt/prorl-build/constraints.txt \
        | grep -Ev '^(megatron-core|nemo-aligner|math-verify|reasoning-gym)==' >/etc/pip/prorl-constraint.txt
ENV PIP_CONSTRAINT=/etc/pip/prorl-constraint.txt

# --no-deps: NeMo would bring versions of its own of half of the image. What has no version here is pinned above.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir --no-deps \
        "megatron-core==${MEGATRON_CORE_VERSION}" \
        "nemo-aligner==${NEMO_ALIGNER_VERSION}" \
        "nemo-toolkit==${NEMO_TOOLKIT_VERSION}" \
    && pip install --no-cache-dir \
        "math-verify==${MATH_VERIFY_VERSION}" \
        "reasoning-gym==${REASONING_GYM_VERSION}" \
        Jinja2 jsonlines hatchling \
    && python /opt/prorl-build/site_packages.py missing /opt/prorl-build/pyproject.toml >/tmp/missing.txt \
    && pip install --no-cache-dir --requirement /tmp/missing.txt \
    && rm /tmp/missing.txt

COPY . .
# There is no GPU in a build, so versions are asked of pip's records, and nothing is imported that wants a driver.
RUN pip install --no-cache-dir --no-deps --no-build-isolation . \
    && chmod --recursive a+rX . \
    && python /opt/prorl-build/site_packages.py check --frozen /etc/pip/prorl-site.txt \
        "megatron-core==${MEGATRON_CORE_VERSION}" \
        "nemo-aligner==${NEMO_ALIGNER_VERSION}" \
        "nemo-toolkit==${NEMO_TOOLKIT_VERSION}" \
        "math-verify==${MATH_VERIFY_VERSION}" \
        "reasoning-gym==${REASONING_GYM_VERSION}" \
    && python docker/known_versions.py

# Whoever runs it, by --user or as the caller of pyxis, can write what tools want to write.
RUN useradd --create-home --uid 10001 prorl \
    && install --directory --mode 1777 /workspace
ENV TRITON_CACHE_DIR=/tmp/triton \
    MPLCONFIGDIR=/tmp/matplotlib
USER 10001
WORKDIR /workspace
CMD ["prorl", "--help"]
