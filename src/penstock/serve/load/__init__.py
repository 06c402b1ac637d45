"""Open-loop load for any server of the Open Inference Protocol."""
