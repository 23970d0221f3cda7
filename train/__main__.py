"""`python -m train` is `flare-train`; it is what `torchrun -m` starts."""

from train.commands.app import main

if __name__ == "__main__":
    main()
