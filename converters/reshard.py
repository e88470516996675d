"""A checkpoint, whoever's, cut and padded anew: the same as `prorl convert reshard`."""

import sys

from nemo_prorl.cli import main

if __name__ == "__main__":
    sys.exit(main(["convert", "reshard", *sys.argv[1:]]))
