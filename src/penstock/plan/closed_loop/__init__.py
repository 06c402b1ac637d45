"""Planning with a judge: what a plan is worth is measured, and the plan is made again."""
