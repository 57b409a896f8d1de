"""The processes of a service: a parent, HTTP processes and workers. See ../engine/README.md."""
