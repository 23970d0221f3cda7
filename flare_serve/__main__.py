"""`python -m flare_serve serve` is `flare-infer serve`, where the package lies in a checkout or an image."""

from flare_serve.commands.serve import main

if __name__ == "__main__":
    main()
