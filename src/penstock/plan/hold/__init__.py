"""Planning with a judge: a judge measures the value of a plan, and then the search makes the next plan."""
