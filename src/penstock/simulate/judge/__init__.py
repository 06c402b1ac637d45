"""Trials, sweeps, evaluations and contests: how good a plan is, by simulation."""
