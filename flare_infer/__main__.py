"""`python -m flare_infer` is `flare-infer`."""

from flare_infer.commands.app import main

if __name__ == "__main__":
    main()
