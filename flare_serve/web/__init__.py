"""The service over HTTP: routes, progress, the page, and who may do what."""
