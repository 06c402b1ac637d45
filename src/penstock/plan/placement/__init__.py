"""From numbers of workers to a plan: pipelines, seats on devices, and use of the idle devices."""
