"""What plans and records say: verdicts, times, series. Numbers only; :mod:`penstock.report.pictures` draws them."""
