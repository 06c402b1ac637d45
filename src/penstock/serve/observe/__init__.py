"""Watch a running server: what it counts, the page that Prometheus reads, a table in the terminal, traces.

Reading order: ``catalogue`` (every metric), ``counter_file`` (how processes count), ``exposition`` (the page).
"""
