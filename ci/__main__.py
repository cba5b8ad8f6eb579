"""`python -m ci`."""

import gc

from ci.cli import main

if __name__ == "__main__":
    # What a command imports stays until it ends: the collector need not look through it again and again.
    gc.set_threshold(50_000, 20, 100)
    main(prog_name="python -m ci")
