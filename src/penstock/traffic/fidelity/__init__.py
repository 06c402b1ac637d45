"""How similar generated streams are to real ones: each measure beside the same figure of two real samples."""

from penstock.traffic.fidelity.scores import Measure, Scores, score_streams

__all__ = ["Measure", "Scores", "score_streams"]
