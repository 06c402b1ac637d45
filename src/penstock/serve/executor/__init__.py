"""What a worker runs a batch with: a runtime, or an emulation of a device's time."""
