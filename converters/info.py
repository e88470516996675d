"""What a model folder holds: the same as `prorl convert info`."""

import sys

from nemo_prorl.cli import main

if __name__ == "__main__":
    sys.exit(main(["convert", "info", *sys.argv[1:]]))
