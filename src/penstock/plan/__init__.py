"""Plans: which pools of devices run which pieces of which model, at what batch, with the proof."""
