"""`python -m train` is `flare-train`, unless the current folder holds a `train.py`: start the command instead."""

from train.commands.app import main

if __name__ == "__main__":
    main()
