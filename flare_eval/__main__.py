"""`python -m flare_eval` is `flare-eval`."""

from flare_eval.cli import main

if __name__ == "__main__":
    main()
