"""What the engine and its keepers look at from time to time: devices that are lost, processes that hang."""
