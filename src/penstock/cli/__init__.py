"""The verbs of the command line. The code here only connects modules, one module per verb."""
