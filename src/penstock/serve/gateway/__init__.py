"""The process that clients talk to: it speaks HTTP with them, and sends tensors to and from the workers."""
