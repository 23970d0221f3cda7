"""A service around the model: jobs over HTTP, a page for browsers, a DICOM node, and one process that does it all."""
