"""Whether two model folders hold the same weights: the same as `prorl convert compare`."""

import sys

from nemo_prorl.cli import main

if __name__ == "__main__":
    sys.exit(main(["convert", "compare", *sys.argv[1:]]))
