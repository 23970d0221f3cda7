"""The command line `flare-infer`."""
