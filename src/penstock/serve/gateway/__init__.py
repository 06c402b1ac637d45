"""The process that clients talk to: HTTP in and out, tensors to and from the workers."""
