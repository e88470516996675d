"""Hugging Face folder to Megatron checkpoint (torch_dist): the same as `prorl convert hf-to-megatron`."""

import sys

from nemo_prorl.cli import main

if __name__ == "__main__":
    sys.exit(main(["convert", "hf-to-megatron", *sys.argv[1:]]))
