"""`python -m sr_batch` is `sr-batch`."""

from sr_batch.cli import main

if __name__ == "__main__":
    main()
