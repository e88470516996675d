"""What differs between the recorded versions."""

import os

NAME = os.environ.get("TRTLLM_DOUBLE_VERSION", "1.2.1")
_ORDER = ("1.2.1", "1.3.0rc7", "1.3.0rc21")
_AT = _ORDER.index(NAME)

HAS_LOGPROBS_MODE = _AT >= 1  # certain from 1.3.0rc7 on; unproven for 1.2
ZERO_LOGPROBS_IS_NONE = _AT == 0  # later: of the drawn token alone
HAS_SLEEP_CONFIG = _AT >= 2  # before: enable_sleep
HAS_UPDATE_HOOKS = _AT >= 2  # begin, finalize and abort_update_weights of the loader
EXECUTOR_SLEEPS = _AT >= 2
TORCH_SAMPLER_SEEDS = _AT >= 2  # before, one stream of seed 42 for all requests of a process
HAS_SIMPLE_FORMAT = _AT >= 2
IGNORES_STOP_IDS = _AT >= 2  # the server, where ignore_eos is true
