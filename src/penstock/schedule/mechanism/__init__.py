"""What all rules use: queues, links, pools, routes, and batches in flight."""
