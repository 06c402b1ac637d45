"""Models in segments on torch, for a device whose models take turns: on a CPU, and on a GPU as CUDA graphs.

Between two segments a job's tensors stay where they were computed. torch is imported when a model is loaded.
"""
