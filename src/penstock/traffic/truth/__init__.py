"""Ground truth: simulated users whose laws are known, since operators publish no traces."""

from penstock.traffic.truth.simulate_truth import TRUTH_CLASSES, simulate_mix, simulate_truth

__all__ = ["TRUTH_CLASSES", "simulate_mix", "simulate_truth"]
