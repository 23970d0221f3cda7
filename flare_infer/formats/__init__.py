"""Headers and blocks of voxels of the file formats that `volume_io` reads; nothing else imports these."""
