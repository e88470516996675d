"""Megatron checkpoint (torch_dist) to Hugging Face folder: the same as `prorl convert megatron-to-hf`."""

import sys

from nemo_prorl.cli import main

if __name__ == "__main__":
    sys.exit(main(["convert", "megatron-to-hf", *sys.argv[1:]]))
