"""Upper bounds on goodput that count queueing: no plan, or no policy, holds more of a given load.

``docs/goodput-bound.md`` has the argument. ``token_bucket_kernels`` has the two matchings of arrivals and capacity,
``chain_uses`` what a request takes of the fleet, and each of the other modules one bound.
"""
