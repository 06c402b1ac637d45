"""The door for Python programs. The command line parses options, calls it, and prints what it returns.

``study`` (a scenario with its profiles) is where to begin; ``results`` has a plan with the questions about it, and a
module for each answer. ``showing`` says what every result can do and how it looks. The names for users are in
:mod:`penstock`.
"""
