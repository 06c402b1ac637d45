"""Training of learned generators with PyTorch (extra ``torch``). Only the modules in this folder import it."""
