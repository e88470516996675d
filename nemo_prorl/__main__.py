"""`python -m nemo_prorl` and `torchrun -m nemo_prorl`: the same as the `prorl` command."""

import sys

from nemo_prorl.cli import main

# The guard matters: checkpoint writers and verifier pools start processes that import this module again.
if __name__ == "__main__":
    sys.exit(main())
