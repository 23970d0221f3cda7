"""`python -m flare_eval` is `flare-eval`."""

from flare_eval.commands.app import main

if __name__ == "__main__":
    main()
